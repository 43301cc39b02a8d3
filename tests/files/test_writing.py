"""A result is written in one step: a full disk, an exception or a kill leaves the old file."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow
import pytest
import torch
from PIL import Image
from pyarrow import parquet

from roialign.files.writing import atomic_write


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
        "from roialign.files.writing import atomic_write\n"
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
