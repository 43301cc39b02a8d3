"""Features are written to the result piece by piece."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from roialign.extract.output import FeatureStore, write_npz
from roialign.files.writing import atomic_write, text_array


def test_features_are_streamed_in_any_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roialign.extract.output.PIECE_BYTES", 200)  # two rows at a time
    features = np.random.default_rng(1).normal(size=(11, 3, 2, 2))
    order = np.random.default_rng(2).permutation(11)
    store = FeatureStore(tmp_path)
    store.append(features[:4].transpose(0, 1, 3, 2).copy().transpose(0, 1, 3, 2))
    store.append(features[4:])
    with atomic_write(tmp_path / "r.npz") as file:
        write_npz(file, {"labels": text_array(["ä"] * 11)}, store, order, features.shape[1:], features.dtype)
    store.close()
    with np.load(tmp_path / "r.npz", allow_pickle=False) as result:
        np.testing.assert_array_equal(result["features"], features[order])
        assert result["labels"].tolist() == ["ä"] * 11
    assert os.listdir(tmp_path) == ["r.npz"]
    assert zipfile.ZipFile(tmp_path / "r.npz").testzip() is None
