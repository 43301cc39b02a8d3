"""Finds the files in which an ONNX model stores its weights, without the package onnx."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

#: The fields that lead from the model to the places of its weights, by message and number. Names are those of onnx.
FIELDS: dict[str, dict[int, str]] = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto",
        6: "GraphProto",
        10: "TensorProto",
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
    "TensorProto": {13: "StringStringEntryProto"},
}
_KEY, _VALUE = 1, 2
_VARINT, _FIXED_64, _LENGTH, _FIXED_32 = 0, 1, 2, 5


def external_files(model: Path) -> list[Path]:
    """Return the existing files of external data that a model names, sorted. They are relative to its folder.

    A file that is not a model, or is damaged, gives those that are found before the damage.
    """
    if not model.stat().st_size:
        return []
    names: set[str] = set()
    with (
        model.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        suppress(ValueError, IndexError),  # onnxruntime says what is wrong
    ):
        names.update(_locations(content))
    paths = (model.parent / name for name in sorted(names))
    return [path for path in paths if path.is_file()]


def _locations(content: mmap.mmap) -> Iterator[str]:
    """Yield the value of each "location" of the external data of a tensor."""
    waiting = [("ModelProto", 0, len(content))]
    while waiting:
        message, start, end = waiting.pop()
        if message == "StringStringEntryProto":
            entry = {field: content[first:last] for field, first, last in _parts(content, start, end)}
            if entry.get(_KEY) == b"location":
                yield entry.get(_VALUE, b"").decode()
            continue
        kinds = FIELDS[message]
        waiting += [(kinds[field], first, last) for field, first, last in _parts(content, start, end) if field in kinds]


def _parts(content: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield the number, the start and the end of each field of a message that has a length."""
    while start < end:
        tag, start = _varint(content, start)
        field, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            _, start = _varint(content, start)
        elif kind == _LENGTH:
            length, start = _varint(content, start)
            if start + length > end:
                raise ValueError("a field is longer than its message")
            yield field, start, start + length
            start += length
        elif kind in (_FIXED_64, _FIXED_32):
            start += 8 if kind == _FIXED_64 else 4
        else:
            raise ValueError(f"unknown kind of field: {kind}")


def _varint(content: mmap.mmap, start: int) -> tuple[int, int]:
    """Return a number with 7 bits per byte, and the position after it."""
    value = shift = 0
    while True:
        byte = content[start]
        value |= (byte & 0x7F) << shift
        start, shift = start + 1, shift + 7
        if byte < 0x80:
            return value, start
