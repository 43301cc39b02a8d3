"""A result is written in one step: a full disk, an exception or a kill leaves the old file."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow
import pytest
import torch
from PIL import Image
from pyarrow import parquet

from roialign.extract.output import FeatureStore, atomic_write, text_array, write_npz


def write_half(path: Path, error: BaseException | type[BaseException] | None) -> None:
    with atomic_write(path) as file:
        file.write(b"half")
        if error is not None:
            raise error


def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "result"
    path.write_bytes(b"old")
    for error in (OSError, KeyboardInterrupt):
        with pytest.raises(error):
            write_half(path, error)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["result"]
    with atomic_write(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["result"]


def test_an_error_of_writing_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"old")
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    for path, error in (
        (tmp_path / "file", full),
        (tmp_path / "folder", None),
        (tmp_path / "missing" / "file", None),
        (tmp_path / "file" / "file", None),
    ):
        with pytest.raises(OSError, match=r"\[Errno \d+\] ") as raised:
            write_half(path, error)
        assert raised.value.filename == str(path)
    elsewhere = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "input")
    with pytest.raises(FileNotFoundError) as missing:
        write_half(tmp_path / "file", elsewhere)
    assert missing.value is elsewhere, "an error that names a file is left as it is"
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_a_killed_process_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "result"
    path.write_bytes(b"old")
    script = (
        "import os, signal, sys, pathlib\n"
        "from roialign.extract.output import atomic_write\n"
        "with atomic_write(pathlib.Path(sys.argv[1])) as file:\n"
        "    file.write(b'half'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    code = subprocess.run([sys.executable, "-c", script, str(path)], check=False).returncode
    assert code == -signal.SIGKILL
    assert path.read_bytes() == b"old"


def test_a_new_file_has_the_permissions_of_any_new_file_and_a_link_stays(tmp_path: Path) -> None:
    (tmp_path / "usual").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with atomic_write(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"new"
    assert (tmp_path / "target").stat().st_mode == (tmp_path / "usual").stat().st_mode


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


def _save_tensors(file: IO[bytes]) -> None:
    torch.save({"a": torch.rand(1000, 1000)}, file)


def _save_parquet(file: IO[bytes]) -> None:
    parquet.write_table(pyarrow.table({"a": np.random.default_rng(0).random(100_000)}), file)


@pytest.mark.parametrize(
    "write",
    [
        _save_tensors,
        _save_parquet,
        lambda file: np.savez(file, a=np.zeros(1_000_000)),
        lambda file: Image.effect_noise((1000, 1000), 80).save(file, format="PNG"),
    ],
)
def test_a_full_disk_is_said_by_the_system_whoever_writes(tmp_path: Path, write: Callable[[IO[bytes]], None]) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    path = tmp_path / "result"
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as raised, atomic_write(path) as file:
            write(file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (raised.value.filename, raised.value.errno) == (str(path), errno.EFBIG)
    assert os.listdir(tmp_path) == []
