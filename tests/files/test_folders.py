"""Folders in place of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from roialign.files.folders import EmptyFolderError, expand_folders
from roialign.files.images import IMAGE_ENDINGS


def test_a_relative_and_an_absolute_path_of_a_file_are_one_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"")
    named = [Path("b.png"), tmp_path, Path("./a.png")]
    assert expand_folders(named, IMAGE_ENDINGS) == [Path("b.png"), tmp_path / "a.png"]


def test_a_folder_stands_for_the_files_in_it(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "deep/er/c.tiff", "notes.txt", ".hidden/d.png", "._a.png", "out/e.png", "f.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    odd = tmp_path / "notes.txt"
    files = expand_folders([odd, tmp_path, tmp_path / "b.png"], IMAGE_ENDINGS, [tmp_path / "out", tmp_path / "f.png"])
    assert files == [odd, *(tmp_path / name for name in ("a.JPG", "b.png", "deep/er/c.tiff"))]
    with pytest.raises(EmptyFolderError, match=r"deep: no file in this folder ends in \.npy"):
        expand_folders([tmp_path / "deep"], [".npy"])
