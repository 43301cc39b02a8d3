"""Writes a shard as Parquet, safetensors or ``.npz``, with a row per box and a row per image that failed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, TypeAlias

import numpy as np

from .._extras import require
from .._text import encodable
from .._typing import Array
from ..extract.output import atomic_write, text_array, write_arrays
from ..files.problems import FileError
from .rows import ImageRows

Format: TypeAlias = Literal["parquet", "safetensors", "npz"]
#: The packages that each format needs besides NumPy.
PACKAGES: dict[str, tuple[str, ...]] = {"parquet": ("pyarrow",), "safetensors": ("safetensors",), "npz": ()}
#: The approximate size of a row group of a Parquet file in bytes.
GROUP_BYTES = 16 << 20
#: The value of features and boxes in rows that have none.
MISSING = 0.0
#: The key of this package's entry in the metadata of a file.
METADATA = "roialign"
#: The row index in rows that have no box.
NO_ROW = -1


class Columns(NamedTuple):
    """The columns of the table of a shard. For an image that failed, it has one row with an error and no box."""

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
        pieces = [np.zeros((1, *shape), dtype) if one.error is not None else one.features[index] for one in rows]
        features[name] = np.concatenate([np.zeros((0, *shape), dtype), *pieces])
    return Columns(
        image=[encodable(one.image.as_posix()) for one, _ in entries],
        row=np.array([row for row, _, _ in boxes], dtype=np.int64),
        box=np.array([corners for _, corners, _ in boxes], dtype=np.float64).reshape(count, 4),
        label=[encodable(label) for _, _, label in boxes],
        score=np.array([MISSING if box is None else box.score for _, box in entries], np.float32) if scored else None,
        image_size=np.array([(one.width, one.height) for one, _ in entries], dtype=np.int32).reshape(count, 2),
        features=features,
        error=[None if one.error is None else encodable(one.error) for one, _ in entries],
    )


def _entries(rows: Sequence[ImageRows]) -> Iterator[tuple[ImageRows, Any]]:
    for one in rows:
        if one.error is not None:
            yield one, None
        else:
            yield from ((one, box) for box in one.boxes)


def write_parquet(file: IO[bytes], columns: Columns) -> None:
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
    table = pyarrow.table(fields).replace_schema_metadata({METADATA: json.dumps({"shapes": shapes})})
    row_bytes = sum(values.itemsize * int(np.prod(values.shape[1:])) for values in columns.features.values())
    parquet.write_table(
        table,
        file,
        row_group_size=max(GROUP_BYTES // max(row_bytes, 1), 1),
        compression="NONE",  # for features, compression takes longer than writing
        use_dictionary=["image", "label", "error"],
        write_statistics=["image", "row", "label"],
    )


def _lists(values: Array, absent: Any) -> Any:
    import pyarrow

    flat = pyarrow.array(np.ascontiguousarray(values).reshape(-1))
    size = int(np.prod(values.shape[1:]))
    return pyarrow.FixedSizeListArray.from_arrays(flat, size, mask=absent)


def write_safetensors(file: IO[bytes], columns: Columns) -> None:
    """Write the table as safetensors, with the same rows as :func:`write_npz`.

    Safetensors has no text. `images` and `labels` are indices into lists in the metadata, and "errors" in the metadata
    has the error of each image that failed. The metadata is a single JSON text, because safetensors does not keep the
    order of several entries.
    """
    require("features", "safetensors")
    from safetensors.numpy import save

    images, labels = (list(dict.fromkeys(texts)) for texts in (columns.image, columns.label))
    tensors = {
        "images": _places(columns.image, images),
        "rows": columns.row,
        "boxes": columns.box,
        "labels": _places(columns.label, labels),
        **({} if columns.score is None else {"scores": columns.score}),
        "image_sizes": columns.image_size,
        **{name: np.ascontiguousarray(values) for name, values in columns.features.items()},
    }
    errors = {image: error for image, error in zip(columns.image, columns.error, strict=True) if error is not None}
    texts = {"images": images, "labels": labels, "errors": errors}
    file.write(save(tensors, {METADATA: json.dumps(texts)}))


def _places(texts: Sequence[str], every: Sequence[str]) -> Array:
    place = {text: index for index, text in enumerate(every)}
    return np.array([place[text] for text in texts], dtype=np.int64)


def write_npz(file: IO[bytes], columns: Columns) -> None:
    """Write the table as arrays of equal length. In the rows of images that failed, `rows` is -1 and numbers are 0."""
    arrays = {
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
WRITERS: dict[str, Callable[[IO[bytes], Columns], None]] = {
    "parquet": write_parquet,
    "safetensors": write_safetensors,
    "npz": write_npz,
}


def write_shard(path: Path, columns: Columns, file_format: Format) -> None:
    """Write a shard atomically."""
    with atomic_write(path) as file:
        WRITERS[file_format](file, columns)


@contextmanager
def reading_shard(path: Path) -> Iterator[None]:
    """Convert any error while a shard is read into a FileError that names the file and says what to do."""
    try:
        yield
    except Exception as error:  # damaged files raise many kinds of errors
        why = str(error).partition("\n")[0] or type(error).__name__
        raise FileError(f"{path}: cannot be read: {why}; delete it, and rerun the command that wrote it") from error


def read_errors(path: Path, file_format: Format) -> list[tuple[str, str]]:
    """Return the images of a shard that failed, with their errors.

    Raises
    ------
    FileError
        If the file is damaged.
    """
    with reading_shard(path):
        return [(image, error) for image, error in READERS[file_format](path) if error]


@contextmanager
def arrays_of(path: Path) -> Iterator[Any]:
    """Open the arrays of an ``.npz`` shard. NumPy itself does not close a damaged file."""
    with path.open("rb") as file, np.load(file, allow_pickle=False) as shard:
        yield shard


def _npz_errors(path: Path) -> Iterable[tuple[str, str]]:
    with arrays_of(path) as shard:
        return zip(shard["images"].tolist(), shard["errors"].tolist(), strict=True)


def _parquet_errors(path: Path) -> Iterable[tuple[str, str | None]]:
    from pyarrow import parquet

    table = parquet.read_table(path, columns=["image", "error"], partitioning=None)
    return zip(table["image"].to_pylist(), table["error"].to_pylist(), strict=True)


def _safetensors_errors(path: Path) -> Iterable[tuple[str, str]]:
    from safetensors import safe_open

    with safe_open(path, "np") as shard:
        errors: dict[str, str] = json.loads(shard.metadata()[METADATA])["errors"]
    return errors.items()


#: The functions by format that read the images of a shard and their errors.
READERS: dict[str, Callable[[Path], Iterable[tuple[str, str | None]]]] = {
    "parquet": _parquet_errors,
    "safetensors": _safetensors_errors,
    "npz": _npz_errors,
}
