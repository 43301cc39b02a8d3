"""Tensors of `torch.save`, read without torch."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from roialign.files.problems import FileError
from roialign.files.saved_tensors import read_saved_tensors


@pytest.mark.parametrize("archive", [True, False])
def test_every_type_and_view(archive: bool, tmp_path: Path) -> None:
    storage = torch.arange(24, dtype=torch.float32)
    state = {
        "turned": storage.reshape(4, 6).T,
        "part": storage[5:9],
        "scalar": torch.tensor(3),
        "empty": torch.zeros(0, 3),
        **{str(dtype): torch.tensor([0, 1, 2]).to(dtype) for dtype in (torch.float16, torch.int8, torch.bool)},
        "a number": 7,
    }
    torch.save(state, tmp_path / "state.pt", _use_new_zipfile_serialization=archive)
    found = read_saved_tensors(tmp_path / "state.pt")
    assert "a number" not in found
    for name, array in found.items():
        np.testing.assert_array_equal(array, state[name].numpy())  # type: ignore[attr-defined]
        assert array.dtype == state[name].numpy().dtype  # type: ignore[attr-defined]


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("made-by-a-file-of-weights",)


@pytest.mark.parametrize("archive", [True, False])
def test_code_is_not_run(archive: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"weights": Hostile()}, "state.pt", _use_new_zipfile_serialization=archive)
    with pytest.raises(FileError, match=r"expected tensors only, found \w+.mkdir"):
        read_saved_tensors(Path("state.pt"))
    assert not Path("made-by-a-file-of-weights").exists()


def test_what_is_no_state_dict_is_said(tmp_path: Path) -> None:
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    (tmp_path / "text.pt").write_text("weights")
    (tmp_path / "pickle.pt").write_bytes(pickle.dumps({"a": 1}))
    for name in ("list.pt", "text.pt", "pickle.pt"):
        with pytest.raises(FileError, match="cannot be read as PyTorch weights"):
            read_saved_tensors(tmp_path / name)


@pytest.mark.parametrize("archive", [True, False])
def test_a_file_cut_short_is_never_read(archive: bool, tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    torch.save({"weights": torch.arange(64.0)}, path, _use_new_zipfile_serialization=archive)
    whole = path.read_bytes()
    for length in range(0, len(whole) - 1, 7):
        path.write_bytes(whole[:length])
        with pytest.raises(FileError):
            read_saved_tensors(path)
