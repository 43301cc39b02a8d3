"""Columns of box tables as other programs write them."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

from roialign.files.boxes import read_boxes
from roialign.files.columns import KNOWN, ROLES, TableReading, corners_of, find_columns
from roialign.files.problems import FileError, Problems
from tests.files.boxes import found

CORNERS = (10.0, 20.0, 14.0, 26.0)
#: The same box in every format.
NUMBERS = {"xyxy": CORNERS, "xywh": (10.0, 20.0, 4.0, 6.0), "cxcywh": (12.0, 23.0, 4.0, 6.0)}


@pytest.mark.parametrize(("box_format", "names"), KNOWN)
def test_every_known_header_gives_the_same_box(box_format: str, names: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "boxes.csv"
    numbers = ",".join(map(str, NUMBERS[box_format]))
    path.write_text(f"{','.join(name.upper() for name in names)},Image\n{numbers},a.png\n")
    (only,) = read_boxes(path, Problems())
    assert (only.image, only.corners) == ("a.png", CORNERS)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        # A table of bounding boxes that TensorFlow's tutorials write: width and height are those of the image.
        ("b.csv", "filename,width,height,class,xmin,ymin,xmax,ymax\na.png,640,480,cat,10,20,14,26\n"),
        ("b.csv", "image_path;label;x_min;y_min;x_max;y_max\na.png;cat;10;20;14;26\n"),
        ("b.tsv", "file_name\tcategory\tleft\ttop\tright\tbottom\na.png\tcat\t10\t20\t14\t26\n"),
        ("b.txt", "Image, Class Name, X, Y, W, H\na.png, cat, 10, 20, 4, 6\n"),
        ("b.csv", "img,label,X Center,Y Center,Width,Height\na.png,cat,12,23,4,6\n"),
        # Width and height of the image beside those of the box, in every format.
        ("b.csv", "image,width,height,label,x,y,w,h\na.png,640,480,cat,10,20,4,6\n"),
        ("b.csv", "image,width,height,label,x_min,y_min,w,h\na.png,640,480,cat,10,20,4,6\n"),
        ("b.csv", "image,width,height,label,left,top,w,h\na.png,640,480,cat,10,20,4,6\n"),
        ("b.csv", "image,width,height,label,x_center,y_center,w,h\na.png,640,480,cat,12,23,4,6\n"),
        ("b.csv", "image,width,height,label,bbox_x,bbox_y,bbox_w,bbox_h\na.png,640,480,cat,10,20,4,6\n"),
        # A point beside the box, as of MOT's tracks.
        ("b.csv", "frame,label,left,top,width,height,conf,x,y,z\na.png,cat,10,20,4,6,1,-1,-1,-1\n"),
        ("b.csv", "frame,label,bb_left,bb_top,bb_width,bb_height,conf,x,y,z\na.png,cat,10,20,4,6,1,-1,-1,-1\n"),
        ("b.json", '[{"filename": "a.png", "class": "cat", "xmin": 10, "ymin": 20, "xmax": 14, "ymax": 26}]'),
        ("b.json", '[{"file_name": "a.png", "category": "cat", "box": [10, 20, 14, 26]}]'),
    ],
)
def test_tables_of_other_programs_are_read_as_they_are(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    problems = Problems()
    (only,) = read_boxes(tmp_path / name, problems)
    assert not problems
    assert (only.image, only.label, only.corners) == ("a.png", "cat", CORNERS)


@pytest.mark.parametrize(
    "column", ["label", "labels", "classes", "species", "Class_Name", "category_name", "label name", "name"]
)
@pytest.mark.parametrize(("value", "label"), [("cat", "cat"), (["cat"], "cat"), ([], ""), (math.nan, ""), (None, "")])
def test_labels_have_many_names_and_may_be_missing(column: str, value: object, label: str, tmp_path: Path) -> None:
    row = {"image": "a.png", "box": CORNERS, column: value, "category_id": 3}
    (tmp_path / "b.json").write_text(json.dumps([row]))
    problems = Problems()
    (only,) = read_boxes(tmp_path / "b.json", problems)
    assert only.label == label
    assert not problems


@pytest.mark.parametrize(
    ("name", "content", "reading"),
    [
        (
            "b.csv",
            "foto,art,a,b,c,d\na.png,cat,10,20,4,6\n",
            TableReading(dict(zip(ROLES["xywh"], "abcd", strict=True))),
        ),
        ("b.csv", "foto,art,a,y1,c,y2\na.png,cat,10,20,14,26\n", TableReading({"x1": "a", "x2": "C"})),
        ("b.csv", "foto,art,x1,y1,x2,y2\na.png,cat,10,20,4,6\n", TableReading({}, "xywh")),
        ("b.json", '[{"foto": "a.png", "art": "cat", "bbox": [10, 20, 4, 6]}]', TableReading({}, "xywh")),
        ("b.json", '[{"foto": "a.png", "art": "cat", "bbox": [10, 20, 14, 26]}]', TableReading({}, "xyxy")),
    ],
)
def test_other_columns_are_named(name: str, content: str, reading: TableReading, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    problems = Problems()
    named = TableReading({"image": "foto", "label": "art", **(reading.columns or {})}, reading.box_format)
    (only,) = read_boxes(tmp_path / name, problems, named)
    assert not problems
    assert (only.image, only.label, only.corners) == ("a.png", "cat", CORNERS)


@pytest.mark.parametrize("name", ["b.json", "b.parquet"])
@pytest.mark.parametrize("whole_box", ["box", "bbox"])
def test_columns_that_name_a_box_come_before_a_whole_one(name: str, whole_box: str, tmp_path: Path) -> None:
    row = {"image": "a.png", whole_box: [1.0, 2.0, 30.0, 40.0], "a": 10.0, "b": 20.0, "c": 4.0, "d": 6.0}
    if name.endswith("json"):
        (tmp_path / name).write_text(json.dumps([row]))
    else:
        pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / name)
    problems = Problems()
    reading = TableReading(dict(zip(ROLES["xywh"], "abcd", strict=True)))
    (only,) = read_boxes(tmp_path / name, problems, reading)
    assert not problems
    assert only.corners == CORNERS


@pytest.mark.parametrize("box_format", NUMBERS)
def test_boxes_without_names_are_in_the_format_that_is_given(box_format: str, tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text(json.dumps([NUMBERS[box_format]]))
    (only,) = read_boxes(tmp_path / "b.json", Problems(), TableReading(box_format=box_format))
    assert only.corners == corners_of(NUMBERS[box_format], box_format) == CORNERS
    content = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "annotations": [{"image_id": 1, "bbox": NUMBERS[box_format]}],
    }
    (tmp_path / "coco.json").write_text(json.dumps(content))
    (only,) = read_boxes(tmp_path / "coco.json", Problems(), TableReading(box_format=box_format))
    assert only.corners == CORNERS


def test_a_bbox_without_a_format_is_asked_about(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text('[{"image": "a.png", "bbox": [1, 2, 3, 4]}]')
    problems = Problems()
    assert read_boxes(tmp_path / "b.json", problems) == []
    assert "row 0: bbox: give --box-format xyxy or --box-format xywh" in found(problems)[0]


@pytest.mark.parametrize(
    ("names", "columns", "message"),
    [
        (["image", "left"], {}, "expected a header with x1, y1, x2, y2, or xmin, ymin, xmax, ymax"),
        (["a", "b"], {"image": "c"}, "image: no column 'c' among a, b"),
        (["a", "b"], {"x1": "a", "y1": "b"}, "a box of x1, y1, x2, y2 needs x2, y2 too"),
        (["X1", "x1", "y1", "x2", "y2"], {}, "expected each column once, found 'X1', 'x1': remove one"),
        (["x1", "y1", "x2", "y2", "File", "file"], {}, "expected each column once, found 'File', 'file'"),
        (["x1", "x1", "y1", "x2", "y2"], {"x1": "x1"}, "expected each column once, found 'x1', 'x1'"),
        (["x1", "y1", "x2", "y2", "x3", "y3", "x4", "y4"], {}, "found the corners of a quadrilateral"),
        (["x0", "y0", "x1", "y1", "x2", "y2", "x3", "y3"], {}, "found the corners of a quadrilateral"),
    ],
)
def test_columns_that_are_not_there_are_named(names: list[str], columns: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        find_columns(names, TableReading(columns))


def test_a_given_column_is_used_among_others_of_its_kind() -> None:
    names = ["X1", "x1", "y1", "x2", "y2", "x3", "y3", "x4", "y4"]
    corners = {"x1": "X1", "y1": "y1", "x2": "x3", "y2": "y3"}
    assert find_columns(names, TableReading(corners)).box == ("X1", "y1", "x3", "y3")


@pytest.mark.parametrize(
    "names",
    [
        ["xmin", "ymin", "xmax", "ymax", "x1", "y1", "x2", "y2", "x3", "y3", "x4", "y4"],
        ["x1", "y1", "x2", "y2", "x3", "y3"],  # a box and a third point
    ],
)
def test_corners_beside_other_points_are_read(names: list[str]) -> None:
    assert list(find_columns(names, TableReading()).box) == names[:4]


@pytest.mark.parametrize("name", ["b.json", "b.jsonl"])
@pytest.mark.parametrize("others", [{"x3": 5, "y3": 6}, {"X1": 5}, {f"{a}{n}": 1 for n in range(1, 5) for a in "xy"}])
def test_a_whole_box_beside_other_columns_is_read(name: str, others: dict[str, int], tmp_path: Path) -> None:
    row = json.dumps({"image": "a.png", "box": [1, 2, 3, 4], **others})
    (tmp_path / name).write_text(f"[{row}]" if name == "b.json" else row)
    problems = Problems()
    (box,) = read_boxes(tmp_path / name, problems)
    assert box.corners == (1, 2, 3, 4)
    assert found(problems) == []


def test_ambiguous_columns_of_a_list_are_named(tmp_path: Path) -> None:
    content = [{"X1": 1, "x1": 1, "y1": 2, "x2": 3, "y2": 4}, {f"{a}{n}": 1 for n in range(4) for a in "xy"}]
    (tmp_path / "b.json").write_text(json.dumps(content))
    problems = Problems()
    assert read_boxes(tmp_path / "b.json", problems) == []
    first, second = found(problems)
    assert "row 0: expected each column once, found 'X1', 'x1'" in first
    assert "row 1: expected a box of two corners, found the corners of a quadrilateral" in second


def _turned(ending: str, angle: object) -> str:
    """A file of two boxes, of which the second has this angle."""
    if ending == "csv":
        row = "a.png;12;23;4;6;{};cat\n"
        return "image;cx;cy;w;h;Theta;label\n" + row.format(0) + row.format("" if angle is None else angle)
    rows = [
        json.dumps({"image": "a.png", "box": CORNERS, "rotation_deg": value, "label": "cat"}) for value in (0, angle)
    ]
    return "\n".join(rows) if ending == "jsonl" else f"[{', '.join(rows)}]"


@pytest.mark.parametrize("ending", ["csv", "json", "jsonl"])
@pytest.mark.parametrize("angle", [30, -0.5, "0,5", "left"])
def test_a_column_that_rotates_boxes_is_not_dropped(ending: str, angle: object, tmp_path: Path) -> None:
    path = tmp_path / f"b.{ending}"
    path.write_text(_turned(ending, angle))
    name, value = "Theta" if ending == "csv" else "rotation_deg", str(angle)
    with pytest.raises(FileError, match=rf"^column '{name}' rotates boxes, as by \"?{value}\"?, but is not read"):
        read_boxes(path, Problems())


@pytest.mark.parametrize("ending", ["csv", "json", "jsonl"])
@pytest.mark.parametrize("angle", [0, -0.0, "0,0", "", None, math.nan])
def test_an_angle_of_zero_rotates_nothing(ending: str, angle: object, tmp_path: Path) -> None:
    path = tmp_path / f"b.{ending}"
    path.write_text(_turned(ending, angle))
    problems = Problems()
    assert [box.corners for box in read_boxes(path, problems)] == [CORNERS, CORNERS]
    assert found(problems) == []


def test_the_user_says_which_columns_are_those_of_upright_boxes(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text(_turned("csv", 30))
    (_, turned) = read_boxes(tmp_path / "b.csv", Problems(), TableReading({"cx": "cx"}))
    assert turned.corners == CORNERS


@pytest.mark.parametrize(
    "name", ["angle", "Angle_deg", "theta", "rotation", "rotation angle", "bbox_theta", "rot.angle"]
)
def test_names_of_angles(name: str) -> None:
    assert find_columns(["x1", "y1", "x2", "y2", name], TableReading()).angle == name
    assert find_columns(["x1", "y1", "x2", "y2", name], TableReading({"label": name})).angle is None


@pytest.mark.parametrize("name", ["sun_angle", "rotation_y", "rectangle", "rot", "orientation", "angles"])
def test_names_of_what_is_not_the_angle_of_a_box(name: str) -> None:
    assert find_columns(["x1", "y1", "x2", "y2", name], TableReading()).angle is None


OTHER = "columns {} are not read, and hold other boxes: to read them, --columns {}"
XYWH = OTHER.format("'x', 'y', 'w', 'h'", "x=x,y=y,width=w,height=h")


@pytest.mark.parametrize(
    ("header", "rows", "remark"),
    [
        ("xmin,ymin,xmax,ymax,x,y,w,h", ["10,20,14,26,12,23,4,6", "10,20,14,26,1,2,3,4"], XYWH),
        ("xmin;ymin;xmax;ymax;x;y;w;h", ["10;20;14;26;12,5;23;4;6"], XYWH),
        ("xmin,ymin,xmax,ymax,x,y,w,h", ["10,20,14,26,10,20,4,6", "10,20,14,26,10.4,20,5,7"], None),
        ("xmin,ymin,xmax,ymax,x,y,w,h", ["10,20,14,26,,,,", "10,20,14,26,nan,-,4,6"], None),
        ("xmin,ymin,xmax,ymax,width,height", ["10,20,14,26,640,480"], None),
        ("cx,cy,w,h,x,y", ["12,23,4,6,1,1"], None),
        (
            "x1,y1,x2,y2,cx,cy,w,h",
            ["10,20,14,26,0.1,0.2,0.3,0.4"],
            OTHER.format("'cx', 'cy', 'w', 'h'", "cx=cx,cy=cy,w=w,h=h"),
        ),
    ],
)
@pytest.mark.parametrize("listed", [False, True])
def test_a_second_box_of_a_row_is_noted_if_it_is_another(
    header: str, rows: list[str], remark: str | None, listed: bool, tmp_path: Path
) -> None:
    sign = ";" if ";" in header else ","
    path = tmp_path / ("b.json" if listed else "b.csv")
    names, fields = header.split(sign), [row.split(sign) for row in rows]
    if listed:
        values = [[float(n) if n.isdigit() or "." in n else n for n in row] for row in fields]
        path.write_text(json.dumps([dict(zip(names, row, strict=True)) for row in values]))
    else:
        path.write_text("\n".join([header, *rows]))
    problems = Problems()
    assert [box.corners for box in read_boxes(path, problems)] == [CORNERS] * len(rows)
    assert list(map(str, problems.remarks)) == ([] if remark is None else [f"{path}: {remark}"])
    of_named = Problems()
    box_format, four = next((kind, four) for kind, four in KNOWN if set(four) <= set(names))
    read_boxes(path, of_named, TableReading(dict(zip(ROLES[box_format], four, strict=True))))
    assert of_named.remarks == []


@pytest.mark.parametrize("ending", ["json", "jsonl", "parquet"])
def test_a_box_of_four_columns_beside_a_whole_one_is_noted_if_it_is_another(ending: str, tmp_path: Path) -> None:
    rows = [{"box": list(CORNERS), "x": x, "y": 20.0, "w": 4.0, "h": 6.0} for x in (10.0, 50.0)]
    path = tmp_path / f"b.{ending}"
    if ending == "parquet":
        pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        path.write_text(json.dumps(rows) if ending == "json" else "\n".join(map(json.dumps, rows)))
    problems = Problems()
    assert len(read_boxes(path, problems)) == 2
    assert list(map(str, problems.remarks)) == [f"{path}: {XYWH}"]


@pytest.mark.parametrize(
    ("header", "rows", "sizes"),
    [
        ("filename,width,height,xmin,ymin,xmax,ymax", ["a,64,48,1,2,30,40", "b,50,40,1,2,50,40"], [(64, 48), (50, 40)]),
        ("filename,width,height,x,y,w,h", ["a,64,48,1,2,30,40"], [(64, 48)]),
        ("filename,width,height,x,y,w,h", ["a,64,48,1,2,30,40", "a,,,1,2,30,40"], [(64, 48), None]),
        ("filename,xmin,ymin,xmax,ymax,width,height", ["a,10,20,30,40,20,20"], [None]),  # of the box
        ("filename,xmin,ymin,xmax,ymax,width,height", ["a,0,0,30,40,30,40"], [None]),
        ("filename,xmin,ymin,xmax,ymax,width,height", ["a,0,0,30,40,64,48", "a,0,0,30,40,99,48"], [None, None]),
        ("filename,xmin,ymin,xmax,ymax,width,height", ["a,0,0,30,40,64,48", "b,0,0,99,40,64,48"], [None, None]),
        ("filename,x,y,width,height", ["a,1,2,30,40"], [None]),
    ],
)
@pytest.mark.parametrize("listed", [False, True])
def test_a_width_and_a_height_beside_a_box_may_be_those_of_its_image(
    header: str, rows: list[str], sizes: list[tuple[int, int] | None], listed: bool, tmp_path: Path
) -> None:
    path = tmp_path / ("b.json" if listed else "b.csv")
    names, fields = header.split(","), [row.split(",") for row in rows]
    if listed:
        values = [[float(n) if n.isdigit() else n for n in row] for row in fields]
        path.write_text(json.dumps([dict(zip(names, row, strict=True)) for row in values]))
    else:
        path.write_text("\n".join([header, *rows]))
    boxes = read_boxes(path, Problems())
    assert [box.stated_size for box in boxes] == sizes
    assert [box.image_size for box in boxes] == [None] * len(rows), "nothing relies on it"
