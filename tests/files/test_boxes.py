"""Reading files of boxes: CSV, JSON lists and COCO."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from roialign.files.boxes import read_boxes
from roialign.files.problems import Problems
from tests.files.boxes import found
from tests.tables.paths import EXAMPLES


def test_the_three_formats_of_the_examples_hold_the_same_boxes() -> None:
    problems = Problems()
    names = ("astronaut_boxes.csv", "astronaut_boxes.json", "astronaut_boxes_coco.json")
    first, *others = [
        [(b.row, b.image, b.corners, b.label) for b in read_boxes(EXAMPLES / name, problems)] for name in names
    ]
    assert len(first) == 7
    assert first[0] == (0, "astronaut.png", (176.5, 62.0, 275.5, 191.5), "face")
    assert others == [first, first]
    assert not problems


CSV = "image,x1,y1,x2,y2,label\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.png,1,2,3", "row 1 (line 3): expected 6 fields, found 4"),
        ("a.png,1,2,3,4,dog,5", "row 1 (line 3): expected 6 fields, found 7"),
        ("a.png,1,two,3,4,dog", 'row 1 (line 3): y1: expected a number, found "two"'),
        ("a.png,1,,3,4,dog", 'row 1 (line 3): y1: expected a number, found ""'),
        (
            "a.png,1,nan,3,4,dog",
            "row 1 (line 3): expected [x1, y1, x2, y2], four finite numbers, found [1.0, NaN, 3.0, 4.0]",
        ),
        ("a.png,1,2,inf,4,dog", "four finite numbers, found [1.0, 2.0, Infinity, 4.0]"),
        (",1,2,3,4,dog", 'row 1 (line 3): image: expected the name of an image, found ""'),
    ],
)
def test_a_malformed_line_of_csv_is_reported_and_the_others_are_kept(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "boxes.csv"
    path.write_text(f"{CSV}a.png,1,2,3,4,cat\n{line}\n\nb.png,5,6,7,8,\n")
    problems = Problems()
    boxes = read_boxes(path, problems)
    assert [(b.row, b.image, b.corners, b.label) for b in boxes] == [
        (0, "a.png", (1, 2, 3, 4), "cat"),
        (2, "b.png", (5, 6, 7, 8), ""),
    ]
    (problem,) = found(problems)
    assert problem.startswith(str(path))
    assert message in problem


def test_csv_columns_may_come_in_any_order_with_others_between_them(tmp_path: Path) -> None:
    path = tmp_path / "boxes.CSV"
    path.write_bytes(b'\xef\xbb\xbfscore, X1 ,y1,x2,y2,image\r\n0.5,1,2,3,4,"a, b.png"\r\n')
    (only,) = read_boxes(path, Problems())
    assert (only.image, only.corners, only.label) == ("a, b.png", (1, 2, 3, 4), "")


FIVE = "five numbers are a rotated box, and upright boxes are pooled: give its upright hull"
LIST_ROW = '{"image": "a.png", "box": [1, 2, 3, 4], "label": "cat"}'


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ('{"image": "a.png"}', "row 1: expected [x1, y1, x2, y2] or {"),
        ("7", "row 1: expected [x1, y1, x2, y2] or {"),
        (
            '{"image": "a.png", "objects": {"bbox": [[1, 2, 3, 4]], "category": [0]}, "parts": [{"x": 1}], "c": []}',
            "; lists and objects in 'objects' (bbox, category), 'parts' (x), 'c' are not read: write one row per box",
        ),
        ('{"image": "a.png", "box": [1, 2, 3]}', "row 1: expected [x1, y1, x2, y2], found [1, 2, 3]"),
        ("[1, 2, 3, 4, 0.5]", f"row 1: expected [x1, y1, x2, y2], found [1, 2, 3, 4, 0.5]: {FIVE}"),
        ('{"box": [1, 2, 3, 4, 0.5]}', f"row 1: expected [x1, y1, x2, y2], found [1, 2, 3, 4, 0.5]: {FIVE}"),
        ('{"image": "a.png", "box": "1 2 3 4"}', 'row 1: expected [x1, y1, x2, y2], found "1 2 3 4"'),
        ('{"image": "a.png", "box": [1, 2, 3, "4"]}', "row 1: expected [x1, y1, x2, y2], four finite numbers, found"),
        ('{"image": "a.png", "box": [1, 2, 3, true]}', "row 1: expected [x1, y1, x2, y2], four finite numbers, found"),
        ('{"image": "a.png", "box": [1, 2, 3, NaN]}', "row 1: expected [x1, y1, x2, y2], four finite numbers, found"),
        ('{"image": "a.png", "box": [1, 2, 3, 1e999]}', "row 1: expected [x1, y1, x2, y2], four finite numbers, found"),
        ("[1, 2, 3, null]", "row 1: expected [x1, y1, x2, y2], four finite numbers, found [1, 2, 3, null]"),
        ('{"image": 0.5, "box": [1, 2, 3, 4]}', "row 1: image: expected the name of an image, found 0.5"),
        (
            '{"image": "a.png", "box": [1, 2, 3, 4], "label": ["cat", "dog"]}',
            'row 1: label: expected text, found ["cat", "dog"]',
        ),
        ('{"image": "a.png", "box": [1, 2, 3, 4], "label": {}}', "row 1: label: expected text, found {}"),
    ],
)
def test_a_malformed_row_of_a_list_is_reported_and_the_others_are_kept(
    tmp_path: Path, entry: str, message: str
) -> None:
    path = tmp_path / "boxes.json"
    path.write_text(f"[{LIST_ROW}, {entry}, [5, 6, 7, 8]]")
    problems = Problems()
    boxes = read_boxes(path, problems)
    assert [(b.row, b.image, b.corners, b.label) for b in boxes] == [
        (0, "a.png", (1, 2, 3, 4), "cat"),
        (2, None, (5, 6, 7, 8), ""),
    ]
    (problem,) = found(problems)
    assert message in problem


def coco(*annotations: object) -> dict[str, object]:
    return {
        "images": [{"id": 7, "file_name": "a.png"}, {"id": "7", "file_name": "b.png"}],
        "categories": [{"id": 3, "name": "cat"}],
        "annotations": list(annotations),
    }


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        ({"image_id": 8, "bbox": [1, 2, 3, 4]}, "annotations[1]: image_id: 8 is not among the images"),
        ({"image_id": 7}, "annotations[1]: bbox: expected [x, y, width, height], finite, got nothing"),
        ([1, 2, 3, 4], "annotations[1]: expected an object, got [1, 2, 3, 4]"),
        (
            {"image_id": 7, "bbox": [1, 2, 3]},
            "annotations[1]: bbox: expected [x, y, width, height], finite, got [1, 2, 3]",
        ),
        (
            {"image_id": 7, "bbox": [1, 2, 3, 4, 30]},
            f"annotations[1]: bbox: expected [x, y, width, height], finite, got [1, 2, 3, 4, 30]: {FIVE}",
        ),
        ({"image_id": 7, "bbox": [1, 2, 3, "4"]}, "annotations[1]: bbox: expected [x, y, width, height], finite, got"),
    ],
)
def test_a_malformed_annotation_of_coco_is_reported_and_the_others_are_kept(
    tmp_path: Path, annotation: object, message: str
) -> None:
    path = tmp_path / "coco.json"
    good = {"image_id": 7, "bbox": [1, 2, 3.5, 4], "category_id": 3}
    path.write_text(json.dumps(coco(good, annotation, {"image_id": "7", "bbox": [0, 0, 1, 1], "category_id": 9})))
    problems = Problems()
    boxes = read_boxes(path, problems)
    assert [(b.row, b.image, b.corners, b.label) for b in boxes] == [
        (0, "a.png", (1, 2, 4.5, 6), "cat"),
        (2, "b.png", (0, 0, 1, 1), "9"),
    ]
    (problem,) = found(problems)
    assert message in problem


UNNAMED = "category_id: {} is not among the usable categories: {} such an id as label"


@pytest.mark.parametrize(
    ("categories", "ids", "labels", "remark"),
    [
        ([{"id": 3, "name": "cat"}], [3, 9, "12", None, 9], ["cat", "9", "12", "", "9"], (1, 9, "3 boxes have")),
        ([{"id": 3, "name": "cat"}, {"id": 9}], [3, 9], ["cat", "9"], (1, 9, "1 box has")),
        ([], [7, 8], ["7", "8"], (0, 7, "2 boxes have")),
        ([{"id": 3, "name": "cat"}], [3, None], ["cat", ""], None),
    ],
)
def test_ids_without_a_category_are_noted_once(
    tmp_path: Path,
    categories: list[object],
    ids: list[object],
    labels: list[str],
    remark: tuple[int, object, str] | None,
) -> None:
    path = tmp_path / "coco.json"
    rows = [{"image_id": 7, "bbox": [1, 2, 3, 4], "category_id": number} for number in ids]
    path.write_text(json.dumps({**coco(*rows), "categories": categories}))
    problems = Problems()
    assert [box.label for box in read_boxes(path, problems)] == labels
    said = [] if remark is None else [f"{path}: annotations[{remark[0]}]: {UNNAMED.format(*remark[1:])}"]
    assert list(map(str, problems.remarks)) == said


def test_a_malformed_image_of_coco_is_reported_with_its_boxes(tmp_path: Path) -> None:
    path = tmp_path / "coco.json"
    path.write_text(json.dumps({"images": [{"id": 1}], "annotations": [{"image_id": 1, "bbox": [1, 2, 3, 4]}]}))
    problems = Problems()
    assert read_boxes(path, problems) == []
    of_image, of_box = found(problems)
    assert "images[0]: file_name: expected text, got nothing" in of_image
    assert "annotations: 1 row refers to images or categories that cannot be used" in of_box


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("boxes.json", b"[1, 2", "not JSON: line 1, column 6: Expecting ','"),
        ("boxes.json", b"", "it is an empty file"),
        ("boxes.json", b"3", "expected a list of boxes, or a COCO object with images and annotations, found 3"),
        ("boxes.json", b'{"annotations": []}', 'found an object with ["annotations"]'),
        ("boxes.json", b'{"images": {}, "annotations": []}', "expected a list under 'images', got {}"),
        ("boxes.json", b'{"images": [], "annotations": 3}', "expected a list under 'annotations', got 3"),
        ("boxes.json", b"[" * 200_000, "brackets nested too deeply"),
        ("boxes.json", b"\xff\xfe[]", "not UTF-8 text: it is UTF-16 text: save it as UTF-8"),
        ("boxes.csv", b"", "expected a header with x1, y1, x2, y2, or xmin, ymin, xmax, ymax, or x, y, width, height"),
        ("boxes.csv", b"a.png,1,2,3,4\n", "x, y, width, height, found a.png, 1, 2, 3, 4"),
        ("boxes.csv", b'"image,x1,y1,x2,y2\na.png,1,2,3,4\n', "line 1: a quote that is not closed"),
        ("boxes.csv", b'[{"image": "a.png"}]', "it is JSON: give it a name that ends in .json"),
    ],
)
def test_a_file_that_is_no_box_file_is_an_error(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(message)):
        read_boxes(path, Problems())


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([0, 0, 1e300, 1], "expected [x1, y1, x2, y2], four finite numbers up to 1e+100, found [0, 0, 1e+300, 1]"),
        (
            {"box": [0, 0, 1, 1], "bbox": [0, 0, 2, 2]},
            "expected one box, found box [0, 0, 1, 1] and bbox [0, 0, 2, 2]: remove one of them",
        ),
    ],
)
def test_a_box_that_is_too_large_or_given_twice_is_an_error(tmp_path: Path, row: object, message: str) -> None:
    (tmp_path / "b.json").write_text(json.dumps([row]))
    problems = Problems()
    assert read_boxes(tmp_path / "b.json", problems) == []
    assert [problem.what for problem in problems] == [message]


def test_a_whole_number_beyond_the_range_of_floats_is_the_error_of_its_row(tmp_path: Path) -> None:
    path, huge = tmp_path / "b.json", 10**400
    path.write_text(json.dumps([[0, 0, huge, 1], [0, 0, 1, 1], {"image": "a.png", "box": [-huge, 0, 1, 1]}]))
    problems = Problems()
    assert [box.row for box in read_boxes(path, problems)] == [1]
    assert len(problems) == 2
    assert all("expected [x1, y1, x2, y2], four finite numbers" in problem.what for problem in problems)
