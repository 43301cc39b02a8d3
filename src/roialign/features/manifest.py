"""The manifest of a job: everything that determines its values, so that only the same job is resumed in a folder."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..extract.output import atomic_write
from ..files.problems import FileError
from ..files.text import read_json, shown
from .shards import Shard

#: Readers of Parquet folders skip names that begin with an underscore.
MANIFEST = "_manifest.json"
LOCK = "_lock"
#: In folders of version 1, shards may have no record; see :mod:`.records`.
VERSION, VERSIONS = 2, (1, 2)
#: The name of a shard's file; see :func:`roialign.features.shards.cut_shards`.
SHARD_FILE = re.compile(r"features-\d+-of-\d+\.(parquet|safetensors|npz)")
#: The name of a file that is being written; see :func:`roialign.extract.output.atomic_write`.
UNFINISHED = re.compile(r"\.(.+)\.[^.]+\.part", re.DOTALL)


class OtherJobError(FileError):
    """The folder belongs to another job, or another run is writing to it. The message says what differs."""


def read_fingerprint(folder: Path) -> dict[str, Any] | None:
    """Return the fingerprint of the job to which a folder belongs; None if it belongs to no job.

    Raises
    ------
    OtherJobError
        If there is a manifest that cannot be read or has been changed.
    """
    content = read_manifest(folder)
    return None if content is None else content["fingerprint"]


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Return the whole manifest of a folder, of which :func:`read_fingerprint` returns a part."""
    path = folder / MANIFEST
    if not path.exists():
        return None
    try:
        content = read_json(path)
    except FileError as error:
        raise OtherJobError(f"{path}: {error}") from error
    known = isinstance(content, dict) and content.get("version") in VERSIONS
    if not known or not isinstance(content.get("fingerprint"), dict):
        expected = " or ".join(map(str, VERSIONS))
        raise OtherJobError(f"{path}: expected a manifest of version {expected}, found {shown(content)}")
    wrong = next(_wrong_parts(content), None)
    if wrong is not None:
        raise OtherJobError(f"{path}: {wrong}; it is not as roialign has written it")
    found: dict[str, Any] = content
    return found


def _wrong_parts(content: Mapping[str, Any]) -> Iterator[str]:
    """Check that a manifest has the structure that :func:`join_folder` writes, and yield what is wrong."""
    fingerprint, made = content["fingerprint"], content.get("backbone")
    for name in ("backbone", "pooling", "settings"):
        if not isinstance(fingerprint.get(name), dict):
            yield f"fingerprint.{name}: expected an object, found {shown(fingerprint.get(name))}"
    if made is not None and not (
        isinstance(made, dict) and isinstance(made.get("name"), str) and isinstance(made.get("options"), dict)
    ):
        yield f"backbone: expected an object with name and options, found {shown(made)}"
    columns, shards = content.get("columns"), content.get("shards")
    if not isinstance(columns, dict) or not columns or not all(map(_is_shape, columns.values())):
        yield f"columns: expected the shape of every column, [C] or [C, PH, PW], found {shown(columns)}"
    if not isinstance(shards, list):
        yield f"shards: expected a list, found {shown(shards)}"
        return
    files = [shard.get("file") if isinstance(shard, dict) else None for shard in shards]
    for number, (file, shard) in enumerate(zip(files, shards, strict=True)):
        if not isinstance(file, str) or not SHARD_FILE.fullmatch(file):
            yield f"shards: expected the name of a shard in entry {number}, found {shown(shard)}"
    if len(set(map(str, files))) < len(files):
        yield "shards: expected each file once"


def _is_shape(shape: object) -> bool:
    return isinstance(shape, list) and len(shape) in (1, 3) and all(type(side) is int and side > 0 for side in shape)


def join_folder(
    folder: Path,
    fingerprint: Mapping[str, Any],
    backbone: Mapping[str, Any],
    shapes: Mapping[str, Sequence[int]],
    shards: Sequence[Shard],
) -> dict[str, Any]:
    """Write the manifest of a job into a folder, or check that the folder belongs to this job. Return the manifest.

    `backbone` has the name and the options of the backbone. With them, `roialign search` creates it again.

    Raises
    ------
    OtherJobError
        If the folder belongs to another job. Nothing is changed in this case.
    """
    found = read_manifest(folder)
    if found is not None:
        differences = list(differences_of(found["fingerprint"], fingerprint))
        if differences:
            raise OtherJobError(
                f"{folder}: contains the features of another job: {'; '.join(differences)}; give the same options, or "
                "another folder"
            )
        return found
    folder.mkdir(parents=True, exist_ok=True)
    other_files = sorted(path.name for path in folder.glob("features-*"))
    if other_files:
        raise OtherJobError(f"{folder}: contains {other_files[0]} but no {MANIFEST}: give another folder")
    content = {
        "version": VERSION,
        "fingerprint": fingerprint,
        "backbone": backbone,
        "columns": {name: list(shape) for name, shape in shapes.items()},
        "shards": [
            {"file": shard.file, "images": len(shard.images), "first": shard.images[0].as_posix()} for shard in shards
        ],
    }
    with atomic_write(folder / MANIFEST) as file:
        file.write(json.dumps(content, indent=1).encode())
    return content


def differences_of(
    found: object, own: object, name: str = "", *, text: str = "{name}: {found} there, {own} here"
) -> Iterator[str]:
    """Yield a text for each difference between two fingerprints."""
    if isinstance(found, dict) and isinstance(own, dict):
        for key in dict.fromkeys([*found, *own]):
            yield from differences_of(found.get(key), own.get(key), f"{name}.{key}" if name else key, text=text)
    elif found != own:
        yield text.format(name=name, found=shown(found), own=shown(own))


@contextmanager
def locked(folder: Path, part: str) -> Iterator[None]:
    """Lock a part of a job, so that no other run processes it. The lock of a killed process is released.

    Raises
    ------
    OtherJobError
        If another run has the lock.
    """
    path = folder / f"{LOCK}{part}"
    with path.open("a+b") as file:
        try:
            _lock(file.fileno())
        except OSError as error:
            raise OtherJobError(f"{folder}: another run writes to this folder") from error
        yield
    path.unlink(missing_ok=True)


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def remove_unfinished(folder: Path, shards: Sequence[Shard]) -> None:
    """Remove temporary files of these shards and of the manifest that a killed run left behind."""
    names = {MANIFEST, *(shard.file for shard in shards)}
    for name in os.listdir(folder):
        unfinished = UNFINISHED.fullmatch(name)
        if unfinished and unfinished[1] in names:
            (folder / name).unlink(missing_ok=True)
