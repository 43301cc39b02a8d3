"""Reads the arguments of the examples. A wrong one stops the example with one line, not with a traceback."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from roialign.commands.terminal import print_error
from roialign.files.folders import expand_folders
from roialign.files.images import IMAGE_ENDINGS
from roialign.files.kinds import check_readable, real_path
from roialign.files.problems import FileError


def ends_with_code(main: Callable[[], int]) -> int:
    """Run an example and return its exit code. If a file cannot be used, print why and return 1."""
    try:
        return main()
    except (ValueError, OSError, ModuleNotFoundError) as error:
        print_error(Console(stderr=True), error)
        return 1


def print_problems(problems: Mapping[Path, str] | Mapping[str, str]) -> None:
    """Print why some files could not be used."""
    for path, why in problems.items():
        print_error(Console(stderr=True), f"{path}: {why}")


def at_least_one(text: str) -> int:
    """Parse a whole number from 1."""
    if not re.fullmatch(r"0*[1-9]\d*", text):
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text!r}")
    return int(text)


def box_corners(text: str) -> tuple[float, float, float, float]:
    """Parse ``10,20,110,220`` as the corners of a box."""
    try:
        x1, y1, x2, y2 = map(float, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected X1,Y1,X2,Y2, got {text!r}") from None
    return x1, y1, x2, y2


def photographs_in(paths: Sequence[Path]) -> list[Path]:
    """Return the images, and the images in the folders.

    Raises
    ------
    FileError
        If there is no such file or folder.
    EmptyFolderError
        If a folder contains no image.
    """
    photographs = expand_folders(paths, IMAGE_ENDINGS)
    for path in paths:
        if not path.is_dir():
            check(path, "photographs", "an image or a folder")
    return photographs


def check(path: Path, argument: str, expected: str) -> None:
    """Check that a file can be read. Raises FileError, which names the argument, if it cannot."""
    try:
        check_readable(path)
    except FileError as error:
        raise FileError(f"{argument}: expected {expected}, got {path}: {error}") from error


def check_output(folder: Path, argument: str) -> None:
    """Check that a path and its parents are folders or do not exist."""
    for place in (folder, *folder.parents):
        if place.exists() and not place.is_dir():
            raise FileError(f"{argument}: expected a folder, got {place}, which is a file")


def check_apart(folder: Path, argument: str, paths: Sequence[Path], photographs: Sequence[Path]) -> None:
    """Check that an output folder is not among the photographs: the next run would read what this one writes.

    `paths` are the images and the folders of images that were given, and `photographs` are the images in them.
    """
    place = real_path(folder)
    around = [path for path in paths if path.is_dir() and real_path(path) in (place, *place.parents)]
    around += [path.parent for path in photographs if real_path(path.parent) == place]
    if around:
        raise FileError(f"{argument}: expected a folder outside {around[0]}, which has photographs, got {folder}")


def check_replaceable(folder: Path, argument: str, expected: str, written: Collection[str]) -> None:
    """Check that a folder contains only files that the example writes, or nothing. Hidden files are left out.

    `written` are the paths of these files, relative to the folder.
    """
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(place, name)
            if not name.startswith(".") and path.relative_to(folder).as_posix() not in written:
                raise FileError(f"{argument}: expected {expected}, got {folder}, which contains {path}")
