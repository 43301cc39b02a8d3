"""The record in the metadata of a shard: the job and the number of the shard, and a checksum of every column.

Parquet has checksums of its pages and ``.npz`` of its arrays, but a changed byte in Parquet's footer can still change
the table, and safetensors has no checksum. The checksums of a record are computed from the values, in the same way for
all formats.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .._typing import Array
from .manifest import differences_of

#: The keys of a record: the fingerprint of the job, the number of the shard, and the checksums by column.
FINGERPRINT, NUMBER, CHECKSUMS = KEYS = ("fingerprint", "shard", "crc32")


class Origin(NamedTuple):
    """The job to which a shard belongs, and its place in it."""

    fingerprint: Mapping[str, Any]
    """The fingerprint of the job as JSON has it, with lists instead of tuples."""
    number: int
    """The number of the shard, from 0."""


class Texts(NamedTuple):
    """A column of texts."""

    distinct: list[str]
    """The different texts, in the order in which they occur."""
    places: Array
    """Int64 ``[K]``: the index of the text of each row."""

    @classmethod
    def of(cls, texts: Sequence[str]) -> Texts:
        """Make a column of the texts of all rows."""
        place = {text: index for index, text in enumerate(dict.fromkeys(texts))}
        return cls(list(place), np.array([place[text] for text in texts], dtype=np.int64))

    def at(self, rows: Sequence[int] | Array) -> list[str]:
        """Return the texts of some rows."""
        return [self.distinct[place] for place in self.places[rows]]


class Checksum:
    """The CRC-32 of numbers ``[K, ...]``, of which some rows are added at a time.

    The type and the length of a row are part of it. The division of the rows does not matter.
    """

    def __init__(self) -> None:
        self._crc32: int | None = None

    def add(self, rows: Array) -> None:
        """Add rows."""
        if not len(rows):
            return
        if self._crc32 is None:
            self._crc32 = zlib.crc32(f"{rows.dtype.name} {int(np.prod(rows.shape[1:]))} ".encode())
        little_endian = rows.astype(rows.dtype.newbyteorder("<"), copy=False)
        self._crc32 = zlib.crc32(np.ascontiguousarray(little_endian).reshape(-1).view(np.uint8).data, self._crc32)

    def __str__(self) -> str:
        return f"{self._crc32 or 0:08x}"


def checksum_of(column: Texts | Array) -> str:
    """Return the checksum of a whole column. That of texts begins with the distinct ones as JSON."""
    if isinstance(column, Texts):
        distinct = zlib.crc32(json.dumps(column.distinct).encode())
        return f"{zlib.crc32(checksum_of(column.places).encode(), distinct):08x}"
    checksum = Checksum()
    checksum.add(column)
    return str(checksum)


def differences_from(record: Mapping[str, Any], origin: Origin) -> str:
    """Say how the job of a record differs from that of an origin. Return an empty text if it does not."""
    text = "{name}: expected {own}, found {found}"
    return "; ".join(differences_of(record[FINGERPRINT], origin.fingerprint, text=text))
