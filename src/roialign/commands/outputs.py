"""Checks of the files and folders that a command will write, made before any work."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import typer

from ..files.kinds import real_path

#: A file to write: the option that names it, its path or None, and the endings of its formats.
Output = tuple[str, Path | None, Sequence[str]]


def check_outputs(outputs: Sequence[Output], read: Sequence[Path]) -> None:
    """Check before any work that the outputs can be written, have a known format, and do not overwrite inputs."""
    sources = {real_path(path) for path in read}
    for option, path, endings in outputs:
        if path is None:
            continue
        check_output(path, option, endings)
        if real_path(path) in sources:
            raise typer.BadParameter(f"{path} is also an input, and would be overwritten", param_hint=option)
        sources.add(real_path(path))


def check_folder(path: Path, option: str) -> None:
    """Check that a path and its parents are folders or do not exist, and that files can be made there."""
    for place in (path, *path.parents):
        if os.path.lexists(place) and not os.path.isdir(place):
            what = "a file" if os.path.exists(place) else "a link to a folder that does not exist"
            raise typer.BadParameter(f"{place} is {what}; expected a folder", param_hint=option)
    _check_writable(next(place for place in (path, *path.parents) if os.path.isdir(place)), path, option)


def check_output(path: Path | None, option: str, endings: Sequence[str]) -> None:
    """Check that the folder of a file exists and can be written to, and that its name has one of the endings."""
    if path is None:
        return
    if os.path.isdir(path):
        raise typer.BadParameter(f"{path} is a folder", param_hint=option)
    if path.suffix.lower() not in endings:
        names = " or ".join([", ".join(endings[:-1]), endings[-1]] if endings[1:] else endings)
        raise typer.BadParameter(f"expected a name ending in {names}, got {path}", param_hint=option)
    if not os.path.isdir(path.parent):
        raise typer.BadParameter(f"{path.parent} is not a folder", param_hint=option)
    _check_writable(Path(os.path.realpath(path)).parent, path, option)


def _check_writable(folder: Path, path: Path, option: str) -> None:
    """Check that files can be made in a folder, by making one that has no name and is removed at once."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise typer.BadParameter(f"{path} cannot be written: {error.strerror or error}", param_hint=option) from error
