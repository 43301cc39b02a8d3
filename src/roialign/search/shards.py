"""Reads the features and the other columns of a shard, in all formats."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .._extras import require
from .._typing import Array
from ..features.writing import GROUP_BYTES, METADATA, NO_ROW, arrays_of


class Format(NamedTuple):
    """The functions that read a format."""

    blocks: Callable[[Path, str], Iterator[tuple[Array, Array]]]
    texts: Callable[[Path, Sequence[int]], list[dict[str, Any]]]
    rows_of_image: Callable[[Path, Sequence[str]], Array]
    first_image: Callable[[Path], str]


def blocks(path: Path, column: str) -> Iterator[tuple[Array, Array]]:
    """Yield the rows without an error, int64 ``[K]``, and their features ``[K, N]``, in blocks."""
    return FORMATS[path.suffix].blocks(path, column)


def texts(path: Path, rows: Sequence[int]) -> list[dict[str, Any]]:
    """Return the image, row, box, label, image size and score, if any, of some rows."""
    return FORMATS[path.suffix].texts(path, rows)


def rows_of_image(path: Path, names: Sequence[str]) -> Array:
    """Return the rows of an image that has one of these names, int64 ``[K]``."""
    return FORMATS[path.suffix].rows_of_image(path, names)


def first_image(path: Path) -> str:
    """Return the image of the first row. Shards of detections may have no row."""
    return FORMATS[path.suffix].first_image(path)


def _parquet_blocks(path: Path, column: str) -> Iterator[tuple[Array, Array]]:
    require("features", "pyarrow")
    import pyarrow.compute
    from pyarrow import parquet

    first = 0
    with parquet.ParquetFile(path, memory_map=True) as file:
        size = file.schema_arrow.field(column).type.list_size
        most = max(GROUP_BYTES // max(4 * size, 1), 1)
        for batch in file.iter_batches(batch_size=most, columns=[column, "error"]):
            rows = np.arange(first, first + len(batch))
            first += len(batch)
            good = pyarrow.compute.is_null(batch["error"])
            values = batch[column].filter(good).flatten().to_numpy(zero_copy_only=False)
            yield rows[good.to_numpy(zero_copy_only=False)], values.reshape(-1, size)


def _parquet_texts(path: Path, rows: Sequence[int]) -> list[dict[str, Any]]:
    from pyarrow import parquet

    wanted = ["image", "row", "box", "label", "image_width", "image_height", "score"]
    with parquet.ParquetFile(path, memory_map=True) as file:
        there = [name for name in wanted if name in file.schema_arrow.names]
        table = file.read(columns=there).take(list(rows)).to_pylist()
    return [
        {
            "image": one["image"],
            "row": one["row"],
            "box": tuple(one["box"]),
            "label": one["label"],
            "image_size": (one["image_width"], one["image_height"]),
            "score": one.get("score"),
        }
        for one in table
    ]


def _parquet_rows_of_image(path: Path, names: Sequence[str]) -> Array:
    import pyarrow.compute
    from pyarrow import parquet

    with parquet.ParquetFile(path, memory_map=True) as file:
        images = file.read(columns=["image"])["image"]
        same = pyarrow.compute.is_in(images, value_set=pyarrow.array(names, pyarrow.string()))
    rows: Array = np.flatnonzero(same.to_numpy())
    return rows


def _parquet_first_image(path: Path) -> str:
    from pyarrow import parquet

    with parquet.ParquetFile(path, memory_map=True) as file:
        return str(next(file.iter_batches(batch_size=1, columns=["image"]))["image"][0])


@contextmanager
def _tensors(path: Path) -> Iterator[tuple[Callable[[str], Any], Mapping[str, Any]]]:
    require("features", "safetensors")
    from safetensors import safe_open

    with safe_open(path, "np") as shard:
        said = {"tensors": list(shard.keys()), **json.loads(shard.metadata()[METADATA])}
        yield shard.get_slice, said


def _safetensors_blocks(path: Path, column: str) -> Iterator[tuple[Array, Array]]:
    with _tensors(path) as (tensor, _):
        numbers = tensor("rows")[:]
        count, *shape = tensor(column).get_shape()
        most = max(GROUP_BYTES // max(4 * int(np.prod(shape)), 1), 1)
        for first in range(0, count, most):
            good = numbers[first : first + most] != NO_ROW
            values = tensor(column)[first : min(first + most, count)]
            yield first + np.flatnonzero(good), values.reshape(len(good), -1)[good]


def _safetensors_texts(path: Path, rows: Sequence[int]) -> list[dict[str, Any]]:
    with _tensors(path) as (tensor, said):
        named = {name: said[name] for name in ("images", "labels")}
        scores = tensor("scores")[:] if "scores" in said.get("tensors", ()) else None
        arrays = {name: tensor(name)[:] for name in ("images", "rows", "boxes", "labels", "image_sizes")}
    chosen = list(rows)
    images, labels = ([named[name][place] for place in arrays[name][chosen]] for name in ("images", "labels"))
    return _of_arrays(images, labels, arrays, scores, chosen)


def _safetensors_rows_of_image(path: Path, names: Sequence[str]) -> Array:
    with _tensors(path) as (tensor, said):
        places = [place for place, image in enumerate(said["images"]) if image in names]
        rows: Array = np.flatnonzero(np.isin(tensor("images")[:], places))
        return rows


def _safetensors_first_image(path: Path) -> str:
    with _tensors(path) as (tensor, said):
        return str(said["images"][int(tensor("images")[:1][0])])


def _npz_blocks(path: Path, column: str) -> Iterator[tuple[Array, Array]]:
    with arrays_of(path) as shard:
        good, values = shard["rows"] != NO_ROW, shard[column]
    yield np.flatnonzero(good), values.reshape(len(good), -1)[good]


def _npz_texts(path: Path, rows: Sequence[int]) -> list[dict[str, Any]]:
    chosen = list(rows)
    with arrays_of(path) as shard:
        arrays = {name: shard[name] for name in ("rows", "boxes", "image_sizes")}
        images, labels = (shard[name][chosen].tolist() for name in ("images", "labels"))
        scores = shard["scores"] if "scores" in shard.files else None
    return _of_arrays(images, labels, arrays, scores, chosen)


def _npz_rows_of_image(path: Path, names: Sequence[str]) -> Array:
    with arrays_of(path) as shard:
        rows: Array = np.flatnonzero(np.isin(shard["images"], list(names)))
    return rows


def _npz_first_image(path: Path) -> str:
    with arrays_of(path) as shard:
        return str(shard["images"][0])


def _of_arrays(
    images: Sequence[str],
    labels: Sequence[str],
    arrays: Mapping[str, Array],
    scores: Array | None,
    rows: Sequence[int],
) -> list[dict[str, Any]]:
    return [
        {
            "image": image,
            "row": int(arrays["rows"][row]),
            "box": tuple(arrays["boxes"][row].tolist()),
            "label": label,
            "image_size": tuple(arrays["image_sizes"][row].tolist()),
            "score": None if scores is None else float(scores[row]),
        }
        for image, label, row in zip(images, labels, rows, strict=True)
    ]


#: The formats by the ending of the file.
FORMATS: dict[str, Format] = {
    ".parquet": Format(_parquet_blocks, _parquet_texts, _parquet_rows_of_image, _parquet_first_image),
    ".safetensors": Format(
        _safetensors_blocks, _safetensors_texts, _safetensors_rows_of_image, _safetensors_first_image
    ),
    ".npz": Format(_npz_blocks, _npz_texts, _npz_rows_of_image, _npz_first_image),
}
