"""Finds the file that the path of a missing file was probably meant to name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path, PureWindowsPath

#: The number of folders that are looked into: that of the file, and those above it.
FOLDERS = 3


def similar_file(path: Path) -> Path | None:
    """Return an existing file of almost the same path; None if there is none.

    Concretely, these are tried in turn: backslashes as separators, the name in other letters (``.JPG`` for ``.jpg``),
    and the name in a folder above, since annotation files often repeat the name of a folder.
    """
    if "\\" in path.name:
        path = path.parent / PureWindowsPath(path.name).as_posix()
    for folder in path.parents[:FOLDERS]:
        name = _names(folder).get(path.name.casefold())
        if name is not None:
            return folder / name
    return None


def _names(folder: Path) -> Mapping[str, str]:
    """The names in a folder by their lower-case form. Only existing names that are files are of use."""
    try:
        changed = os.stat(folder).st_mtime_ns
    except (OSError, ValueError):
        return {}
    return _listed(folder, changed)


@lru_cache(maxsize=8)  # a dataset may name a hundred thousand missing files of one folder
def _listed(folder: Path, changed: int) -> Mapping[str, str]:
    del changed
    try:
        with os.scandir(folder) as entries:
            return {entry.name.casefold(): entry.name for entry in entries if entry.is_file()}
    except OSError:
        return {}
