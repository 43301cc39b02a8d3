"""Folders in place of files: what a command reads of one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

#: Endings of the images that are read of a folder; a file that is named itself may have any.
IMAGE_ENDINGS = (
    *(".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"),
    *(".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"),
)
#: Of feature maps.
MAP_ENDINGS = (".npy", ".npz")


class EmptyFolderError(ValueError):
    """A folder that holds nothing to read; the message names it."""


def expand_folders(paths: Sequence[Path], endings: Sequence[str], written: Sequence[Path] = ()) -> list[Path]:
    """The files, and for a folder those in it and in its folders that have one of the endings, sorted; each once.

    Hidden files are left out, and so is what is `written`, files or folders, and what is in those.

    Raises
    ------
    EmptyFolderError
        Naming the folder in which there is none.
    """
    files: dict[Path, None] = {}
    apart = [path.resolve() for path in written]
    for path in paths:
        if not path.is_dir():
            files[path] = None
            continue
        found = [file for file in sorted(path.rglob("*")) if _is_read(file, path, endings, apart)]
        if not found:
            raise EmptyFolderError(f"{path}: no file in this folder ends in {', '.join(endings)}")
        files.update(dict.fromkeys(found))
    return list(files)


def _is_read(file: Path, folder: Path, endings: Sequence[str], apart: Sequence[Path]) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    if hidden or file.suffix.lower() not in endings or not file.is_file():
        return False
    resolved = file.resolve()
    return not any(resolved == path or path in resolved.parents for path in apart)
