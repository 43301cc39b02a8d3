"""Finds the file of a path that is spelled differently."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path, PureWindowsPath
from urllib.parse import unquote

#: The number of folders that are looked into: that of the file, and those above it.
FOLDERS = 3
#: The end of an address of Label Studio whose query has the path of a file, as `d`.
LOCAL_FILES = "/data/local-files"


def composed(name: str) -> str:
    """Return the name in one Unicode form. On macOS, names often hold an accent as a character of its own."""
    return unicodedata.normalize("NFC", name)


def folded(name: str) -> str:
    """Return what names have in common that differ in upper and lower case, or in Unicode form, only."""
    return composed(name).casefold()


def unescaped(name: str) -> str:
    """Return the path in an address, or in the name of a file that is written as in one.

    >>> unescaped("my%20image.jpg"), unescaped("file:///photos/a%20b.jpg"), unescaped("https://host/photos/a.jpg?v=2")
    ('my image.jpg', '/photos/a b.jpg', 'photos/a.jpg')
    >>> unescaped("/data/local-files/?d=photos/a%20b.jpg")
    'photos/a b.jpg'
    """
    before, _, query = name.partition("?")
    if f"/{before.rstrip('/')}".endswith(LOCAL_FILES):
        name = next((part[2:] for part in query.split("&") if part.startswith("d=")), name)
    elif "://" in before:
        scheme, _, rest = before.partition("://")
        _, slash, path = rest.partition("/")
        name = slash + path if scheme.lower() == "file" else path
    return unquote(name)


def other_names(name: str) -> list[str]:
    """Return what `name` may mean if no file has this name, the likeliest first; none for a plain name.

    Concretely, backslashes are separators, an address holds a path, and in it, the last part is the name of the file.
    """
    plain = PureWindowsPath(name).as_posix() if "\\" in name else name
    path = unescaped(plain)
    last = [path.rpartition("/")[2]] if path != unquote(plain) else []
    return [other for other in dict.fromkeys([plain, path, *last]) if other not in ("", name)]


class Spellings:
    """Finds names among those that exist."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = set(names)
        self._composed: dict[str, list[str]] = defaultdict(list)
        for name in self._names:
            self._composed[composed(name)].append(name)
        self._folded = {folded(name): name for name in self._names}

    def same(self, name: str) -> str:
        """Return the name that is the same text, maybe in another Unicode form; `name` if there is none or several."""
        alike = self._composed.get(composed(name), [])
        return alike[0] if len(alike) == 1 and name not in self._names else name

    def similar(self, name: str) -> str | None:
        """Return a name that differs in upper and lower case, or in Unicode form, only; None if there is none."""
        return self._folded.get(folded(name))


def same_file(path: Path) -> Path:
    """Return the path as the file system spells it. Without such a file, it is the path itself."""
    if str(path).isascii() or os.path.lexists(path):
        return path
    folder = same_file(path.parent)
    found = folder / _names(folder).same(path.name)
    return found if os.path.lexists(found) else path


def similar_file(path: Path) -> Path | None:
    """Return an existing file of almost the same path; None if there is none.

    Concretely, these are tried in turn: backslashes as separators, the name in other letters (``.JPG`` for ``.jpg``),
    and the name in a folder above, since annotation files often repeat the name of a folder. Then the same without
    escaped characters (``%20`` for a space).
    """
    if "\\" in path.name:
        path = path.parent / PureWindowsPath(path.name).as_posix()
    for wanted in dict.fromkeys([path, path.parent / unquote(path.name)]):
        for folder in wanted.parents[:FOLDERS]:
            name = _names(folder).similar(wanted.name)
            if name is not None and os.path.isfile(folder / name):
                return folder / name
    return None


def _names(folder: Path) -> Spellings:
    """The names in a folder."""
    try:
        changed = os.stat(folder).st_mtime_ns
    except (OSError, ValueError):
        return Spellings(())
    return _listed(folder, changed)


@lru_cache(maxsize=8)  # a dataset may name a hundred thousand missing files of one folder
def _listed(folder: Path, changed: int) -> Spellings:
    del changed
    try:
        return Spellings(os.listdir(folder))
    except OSError:
        return Spellings(())
