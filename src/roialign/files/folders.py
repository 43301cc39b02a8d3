"""Finds the input files in folders and in lists of files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from .._text import decoded, encodable
from .kinds import real_path
from .problems import FileError, Problems
from .similar import same_file
from .text import lines_of, read_text

#: The endings of feature maps.
MAP_ENDINGS = (".npy", ".npz")
#: The endings of lists of files, with one path per line.
LIST_ENDINGS = (".txt", ".lst")


class EmptyFolderError(ValueError):
    """A folder contains no file to read. The message names it."""


def expand(
    paths: Sequence[Path], endings: Sequence[str], written: Sequence[Path] = (), problems: Problems | None = None
) -> list[Path]:
    """Replace lists of files and folders by their files; see :func:`expand_folders`.

    A list is a ``.txt`` or ``.lst`` file with one path per line, relative to the current folder. `problems` will name
    the list and the line of a file.

    Raises
    ------
    FileError
        If a list cannot be read or is empty.
    EmptyFolderError
        If a folder contains no file to read.
    """
    named: list[Path] = []
    for path in paths:
        if path.suffix.lower() not in LIST_ENDINGS or path.is_dir():
            named.append(path)
            continue
        lines = enumerate((line.strip() for line in _lines_of_list(path)), start=1)
        listed = {number: same_file(Path(line)) for number, line in lines if line and not line.startswith("#")}
        if not listed:
            raise FileError(f"{path}: expected a path on each line, got none")
        named += listed.values()
        if problems is not None:
            for number, one in listed.items():
                problems.places.setdefault(str(one), f"{path}, line {number}: {one}")
    return expand_folders(named, endings, written, problems)


def _lines_of_list(path: Path) -> list[str]:
    """Return the lines of a list. It need not be UTF-8 text if it names files whose names are not UTF-8 either."""
    try:
        return lines_of(read_text(path))
    except FileError as error:
        if isinstance(error.__cause__, UnicodeDecodeError):
            lines = lines_of(path.read_bytes().decode("utf-8", errors="surrogateescape"))
            if any(os.path.lexists(line.strip()) for line in lines if line != encodable(line)):
                return lines
        raise FileError(f"{path}: {error}") from error


def path_of(name: str, folder: Path = Path()) -> Path:
    """Return the path of an image from its name in a result, which escapes what is not UTF-8."""
    path = folder / name
    return path if os.path.lexists(path) else same_file(folder / decoded(name))


def expand_folders(
    paths: Sequence[Path], endings: Sequence[str], written: Sequence[Path] = (), problems: Problems | None = None
) -> list[Path]:
    """Replace folders by the files in them and in their subfolders that have one of the endings, sorted, each once.

    Links to folders are followed. Hidden files are left out, and so are the files and folders in `written`. A path with
    one of the endings that is not a file is included, and reading it will fail: a broken link, a pipe, or a folder
    without files to read. A folder that cannot be opened is added to `problems`. So is a folder without files to read,
    if there are other files. Of a relative and an absolute path of one file, the first is kept.

    Raises
    ------
    EmptyFolderError
        If a folder contains no file to read and there are no other files, or `problems` is None.
    """
    files: dict[Path, None] = {}
    empty: dict[Path, str] = {}
    excluded = [real_path(path) for path in written]
    for path in paths:
        if not os.path.isdir(path):  # False for invalid file names
            files[path] = None
            continue
        found = sorted(_files_in(path, endings, excluded, problems))
        if not found:
            empty[path] = f"no file in this folder ends in {', '.join(endings)}"
        files.update(dict.fromkeys(found))
    for path, what in empty.items():
        if problems is None or not files:
            raise EmptyFolderError(f"{path}: {what}")
        problems.add(path, what)
    if len({path.is_absolute() for path in files}) < 2:
        return list(files)
    first = {path.absolute(): path for path in reversed(files)}
    return [path for path in files if first[path.absolute()] == path]


def _files_in(folder: Path, endings: Sequence[str], excluded: Sequence[Path], problems: Problems | None) -> list[Path]:
    """Return the paths in a folder and its subfolders that have one of the endings."""
    files: list[Path] = []
    named_like_files: list[Path] = []
    seen = {real_path(folder)}

    def report(error: OSError) -> None:
        if problems is not None:
            problems.add(error.filename, error.strerror or error)

    for place, folders, names in os.walk(folder, onerror=report, followlinks=True):
        inside = [Path(place, name) for name in folders if not name.startswith(".")]
        inside = [path for path in inside if not _is_excluded(path, excluded)]
        named_like_files += [path for path in inside if path.suffix.lower() in endings]
        new = {path.name: real_path(path) for path in inside}
        folders[:] = sorted(name for name, real in new.items() if real not in seen)  # links may form a loop
        seen.update(new.values())
        wanted = [Path(place, name) for name in names if not name.startswith(".")]
        files += [path for path in wanted if path.suffix.lower() in endings and not _is_excluded(path, excluded)]
    parents = {parent for path in files for parent in path.parents}
    return files + [path for path in named_like_files if path not in parents]


def _is_excluded(path: Path, excluded: Sequence[Path]) -> bool:
    real = real_path(path) if excluded else path
    return any(real == other or other in real.parents for other in excluded)
