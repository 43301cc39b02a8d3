"""Writes a shard as Parquet, safetensors or ``.npz``, with a row per box and a row per image that failed.

An image fails if it cannot be read, or if some of its features are not finite. Then only the other boxes have rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, TypeAlias

import numpy as np

from .._extras import require
from .._text import encodable
from .._typing import Array
from ..files.parquet import METADATA
from ..files.writing import atomic_write, json_array, text_array, write_arrays
from .records import CHECKSUMS, FINGERPRINT, NUMBER, Origin, Texts, checksum_of
from .rows import ImageRows

Format: TypeAlias = Literal["parquet", "safetensors", "npz"]
#: The packages that each format needs besides NumPy.
PACKAGES: dict[str, tuple[str, ...]] = {"parquet": ("pyarrow",), "safetensors": ("safetensors",), "npz": ()}
#: The approximate size of a row group of a Parquet file in bytes.
GROUP_BYTES = 16 << 20
#: The value of features and boxes in rows that have none.
MISSING = 0.0
#: The row index in rows that have no box.
NO_ROW = -1


class Columns(NamedTuple):
    """The columns of the table of a shard. For an image that failed, it has one more row with an error and no box."""

    image: list[str]
    row: Array
    """Int64 ``[K]``: the index of the box in its file."""
    box: Array
    """Float64 ``[K, 4]``: x1, y1, x2, y2 in pixels of the image."""
    label: list[str]
    score: Array | None
    """Float32 ``[K]``: the scores of detections; None if boxes have no scores."""
    image_size: Array
    """Int32 ``[K, 2]``: width and height."""
    features: dict[str, Array]
    """The columns of features by name, ``[K, ...]``."""
    error: list[str | None]

    @property
    def failed(self) -> Array:
        """Bool ``[K]``: whether a row has an error."""
        return np.array([error is not None for error in self.error], dtype=bool)


def columns_of(
    rows: Sequence[ImageRows], shapes: Mapping[str, tuple[int, ...]], dtype: str, *, scored: bool = False
) -> Columns:
    """Make the table of a shard, with a row per box and a row per image that failed. If `scored`, boxes have scores."""
    entries = list(_entries(rows))
    count = len(entries)
    boxes = [(NO_ROW, (MISSING,) * 4, "") if box is None else (box.row, box.corners, box.label) for _, box in entries]
    features = {}
    for index, (name, shape) in enumerate(shapes.items()):
        pieces = [np.zeros((0, *shape), dtype)]
        for one in rows:
            pieces += [one.features[index]] if one.boxes else []
            pieces += [np.zeros((1, *shape), dtype)] if one.error is not None else []
        features[name] = np.concatenate(pieces)
    return Columns(
        image=[_text(one.image.as_posix()) for one, _ in entries],
        row=np.array([row for row, _, _ in boxes], dtype=np.int64),
        box=np.array([corners for _, corners, _ in boxes], dtype=np.float64).reshape(count, 4),
        label=[_text(label) for _, _, label in boxes],
        score=np.array([MISSING if box is None else box.score for _, box in entries], np.float32) if scored else None,
        image_size=np.array(
            [(MISSING, MISSING) if box is None else (one.width, one.height) for one, box in entries], dtype=np.int32
        ).reshape(count, 2),
        features=features,
        error=[None if one.error is None or box is not None else _text(one.error) for one, box in entries],
    )


def _text(text: str) -> str:
    return encodable(text).rstrip("\0")  # which NumPy's arrays of text do not keep


def _entries(rows: Sequence[ImageRows]) -> Iterator[tuple[ImageRows, Any]]:
    for one in rows:
        yield from ((one, box) for box in one.boxes)
        if one.error is not None:
            yield one, None


def record_of(columns: Columns, origin: Origin) -> dict[str, Any]:
    """Make the record of a shard. The checksums of features leave out the rows of images that failed."""
    texts = {"image": columns.image, "label": columns.label, "error": [error or "" for error in columns.error]}
    numbers = {
        "row": columns.row,
        "box": columns.box,
        **({} if columns.score is None else {"score": columns.score}),
        "image_size": columns.image_size,
        **{name: features_of(values, ~columns.failed) for name, values in columns.features.items()},
    }
    checksums = {name: checksum_of(Texts.of(column)) for name, column in texts.items()}
    checksums |= {name: checksum_of(column) for name, column in numbers.items()}
    return {FINGERPRINT: origin.fingerprint, NUMBER: origin.number, CHECKSUMS: checksums}


def features_of(values: Array, good: Array) -> Array:
    """Return the features of the rows without an error, without a copy if there are no others."""
    return values if good.all() else values[good]


def write_parquet(file: IO[bytes], columns: Columns, record: Mapping[str, Any]) -> None:
    """Write the table as Parquet. Features are fixed-size lists in row-major order; the metadata has their shapes."""
    require("features", "pyarrow")
    import pyarrow
    from pyarrow import parquet

    failed = columns.failed
    absent = pyarrow.array(failed) if failed.any() else None
    fields = {
        "image": pyarrow.array(columns.image, pyarrow.string()),
        "row": pyarrow.array(columns.row, mask=failed),
        "box": _lists(columns.box, absent),
        "label": pyarrow.array(columns.label, pyarrow.string(), mask=failed),
        **({} if columns.score is None else {"score": pyarrow.array(columns.score, mask=failed)}),
        "image_width": pyarrow.array(np.ascontiguousarray(columns.image_size[:, 0]), mask=failed),
        "image_height": pyarrow.array(np.ascontiguousarray(columns.image_size[:, 1]), mask=failed),
        **{name: _lists(values, absent) for name, values in columns.features.items()},
        "error": pyarrow.array(columns.error, pyarrow.string()),
    }
    shapes = {name: list(values.shape[1:]) for name, values in columns.features.items()}
    table = pyarrow.table(fields).replace_schema_metadata({METADATA: json.dumps({"shapes": shapes, **record})})
    row_bytes = sum(values.itemsize * int(np.prod(values.shape[1:])) for values in columns.features.values())
    parquet.write_table(
        table,
        file,
        row_group_size=max(GROUP_BYTES // max(row_bytes, 1), 1),
        compression="NONE",  # for features, compression takes longer than writing
        use_dictionary=["image", "label", "error"],
        write_statistics=["image", "row", "label"],
        write_page_checksum=True,  # which other readers can check too
    )


def _lists(values: Array, absent: Any) -> Any:
    import pyarrow

    flat = pyarrow.array(np.ascontiguousarray(values).reshape(-1))
    size = int(np.prod(values.shape[1:]))
    return pyarrow.FixedSizeListArray.from_arrays(flat, size, mask=absent)


def write_safetensors(file: IO[bytes], columns: Columns, record: Mapping[str, Any]) -> None:
    """Write the table as safetensors, with the same rows as :func:`write_npz`.

    Safetensors has no text. `images` and `labels` are indices into lists in the metadata, and "errors" in the metadata
    has the error of each image that failed. The metadata is a single JSON text, because safetensors does not keep the
    order of several entries.
    """
    require("features", "safetensors")
    from safetensors.numpy import save

    images, labels = Texts.of(columns.image), Texts.of(columns.label)
    tensors = {
        "images": images.places,
        "rows": columns.row,
        "boxes": columns.box,
        "labels": labels.places,
        **({} if columns.score is None else {"scores": columns.score}),
        "image_sizes": columns.image_size,
        **{name: np.ascontiguousarray(values) for name, values in columns.features.items()},
    }
    errors = {image: error for image, error in zip(columns.image, columns.error, strict=True) if error is not None}
    texts = {"images": images.distinct, "labels": labels.distinct, "errors": errors}
    file.write(save(tensors, {METADATA: json.dumps({**texts, **record})}))


def write_npz(file: IO[bytes], columns: Columns, record: Mapping[str, Any]) -> None:
    """Write the table as arrays of equal length, and the record as JSON.

    In the rows of images that failed, `rows` is -1 and numbers are 0.
    """
    arrays = {
        METADATA: json_array(record),
        "images": text_array(columns.image),
        "rows": columns.row,
        "boxes": columns.box,
        "labels": text_array(columns.label),
        **({} if columns.score is None else {"scores": columns.score}),
        "image_sizes": columns.image_size,
        **columns.features,
        "errors": text_array([error or "" for error in columns.error]),
    }
    write_arrays(file, arrays)


#: The writers by format, which is also the ending of the file.
WRITERS: dict[str, Callable[[IO[bytes], Columns, Mapping[str, Any]], None]] = {
    "parquet": write_parquet,
    "safetensors": write_safetensors,
    "npz": write_npz,
}


def write_shard(path: Path, columns: Columns, file_format: Format, origin: Origin) -> None:
    """Write a shard atomically, with the record of its origin and its columns."""
    record = record_of(columns, origin)
    with atomic_write(path) as file:
        WRITERS[file_format](file, columns, record)
