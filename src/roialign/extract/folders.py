"""Folders in place of files: what a command reads of one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..files.kinds import real_path
from ..files.problems import FileError, Problems
from ..files.text import lines_of, read_text

#: Endings of feature maps.
MAP_ENDINGS = (".npy", ".npz")


#: Of lists of files, a path on each line.
LIST_ENDINGS = (".txt", ".lst")


class EmptyFolderError(ValueError):
    """A folder that holds nothing to read; the message names it."""


def expand(
    paths: Sequence[Path], endings: Sequence[str], written: Sequence[Path] = (), problems: Problems | None = None
) -> list[Path]:
    """As :func:`expand_folders`; a ``.txt`` or ``.lst`` is a list of paths, one on each line, from the current folder.

    `problems` are told by which line of which list a file is named.

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
            lines = enumerate((line.strip() for line in lines_of(read_text(path))), start=1)
        except FileError as error:
            raise FileError(f"{path}: {error}") from error
        listed = {number: Path(line) for number, line in lines if line and not line.startswith("#")}
        if not listed:
            raise FileError(f"{path}: expected a path on each line, found none")
        named += listed.values()
        if problems is not None:
            for number, one in listed.items():
                problems.places.setdefault(str(one), f"{path}, line {number}: {one}")
    return expand_folders(named, endings, written, problems)


def expand_folders(
    paths: Sequence[Path], endings: Sequence[str], written: Sequence[Path] = (), problems: Problems | None = None
) -> list[Path]:
    """The files, and for a folder those in it and in its folders that have one of the endings, sorted; each once.

    Links to folders are followed. Hidden files are left out, and so is what is `written`, files or folders, and what is
    in those. What has the ending and is no file, as a link to nothing, a pipe, or a folder without any such file, is
    among them: whoever reads it says so. A folder in which there is none goes to `problems`, where they are given and
    there are other files; a folder in it that cannot be opened, too.

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
        found = sorted(_found(path, endings, apart, problems))
        if not found:
            empty[path] = f"no file in this folder ends in {', '.join(endings)}"
        files.update(dict.fromkeys(found))
    for path, what in empty.items():
        if problems is None or not files:
            raise EmptyFolderError(f"{path}: {what}")
        problems.add(path, what)
    return list(files)


def _found(folder: Path, endings: Sequence[str], apart: Sequence[Path], problems: Problems | None) -> list[Path]:
    """What has one of the endings in a folder and in its folders."""
    files: list[Path] = []
    named_like_files: list[Path] = []
    seen = {real_path(folder)}

    def refused(error: OSError) -> None:
        if problems is not None:
            problems.add(error.filename, error.strerror or error)

    for place, folders, names in os.walk(folder, onerror=refused, followlinks=True):
        inside = [Path(place, name) for name in folders if not name.startswith(".")]
        inside = [path for path in inside if not _is_apart(path, apart)]
        named_like_files += [path for path in inside if path.suffix.lower() in endings]
        new = {path.name: real_path(path) for path in inside}
        folders[:] = sorted(name for name, real in new.items() if real not in seen)  # a link may lead back
        seen.update(new.values())
        wanted = [Path(place, name) for name in names if not name.startswith(".")]
        files += [path for path in wanted if path.suffix.lower() in endings and not _is_apart(path, apart)]
    parents = {parent for path in files for parent in path.parents}
    return files + [path for path in named_like_files if path not in parents]


def _is_apart(path: Path, apart: Sequence[Path]) -> bool:
    real = real_path(path) if apart else path
    return any(real == other or other in real.parents for other in apart)
