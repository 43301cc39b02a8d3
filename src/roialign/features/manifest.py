"""The manifest of a job: everything that determines its values, so that only the same job is resumed in a folder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from ..files.problems import FileError
from ..files.text import read_json, shown
from ..files.writing import atomic_write
from .manifest_checks import VERSION, wrong_parts
from .shards import Shard

#: Readers of Parquet folders skip names that begin with an underscore.
MANIFEST = "_manifest.json"
#: What to do about a manifest that cannot be used.
RESTORE = "restore this file, or extract the features again into another folder"


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
        what_to_do = "" if isinstance(error.__cause__, OSError) else f"; {RESTORE}"
        raise OtherJobError(f"{path}: {error}{what_to_do}") from error
    wrong = next(wrong_parts(content), None)
    if wrong is not None:
        raise OtherJobError(f"{path}: {wrong}; it is not as this version of roialign writes it: {RESTORE}")
    found: dict[str, Any] = content
    return found


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
    content = {
        "version": VERSION,
        "fingerprint": fingerprint,
        "backbone": backbone,
        "columns": {name: list(shape) for name, shape in shapes.items()},
        "shards": [
            {"file": shard.file, "images": len(shard.images), "first": shard.images[0].as_posix()} for shard in shards
        ],
    }
    if found is not None:
        differences = _differences_in_words(found["fingerprint"], fingerprint)
        if differences:
            raise OtherJobError(
                f"{folder}: contains the features of another job: {'; '.join(differences)}; give the same options, or "
                "another folder"
            )
        _check_division(folder / MANIFEST, found, content)
        return found
    folder.mkdir(parents=True, exist_ok=True)
    other_files = sorted(path.name for path in folder.glob("features-*"))
    if other_files:
        raise OtherJobError(
            f"{folder}: contains {other_files[0]} but no {MANIFEST}: restore it, or give another folder"
        )
    try:
        with atomic_write(folder / MANIFEST) as file:
            file.write(json.dumps(content, indent=1).encode())
    except FileNotFoundError:  # a run that has begun the job meanwhile has removed the temporary file
        if not (folder / MANIFEST).exists():
            raise
        return join_folder(folder, fingerprint, backbone, shapes, shards)
    return content


def _check_division(path: Path, found: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Check that the manifest of this job has its columns and shards, which follow from the fingerprint.

    Raises
    ------
    OtherJobError
        If it has others. The message names the first.
    """
    columns = [[{name: shape} for name, shape in content["columns"].items()] for content in (found, own)]
    for part, (theirs, ours) in {"columns": columns, "shards": (found["shards"], own["shards"])}.items():
        for entry, expected in zip_longest(theirs, ours):
            if entry != expected:
                raise OtherJobError(f"{path}: {part}: expected {shown(expected)}, found {shown(entry)}; {RESTORE}")


#: What differs if a checksum of the job does. The number itself would tell the user nothing.
CHECKSUM_TEXTS = {
    "images.sha256": "the list of images differs",
    "boxes.sha256": "the boxes or the sizes of their images differ",
    "backbone.weights": "the weights of the backbone differ",
    "backbone.file": "the file of the backbone differs",
}


def _differences_in_words(found: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    """Return a text for each difference between two fingerprints, in words for checksums."""
    return [CHECKSUM_TEXTS.get(text.partition(":")[0], text) for text in differences_of(found, own)]


def differences_of(
    found: object, own: object, name: str = "", *, text: str = "{name}: {found} there, {own} here"
) -> Iterator[str]:
    """Yield a text for each difference between two fingerprints."""
    if isinstance(found, dict) and isinstance(own, dict):
        for key in dict.fromkeys([*found, *own]):
            yield from differences_of(found.get(key), own.get(key), f"{name}.{key}" if name else key, text=text)
    elif found != own:
        yield text.format(name=name, found=shown(found), own=shown(own))
