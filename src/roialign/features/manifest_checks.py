"""Checks the content of a manifest, which may have been edited, cut short or made by another version."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, get_args

from ..files.text import shown
from .backbone import Precision

#: In folders of version 1, shards may have no record; see :mod:`.records`.
VERSION, VERSIONS = 2, (1, 2)
#: The keys that a manifest has in every version.
KEYS = ("version", "fingerprint", "columns", "shards")
#: The name of a shard's file; see :func:`roialign.features.shards.cut_shards`.
SHARD_FILE = re.compile(r"features-(\d+)-of-(\d+)\.(parquet|safetensors|npz)")


def wrong_parts(content: object) -> Iterator[str]:
    """Check that a manifest is as :func:`roialign.features.manifest.join_folder` writes it, and yield what is wrong.

    Only the first text is of use, because later checks may need what earlier ones found to be right.
    """
    if not isinstance(content, dict):
        yield f"expected an object, found {shown(content)}"
        return
    missing = [key for key in KEYS if key not in content]
    if missing:
        yield f"expected the keys {', '.join(KEYS)}, found no {', '.join(missing)}"
    if type(content["version"]) is not int or content["version"] not in VERSIONS:
        yield f"version: expected {' or '.join(map(str, VERSIONS))}, found {shown(content['version'])}"
    yield from _wrong_in_fingerprint(content["fingerprint"])
    yield from _wrong_in_backbone(content.get("backbone"))
    columns = content["columns"]
    if not isinstance(columns, dict) or not columns or not all(map(_is_shape, columns.values())):
        yield f"columns: expected the shape of every column, [C] or [C, PH, PW], found {shown(columns)}"
    yield from _wrong_in_shards(content["shards"])
    yield from _wrong_count(content["shards"], content["fingerprint"])


def _is_whole(value: object, least: int) -> bool:
    return type(value) is int and value >= least


def _is_shape(shape: object) -> bool:
    return isinstance(shape, list) and len(shape) in (1, 3) and all(_is_whole(side, 1) for side in shape)


def _wrong_in_fingerprint(fingerprint: object) -> Iterator[str]:
    if not isinstance(fingerprint, dict):
        yield f"fingerprint: expected an object, found {shown(fingerprint)}"
        return
    for name in ("backbone", "pooling", "settings", "images", "boxes"):
        if not isinstance(fingerprint.get(name), dict):
            yield f"fingerprint.{name}: expected an object, found {shown(fingerprint.get(name))}"
    count = fingerprint["images"].get("count")
    if not _is_whole(count, 0):
        yield f"fingerprint.images.count: expected a whole number from 0, found {shown(count)}"


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_text_or_null(value: object) -> bool:
    return value is None or isinstance(value, str)


def _is_image_size(value: object) -> bool:
    pair = isinstance(value, list) and len(value) == 2 and all(_is_whole(side, 1) for side in value)
    return value is None or _is_whole(value, 1) or pair


#: What each of the :class:`BackboneOptions` must be, and the function that checks it.
OPTIONS: Mapping[str, tuple[str, Callable[[object], bool]]] = {
    "image_size": ("null, a length from 1 or [height, width]", _is_image_size),
    "normalise": ("null or a text", _is_text_or_null),
    "weights": ("null or a text", _is_text_or_null),
    "prefix_tokens": ("null or a whole number from 0", lambda value: value is None or _is_whole(value, 0)),
    "patch_size": ("null or a whole number from 1", lambda value: value is None or _is_whole(value, 1)),
    "device": ("a text", _is_text),
    "precision": (f"one of {', '.join(get_args(Precision))}", lambda value: value in get_args(Precision)),
    "channels_last": ("true or false", lambda value: isinstance(value, bool)),
    "threads": ("a whole number from 1", lambda value: _is_whole(value, 1)),
}


def _wrong_in_backbone(made: object) -> Iterator[str]:
    """Check the name and the options of the backbone, which the first folders of version 1 do not have."""
    if made is None:
        return
    if not isinstance(made, dict) or not {"name", "options"} <= set(made):
        yield f"backbone: expected an object with name and options, found {shown(made)}"
        return
    if not isinstance(made["name"], str):
        yield f"backbone.name: expected a text, found {shown(made['name'])}"
    if not isinstance(made["options"], dict):
        yield f"backbone.options: expected an object, found {shown(made['options'])}"
        return
    for name, (expected, is_right) in OPTIONS.items():
        if name in made["options"] and not is_right(made["options"][name]):
            yield f"backbone.options.{name}: expected {expected}, found {shown(made['options'][name])}"


def _wrong_in_shards(shards: object) -> Iterator[str]:
    """Check the entries of the shards. The name of each file has its number and the number of all shards."""
    if not isinstance(shards, list):
        yield f"shards: expected a list, found {shown(shards)}"
        return
    for number, shard in enumerate(shards):
        file = shard.get("file") if isinstance(shard, dict) else None
        name = SHARD_FILE.fullmatch(file) if isinstance(file, str) else None
        if name is None:
            yield f"shards: expected the name of a shard in entry {number}, found {shown(shard)}"
            return
        if int(name[2]) != len(shards):
            yield f"shards: expected {int(name[2])} entries, as {name[0]} says, found {len(shards)}"
        if int(name[1]) != number:
            yield f"shards: expected shard {number} in entry {number}, found {name[0]}"
        if not _is_whole(shard.get("images"), 1):
            yield f"shards: expected the number of images in entry {number}, found {shown(shard.get('images'))}"
        if not isinstance(shard.get("first"), str):
            yield f"shards: expected the first image in entry {number}, found {shown(shard.get('first'))}"


def _wrong_count(shards: Sequence[Mapping[str, Any]], fingerprint: Mapping[str, Any]) -> Iterator[str]:
    """Compare the number of images. Those for which a file has no box are in no shard."""
    count, found = fingerprint["images"]["count"], sum(shard["images"] for shard in shards)
    boxes = fingerprint["boxes"].get("boxes")  # only those of a file are counted before
    if boxes is None:
        least, expected = count, f"{count} images"
    else:
        least = min(count, 1) if boxes else 0
        expected = f"{least} to {count} images"
    if not least <= found <= count:
        yield f"shards: expected {expected} in all entries, as the fingerprint says, found {found}"
