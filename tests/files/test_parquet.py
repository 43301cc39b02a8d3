"""Tables in Parquet, as databases, data frames and data sets write them."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roialign.files.boxes import Box, read_boxes
from roialign.files.columns import TableReading
from roialign.files.parquet import METADATA
from roialign.files.problems import FileError, Problems
from tests.files.boxes import found, rows_of


def test_images_of_parquet_have_names_or_are_missed(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    image = [{"bytes": b"\x89PNG", "path": "a.png"}]
    parquet.write_table(pyarrow.table({"image": image, "box": [[1.0, 2.0, 3.0, 4.0]]}), tmp_path / "b.parquet")
    (only,) = read_boxes(tmp_path / "b.parquet", Problems())
    assert (only.image, only.corners) == ("a.png", (1, 2, 3, 4))
    parquet.write_table(pyarrow.table({"image": [b"\x89PNG"], "box": [[1.0, 2.0, 3.0, 4.0]]}), tmp_path / "b.parquet")
    with pytest.raises(FileError, match="column 'image' holds images, not their names"):
        read_boxes(tmp_path / "b.parquet", Problems())


def _parquet(folder: Path, columns: dict[str, Any]) -> tuple[list[Box], Problems]:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table(columns), folder / "b.parquet")
    problems = Problems()
    return read_boxes(folder / "b.parquet", problems), problems


def test_parquet_of_databases_is_read(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    columns = {name: pyarrow.array([value]) for name, value in zip(("y1", "x2", "y2"), (2, 3.0, 4), strict=True)}
    columns |= {"x1": pyarrow.array([Decimal("1.5")]), "image": ["a.png"]}
    beyond = pyarrow.array([2**62], pyarrow.timestamp("us"))  # in a year that Python does not know
    boxes, problems = _parquet(tmp_path, {**columns, "made": beyond})
    assert (rows_of(boxes), list(problems)) == ([(0, "a.png", (1.5, 2, 3, 4), "")], [])


_CORNERS = {"x1": [1.0], "y1": [2.0], "x2": [3.0], "y2": [4.0]}


@pytest.mark.parametrize("kind", ["list", "large_list"])
def test_boxes_of_decimals_in_parquet_are_read(kind: str, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    numbers = [[Decimal(number) for number in ("1.5", "2", "3", "4")]]
    make = pyarrow.list_ if kind == "list" else pyarrow.large_list
    boxes, problems = _parquet(tmp_path, {"box": pyarrow.array(numbers, make(pyarrow.decimal128(10, 2)))})
    assert (rows_of(boxes), list(problems)) == ([(0, None, (1.5, 2, 3, 4), "")], [])


def test_decimals_of_parquet_keep_all_digits_of_an_id(tmp_path: Path) -> None:
    image, label = [Decimal("12345678901234567891.00")], [Decimal("3.00")]  # more digits than a float has
    boxes, problems = _parquet(tmp_path, {**_CORNERS, "image": image, "label": label})
    assert (rows_of(boxes), list(problems)) == ([(0, "12345678901234567891", (1, 2, 3, 4), "3")], [])


@pytest.mark.parametrize("kind", ["binary", "large_binary", "binary_view", "uuid"])
def test_bytes_of_parquet_are_labels(kind: str, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    value, text = (b"0" * 16, "30303030-3030-3030-3030-303030303030") if kind == "uuid" else (b"cat", "cat")
    labels = pyarrow.array([value], getattr(pyarrow, kind)())
    boxes, problems = _parquet(tmp_path, {**_CORNERS, "label": labels})
    assert ([box.label for box in boxes], list(problems)) == ([text], [])


@pytest.mark.parametrize("value", [["cat", "dog"], {"name": "cat"}, b"\xff"])
def test_labels_of_parquet_that_are_no_text_are_named(value: Any, tmp_path: Path) -> None:
    boxes, problems = _parquet(tmp_path, {**_CORNERS, "label": [value]})
    assert boxes == []
    assert "row 0: label: expected text, found" in found(problems)[0]
    boxes, problems = _parquet(tmp_path, {**_CORNERS, "label": [value], "class": ["cat"]})
    assert ([box.label for box in boxes], list(problems)) == (["cat"], [])


def test_given_columns_of_parquet_may_have_any_type(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    corners = {name: [Decimal("1.5")] for name in "abcd"}
    photo = pyarrow.array([b"\x89PNG"], pyarrow.large_binary())
    parquet.write_table(pyarrow.table({**corners, "photo_bytes": photo, "tag": [b"cat"]}), tmp_path / "b.parquet")
    columns = dict(zip(("x1", "y1", "x2", "y2", "label"), (*"abcd", "tag"), strict=True))
    (only,) = read_boxes(tmp_path / "b.parquet", Problems(), TableReading(columns))
    assert (only.corners, only.label) == ((1.5, 1.5, 1.5, 1.5), "cat")
    with pytest.raises(FileError, match="column 'photo_bytes' holds images, not their names"):
        read_boxes(tmp_path / "b.parquet", Problems(), TableReading({**columns, "image": "photo_bytes"}))


@pytest.mark.parametrize("is_ours", [False, True])
def test_rows_with_an_error_are_left_out_without_a_box_or_if_this_package_wrote_them(
    is_ours: bool, tmp_path: Path
) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    corners = {"x1": [None, 1.0, 1.0], "y1": [None, 2.0, 2.0], "x2": [None, 3.0, 3.0], "y2": [None, 4.0, 4.0]}
    table = pyarrow.table({**corners, "error": ["an empty file", "0.5", None]})
    if is_ours:
        table = table.replace_schema_metadata({METADATA: "{}"})
    parquet.write_table(table, tmp_path / "b.parquet")
    problems = Problems()
    boxes = read_boxes(tmp_path / "b.parquet", problems)
    assert [box.row for box in boxes] == ([2] if is_ours else [1, 2])
    assert boxes[-1].where == f"{tmp_path / 'b.parquet'}, row 2"
    assert found(problems) == []


def test_columns_of_parquet_that_are_there_twice(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    names = ["x1", "y1", "x2", "y2", "note", "note", "x1"]
    parquet.write_table(pyarrow.table([[1.0]] * 7, names=names), tmp_path / "b.parquet")
    with pytest.raises(FileError, match=r"^expected each column once, found 'x1' twice"):
        read_boxes(tmp_path / "b.parquet", Problems())
    parquet.write_table(pyarrow.table([[1.0]] * 6, names=names[:6]), tmp_path / "b.parquet")
    assert len(read_boxes(tmp_path / "b.parquet", Problems())) == 1


@pytest.mark.parametrize("kind", ["date32", "timestamp[ns]", "timestamp with a zone", "time64[us]", "duration[s]"])
def test_times_of_parquet_are_named(kind: str, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    types = {"date32": pyarrow.date32(), "timestamp with a zone": pyarrow.timestamp("us", "Nowhere/At all")}
    wanted = types.get(kind) or pyarrow.type_for_alias(kind)
    number = pyarrow.array([3], pyarrow.int32() if kind == "date32" else pyarrow.int64())
    times = number.cast(wanted)
    boxes, problems = _parquet(tmp_path, {"x1": times, "y1": [1.0], "x2": [2.0], "y2": [3.0], "day": times})
    assert boxes == []
    assert "row 0: expected [x1, y1, x2, y2]" in found(problems)[0]
    assert '"' in found(problems)[0]


def test_times_of_parquet_name_no_image(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    corners = {"x1": [1.0], "y1": [2.0], "x2": [3.0], "y2": [4.0]}
    boxes, problems = _parquet(
        tmp_path, {**corners, "frame": pyarrow.array([5], pyarrow.timestamp("ns")), "image_id": ["a.png"]}
    )
    assert [box.image for box in boxes] == ["a.png"]
    assert found(problems) == []


def test_text_of_parquet_that_is_not_utf_8_is_said(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    ends, letters = pyarrow.py_buffer(np.array([0, 2], dtype=np.int32)), pyarrow.py_buffer(b"\xff\xfe")
    names = pyarrow.Array.from_buffers(pyarrow.string(), 1, [None, ends, letters])
    with pytest.raises(FileError, match=r"^cannot be read as Parquet: its text is not UTF-8$"):
        _parquet(tmp_path, {"image": names, "x1": [1], "y1": [2], "x2": [3], "y2": [4]})


def test_nested_columns_that_may_hold_the_boxes_are_named(tmp_path: Path) -> None:
    objects = [{"bbox": [[1.0, 2.0, 3.0, 4.0]], "category": [1]}]
    columns = {"image": ["a.png"], "objects": objects, "marks": [objects], "corners": [[1.0, 2.0]], "z": [b"cat"]}
    with pytest.raises(FileError) as raised:
        _parquet(tmp_path, columns)
    assert str(raised.value).startswith("expected a header with x1, y1, x2, y2, or xmin")
    assert str(raised.value).endswith(
        "found image; give other names with --columns; lists and objects in 'objects' (bbox, category), "
        "'marks' (bbox, category), 'corners' are not read: write one row per box"
    )
    with pytest.raises(FileError, match=r"found image; give other names with --columns$"):
        _parquet(tmp_path, {"image": ["a.png"], "z": [b"cat"]})
    boxes, problems = _parquet(tmp_path, {"bbox": [[1.0, 2.0, 3.0, 4.0]], "objects": objects})
    assert (boxes, found(problems)[0].split(": ")[1:3]) == (
        [],
        ["bbox", 'give --box-format xyxy or --box-format xywh, found {"bbox"'],
    )


@pytest.mark.parametrize("values", [[3.5, float("nan")], [["3.5"], []], ["3.5", None]])
def test_a_missing_label_in_parquet_is_empty(values: list[object], tmp_path: Path) -> None:
    boxes, problems = _parquet(tmp_path, {**{name: one * 2 for name, one in _CORNERS.items()}, "labels": values})
    assert ([box.label for box in boxes], list(problems)) == (["3.5", ""], [])
