"""Reads columns of shards in all formats. The columns have the same form, whatever the format."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .._extras import require
from .._typing import Array
from ..files.parquet import METADATA
from .records import Texts
from .writing import GROUP_BYTES, MISSING, NO_ROW, features_of

#: The names of columns, and of the arrays that hold them in safetensors and ``.npz``.
ARRAYS = {
    "image": "images",
    "row": "rows",
    "box": "boxes",
    "label": "labels",
    "score": "scores",
    "image_size": "image_sizes",
    "error": "errors",
}
COLUMNS = {array: column for column, array in ARRAYS.items()}


class Rows(NamedTuple):
    """Features of consecutive rows."""

    length: int
    """The number of rows, with those of images that failed."""
    values: Array
    """The features ``[K, N]`` of the rows without an error."""


class ShardFile(ABC):
    """An open shard. In the rows of images that failed, the row is -1, other numbers are 0, and the label is empty."""

    metadata: dict[str, Any]
    """The entry of this package in the metadata; empty if there is none."""
    columns: list[str]
    """The names of the columns."""

    @abstractmethod
    def texts(self, name: str) -> Texts:
        """Return the column image, label or error. Rows without an error have an empty one."""

    @abstractmethod
    def numbers(self, name: str) -> Array:
        """Return the column row, box, score or image_size."""

    @abstractmethod
    def features(self, name: str, good: Array) -> Iterator[Rows]:
        """Yield a column of features in blocks. `good` says which rows have no error, bool ``[K]``."""


class ParquetShard(ShardFile):
    """A shard in Parquet, whose pages have checksums."""

    def __init__(self, path: Path, closing: ExitStack) -> None:
        require("features", "pyarrow")
        from pyarrow import parquet

        opened = parquet.ParquetFile(path, memory_map=True, page_checksum_verification=True)
        self._file = closing.enter_context(opened)
        schema = self._file.schema_arrow
        self.metadata = _entry(schema.metadata, METADATA.encode())
        names = dict.fromkeys(
            "image_size" if name in ("image_width", "image_height") else name for name in schema.names
        )
        self.columns = list(names)

    def _read(self, name: str) -> Any:
        return self._file.read(columns=[name])[name].combine_chunks()

    def texts(self, name: str) -> Texts:
        column = self._read(name).fill_null("").dictionary_encode()
        return Texts(column.dictionary.to_pylist(), column.indices.to_numpy().astype(np.int64))

    def numbers(self, name: str) -> Array:
        if name == "image_size":
            sides = [self._read(side).fill_null(int(MISSING)) for side in ("image_width", "image_height")]
            return np.column_stack([side.to_numpy() for side in sides])
        column = self._read(name)
        if name != "box":
            values: Array = column.fill_null(NO_ROW if name == "row" else MISSING).to_numpy()
            return values
        boxes = np.full((len(column), column.type.list_size), MISSING)
        boxes[column.is_valid().to_numpy(zero_copy_only=False)] = _of_lists(column)
        return boxes

    def features(self, name: str, good: Array) -> Iterator[Rows]:
        import pyarrow

        size = self._file.schema_arrow.field(name).type.list_size
        first = 0
        for batch in self._file.iter_batches(batch_size=_block_rows(size), columns=[name]):
            column, here = batch[name], good[first : first + len(batch)]
            first += len(batch)
            yield Rows(len(batch), _of_lists(column if here.all() else column.filter(pyarrow.array(here))))


def _entry(metadata: Mapping[Any, Any] | None, key: str | bytes) -> Any:
    if not metadata or key not in metadata:
        raise ValueError(f"expected an entry {METADATA} in its metadata, found none")
    return json.loads(metadata[key])


def _of_lists(column: Any) -> Array:
    """Return the values of the lists that are not null, ``[K, N]``."""
    values: Array = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, column.type.list_size)
    return values


class SafetensorsShard(ShardFile):
    """A shard in safetensors, whose texts are in the metadata."""

    def __init__(self, path: Path, closing: ExitStack) -> None:
        require("features", "safetensors")
        from safetensors import safe_open

        self._file = closing.enter_context(safe_open(path, "np"))
        self.metadata = _entry(self._file.metadata(), METADATA)
        self.columns = [*(COLUMNS.get(name, name) for name in self._file.keys()), "error"]  # noqa: SIM118

    def texts(self, name: str) -> Texts:
        if name != "error":
            return Texts(self.metadata[ARRAYS[name]], self.numbers(name))
        failed = self.numbers("row") == NO_ROW
        errors = [""] * len(failed)
        rows = np.flatnonzero(failed)
        for row, image in zip(rows, self.texts("image").at(rows), strict=True):
            errors[row] = self.metadata["errors"][image]
        return Texts.of(errors)

    def numbers(self, name: str) -> Array:
        values: Array = self._file.get_tensor(ARRAYS[name])
        return values

    def features(self, name: str, good: Array) -> Iterator[Rows]:
        tensor = self._file.get_slice(name)
        count, *shape = tensor.get_shape()
        step = _block_rows(int(np.prod(shape)))
        for first in range(0, count, step):
            yield _rows_of(tensor[first : min(first + step, count)], good[first : first + step])


class NpzShard(ShardFile):
    """A shard as a NumPy archive, whose arrays have checksums."""

    def __init__(self, path: Path, closing: ExitStack) -> None:
        file = closing.enter_context(path.open("rb"))  # NumPy itself does not close a damaged file
        self._file = closing.enter_context(np.load(file, allow_pickle=False))
        self.metadata = json.loads(str(self._file[METADATA])) if METADATA in self._file.files else {}
        self.columns = [COLUMNS.get(name, name) for name in self._file.files if name != METADATA]

    def texts(self, name: str) -> Texts:
        return Texts.of(self.numbers(name).tolist())

    def numbers(self, name: str) -> Array:
        values: Array = self._file[ARRAYS[name]]
        return values

    def features(self, name: str, good: Array) -> Iterator[Rows]:
        yield _rows_of(self._file[name], good)


def _rows_of(values: Array, good: Array) -> Rows:
    """Return the rows without an error, and check that the others hold nothing."""
    if len(values) != len(good):
        raise ValueError(f"expected {len(good)} rows of features, found {len(values)}")
    flat = values.reshape(len(values), int(np.prod(values.shape[1:])))
    if flat[~good].any():
        raise ValueError("expected zeros in the rows of images that failed, found other numbers")
    return Rows(len(values), features_of(flat, good))


def _block_rows(size: int) -> int:
    return max(GROUP_BYTES // max(4 * size, 1), 1)


#: The formats by the ending of the file.
FILES: dict[str, type[ParquetShard | SafetensorsShard | NpzShard]] = {
    ".parquet": ParquetShard,
    ".safetensors": SafetensorsShard,
    ".npz": NpzShard,
}
