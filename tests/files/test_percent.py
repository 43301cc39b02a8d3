"""Boxes in percent, as in tables made from Label Studio's exports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from roialign.files.boxes import Box, read_boxes
from roialign.files.columns import TableReading
from roialign.files.problems import FileError, Problems
from tests.files.boxes import found

#: A box of an image of 200 x 50 pixels, as one row of a task, and its corners in pixels.
ROW: dict[str, Any] = {"original_width": 200, "original_height": 50, "image": "a.png"}
BOX: dict[str, Any] = {"x": 10.0, "y": 20.0, "width": 25.0, "height": 80.0, "rotation": 0, "rectanglelabels": ["cat"]}
CORNERS = (20.0, 10.0, 70.0, 50.0)
NOTE = "columns {} are read as percent of original_width, original_height, as Label Studio exports them"
PIXELS = ": if they are pixels, --columns x=x,y=y,width=width,height=height"


def _read(folder: Path, rows: list[dict[str, Any]], ending: str, **columns: str) -> tuple[list[Box], Problems]:
    path = folder / f"b.{ending}"
    if ending == "parquet":
        pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif ending == "csv":
        lines = [";".join(map(str, values)) for values in (rows[0], *(row.values() for row in rows))]
        path.write_text("\n".join(lines).replace("['cat']", "cat"))
    else:
        path.write_text(json.dumps(rows) if ending == "json" else "\n".join(map(json.dumps, rows)))
    problems = Problems()
    return read_boxes(path, problems, TableReading(columns)), problems


@pytest.mark.parametrize("ending", ["csv", "json", "jsonl", "parquet"])
@pytest.mark.parametrize("holder", ["", "value.", "value_"])
def test_boxes_of_label_studio_are_in_percent(holder: str, ending: str, tmp_path: Path) -> None:
    box = {f"{holder}{name}": value for name, value in BOX.items()}
    boxes, problems = _read(tmp_path, [{**box, **ROW}] * 2, ending)
    assert [(one.corners, one.label, one.image_size) for one in boxes] == [(CORNERS, "cat", (200, 50))] * 2
    assert found(problems) == []
    note = NOTE.format(", ".join([*box][:4])) + ("" if holder else PIXELS)
    assert [remark.what for remark in problems.remarks] == [note]


def test_the_columns_of_a_deeper_value_are_named_and_in_percent(tmp_path: Path) -> None:
    box = {f"result.value.{name}": value for name, value in BOX.items()}
    sizes = {f"result.{name}": value for name, value in ROW.items()}
    named = {name: f"result.value.{name}" for name in ("x", "y", "width", "height")}
    boxes, problems = _read(tmp_path, [{**box, **sizes}], "json", image="result.image", **named)
    assert ([one.corners for one in boxes], found(problems)) == ([CORNERS], [])
    turned = {**box, **sizes, "result.value.rotation": 30}
    with pytest.raises(FileError, match=r"^column 'result.value.rotation' rotates boxes, as by 30"):
        _read(tmp_path, [turned], "json", image="result.image", **named)


@pytest.mark.parametrize("ending", ["csv", "json"])
def test_the_user_says_that_boxes_are_in_pixels(ending: str, tmp_path: Path) -> None:
    boxes, problems = _read(tmp_path, [{**BOX, **ROW}], ending, x="x")
    assert [(one.corners, one.image_size) for one in boxes] == [((10, 20, 35, 100), None)]
    assert problems.remarks == []


@pytest.mark.parametrize(
    "row", [{"original_width": 200}, {"Original_Size": 200}, {"width_original": 200, "height_original": 50}]
)
def test_without_the_size_of_the_image_boxes_are_in_pixels(row: dict[str, int], tmp_path: Path) -> None:
    boxes, problems = _read(tmp_path, [{**BOX, **row}], "json")
    assert ([one.corners for one in boxes], problems.remarks) == ([(10, 20, 35, 100)], [])


def test_corners_beside_an_original_size_are_in_pixels(tmp_path: Path) -> None:
    boxes, problems = _read(tmp_path, [{"x1": 1, "y1": 2, "x2": 3, "y2": 4, **ROW}], "json")
    assert ([(one.corners, one.image_size) for one in boxes], problems.remarks) == ([((1, 2, 3, 4), None)], [])


@pytest.mark.parametrize("ending", ["csv", "json"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"x": 90.0},
            "expected a box in percent of original_width, original_height, from 0 to 100, found [90.0, 20.0,",
        ),
        ({"width": 640.0}, "from 0 to 100, found [10.0, 20.0, 640.0, 80.0]"),
        ({"x": -5.0}, "from 0 to 100, found [-5.0, 20.0, 25.0, 80.0]"),
        (
            {"original_width": ""},
            'original_width, original_height: expected the width and height of the image, found ""',
        ),
        ({"original_height": 0}, "original_width, original_height: expected the width and height of the image, found"),
    ],
)
def test_a_box_that_is_not_in_percent_is_reported(
    change: dict[str, Any], message: str, ending: str, tmp_path: Path
) -> None:
    boxes, problems = _read(tmp_path, [{**BOX, **ROW}, {**BOX, **ROW, **change}], ending)
    assert [one.corners for one in boxes] == [CORNERS]
    (problem,) = found(problems)
    assert problem.startswith(f"{tmp_path / f'b.{ending}'}, row 1")
    assert message in problem


def test_percent_may_be_rounded(tmp_path: Path) -> None:
    boxes, problems = _read(tmp_path, [{**BOX, **ROW, "x": -1e-9, "y": 20.000001}], "json")
    assert (len(boxes), found(problems)) == (1, [])
