"""Folders in place of files: what a command reads of one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..files.kinds import real_path
from ..files.problems import FileError, Problems
from ..files.text import read_text

#: Endings of the images that are read of a folder; a file that is named itself may have any.
IMAGE_ENDINGS = (
    *(".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"),
    *(".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"),
)
#: Of feature maps.
MAP_ENDINGS = (".npy", ".npz")


#: Of lists of files, a path on each line.
LIST_ENDINGS = (".txt", ".lst")


class EmptyFolderError(ValueError):
    """A folder that holds nothing to read; the message names it."""


def expand(
    paths: Sequence[Path], endings: Sequence[str], written: Sequence[Path] = (), problems: Problems | None = None
) -> list[Path]:
    """As :func:`expand_folders`; a ``.txt`` or ``.lst`` is a list of paths, one on each line, from the current folder.

    Raises
    ------
    FileError
        For a list that cannot be read, or has none; as :func:`expand_folders` does for a folder.
    """
    named: list[Path] = []
    for path in paths:
        if path.suffix.lower() not in LIST_ENDINGS or path.is_dir():
            named.append(path)
            continue
        try:
            lines = [line.strip() for line in read_text(path).splitlines()]
        except FileError as error:
            raise FileError(f"{path}: {error}") from error
        listed = [Path(line) for line in lines if line and not line.startswith("#")]
        if not listed:
            raise FileError(f"{path}: expected a path on each line, found none")
        named += listed
    return expand_folders(named, endings, written, problems)


def expand_folders(
    paths: Sequence[Path], endings: Sequence[str], written: Sequence[Path] = (), problems: Problems | None = None
) -> list[Path]:
    """The files, and for a folder those in it and in its folders that have one of the endings, sorted; each once.

    Hidden files are left out, and so is what is `written`, files or folders, and what is in those. A folder in which
    there is none goes to `problems`, where they are given and there are other files.

    Raises
    ------
    EmptyFolderError
        Naming the folder in which there is none.
    """
    files: dict[Path, None] = {}
    empty: dict[Path, str] = {}
    apart = [real_path(path) for path in written]
    for path in paths:
        if not os.path.isdir(path):  # false for names that no file can have
            files[path] = None
            continue
        found = [file for file in sorted(path.rglob("*")) if _is_read(file, path, endings, apart)]
        if not found:
            empty[path] = f"no file in this folder ends in {', '.join(endings)}"
        files.update(dict.fromkeys(found))
    for path, what in empty.items():
        if problems is None or not files:
            raise EmptyFolderError(f"{path}: {what}")
        problems.add(path, what)
    return list(files)


def _is_read(file: Path, folder: Path, endings: Sequence[str], apart: Sequence[Path]) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    if hidden or file.suffix.lower() not in endings or not file.is_file():
        return False
    resolved = real_path(file)
    return not any(resolved == path or path in resolved.parents for path in apart)
