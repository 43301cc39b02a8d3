"""Shards of unusual tables: what is read is what was written, whatever the format."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from roialign.features.manifest import MANIFEST, OtherJobError, read_manifest
from roialign.features.records import Origin
from roialign.features.rows import ImageRows
from roialign.features.shard_reading import open_shard
from roialign.features.writing import columns_of, write_shard
from roialign.files.boxes import Box
from roialign.files.problems import FileError
from tests.features.test_records import FORMATS, table_of

SHAPES = {"vector": (3,), "features": (3, 2, 1)}
ODD_TEXTS = ("", "\0", "a\0", "a", "é😀", "x\ny\u2028", "\ud800", "null", "A" * 3000)


def rows_of(image: str, labels: tuple[str, ...]) -> ImageRows:
    random = np.random.default_rng(len(labels))
    boxes = [Box(row, "", image, (1.0, 2.0, 3.5, 4.0), label, score=0.5) for row, label in enumerate(labels)]
    return ImageRows(Path(image), 10, 20, boxes, [random.normal(size=(len(labels), *one)) for one in SHAPES.values()])


TABLES = {
    "no image": [],
    "no box": [rows_of("a.jpg", ())],
    "all failed": [ImageRows(Path("a.jpg"), error="damaged"), ImageRows(Path("b.jpg"), 5, 6, error="é\nfailed\0")],
    "odd texts": [rows_of("odd\udcff.jpg", ODD_TEXTS), ImageRows(Path("b.jpg"), error="x"), rows_of("c.jpg", ("é",))],
    "some failed": [replace(rows_of("a.jpg", ("b", "c")), error="row 2"), rows_of("b.jpg", ("b",))],
    "twice": [rows_of("a.jpg", ("b",)), rows_of("a.jpg", ("b", "c")), ImageRows(Path("a.jpg"), error="gone")],
}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("scored", [False, True])
@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("name", TABLES)
def test_what_is_written_is_read(name: str, file_format: str, scored: bool, dtype: str, tmp_path: Path) -> None:
    rows = [
        ImageRows(one.image, one.height, one.width, one.boxes, [v.astype(dtype) for v in one.features], one.error)
        for one in TABLES[name]
    ]
    columns, origin = columns_of(rows, SHAPES, dtype, scored=scored), Origin({"odd": ["\ud800", 2.5, None]}, 3)
    path = tmp_path / f"shard.{file_format}"
    write_shard(path, columns, file_format, origin)  # type: ignore[arg-type]
    table = table_of(path, origin)
    assert ("score" in table) == scored
    assert table["image"] == columns.image
    assert table["label"] == columns.label
    assert table["error"] == [error or "" for error in columns.error]
    for column in ("row", "box", "image_size", *(["score"] if scored else [])):
        assert table[column] == getattr(columns, column).tolist()
    good = np.flatnonzero(~columns.failed)
    for column, values in columns.features.items():
        size = int(np.prod(SHAPES[column]))
        found = [pair for rows, _, block in table[column] for pair in zip(rows, block, strict=True)]  # type: ignore[attr-defined]
        assert found == list(zip(good.tolist(), values[good].reshape(len(good), size).tolist(), strict=True))
    with open_shard(path, origin) as shard:
        assert len(shard.errors()) == columns.failed.sum()


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (PermissionError(errno.EACCES, "not allowed"), "Permission denied"),
        (OSError(errno.EIO, "broken"), "Input/output error"),
        (MemoryError(), "not enough memory"),
    ],
)
def test_a_shard_that_the_system_does_not_read_is_not_to_be_deleted(
    failure: Exception, expected: str, tmp_path: Path
) -> None:
    path = tmp_path / "features-00000-of-00001.npz"
    write_shard(path, columns_of(TABLES["no box"], SHAPES, "float32"), "npz", Origin({}, 0))
    with pytest.raises((OSError, FileError), match=expected) as raised, open_shard(path):
        raise failure
    assert path.name in str(raised.value)
    assert "delete" not in str(raised.value)


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_shard_that_cannot_be_opened_is_not_to_be_deleted(file_format: str, tmp_path: Path) -> None:
    path = tmp_path / f"features-00000-of-00001.{file_format}"
    path.symlink_to(path)
    with pytest.raises(OSError, match="symbolic links"), open_shard(path):
        pass


def test_a_manifest_that_may_not_be_read_is_not_to_be_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    (tmp_path / MANIFEST).write_text("{}")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(OtherJobError, match=f"{MANIFEST}: Permission denied$"):
        read_manifest(tmp_path)
