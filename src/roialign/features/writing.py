"""Writes a shard, as Parquet, safetensors or NumPy's archive: a row for every box, and for every image that failed."""

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
#: What each format needs besides NumPy.
PACKAGES: dict[str, tuple[str, ...]] = {"parquet": ("pyarrow",), "safetensors": ("safetensors",), "npz": ()}
#: A row group of a Parquet file has about so many bytes.
GROUP_BYTES = 16 << 20
#: What stands in a column of features, and in a box, of a row that has none.
MISSING = 0.0
#: The name of what we say about a file in its metadata.
METADATA = "roialign"
#: The row number of a row that belongs to no box.
NO_ROW = -1


class Columns(NamedTuple):
    """The table of a shard, column by column; a row of an image that failed has no box, and its error."""

    image: list[str]
    row: Array
    """int64 ``[K]``: the box's place in its file, from 0."""
    box: Array
    """float64 ``[K, 4]``: x1, y1, x2, y2 in the pixels of the image."""
    label: list[str]
    score: Array | None
    """float32 ``[K]``, of detections; None where boxes have no score."""
    image_size: Array
    """int32 ``[K, 2]``: width and height."""
    features: dict[str, Array]
    """By name: ``[K, ...]``."""
    error: list[str | None]

    @property
    def failed(self) -> Array:
        """bool ``[K]``: the rows with an error."""
        return np.array([error is not None for error in self.error], dtype=bool)


def columns_of(
    rows: Sequence[ImageRows], shapes: Mapping[str, tuple[int, ...]], dtype: str, *, scored: bool = False
) -> Columns:
    """The table of a shard; a row takes a box, with its score if `scored`, or an image that failed."""
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
    """The table as Parquet: features are fixed-size lists, row by row, whose shape stands in the metadata."""
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
        compression="NONE",  # what features are like, compression takes longer than the disk
        use_dictionary=["image", "label", "error"],
        write_statistics=["image", "row", "label"],
    )


def _lists(values: Array, absent: Any) -> Any:
    import pyarrow

    flat = pyarrow.array(np.ascontiguousarray(values).reshape(-1))
    size = int(np.prod(values.shape[1:]))
    return pyarrow.FixedSizeListArray.from_arrays(flat, size, mask=absent)


def write_safetensors(file: IO[bytes], columns: Columns) -> None:
    """The table as tensors of one length, row by row as in :func:`write_npz`.

    Texts are no tensors: `images` and `labels` are whole numbers there, places in the lists of the metadata, whose
    "errors" says by image why it failed. All of it is one JSON text, since safetensors gives several no fixed order.
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
    """The table as arrays of one length; in the rows of images that failed, numbers are 0 and `rows` is -1."""
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


#: By format, which is the ending of a shard's file too.
WRITERS: dict[str, Callable[[IO[bytes], Columns], None]] = {
    "parquet": write_parquet,
    "safetensors": write_safetensors,
    "npz": write_npz,
}


def write_shard(path: Path, columns: Columns, file_format: Format) -> None:
    """Write a shard under another name, put it on the disk, and give it its name."""
    with atomic_write(path) as file:
        WRITERS[file_format](file, columns)


@contextmanager
def reading_shard(path: Path) -> Iterator[None]:
    """Whatever goes wrong with the file of a shard is a FileError that names it and says what to do."""
    try:
        yield
    except Exception as error:  # the bytes of a file lead its reader anywhere
        why = str(error).partition("\n")[0] or type(error).__name__
        raise FileError(
            f"{path}: cannot be read: {why}; delete it, and the command that wrote it writes it again"
        ) from error


def read_errors(path: Path, file_format: Format) -> list[tuple[str, str]]:
    """The images of a shard that failed, and why.

    Raises
    ------
    FileError
        Where the file is damaged.
    """
    with reading_shard(path):
        return [(image, error) for image, error in READERS[file_format](path) if error]


@contextmanager
def arrays_of(path: Path) -> Iterator[Any]:
    """The arrays of a shard of NumPy's; NumPy itself would leave the file open where it is damaged."""
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


#: By format: the images of a shard, and why each failed if it did.
READERS: dict[str, Callable[[Path], Iterable[tuple[str, str | None]]]] = {
    "parquet": _parquet_errors,
    "safetensors": _safetensors_errors,
    "npz": _npz_errors,
}
