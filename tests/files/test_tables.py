"""Tables of text as spreadsheets and scripts write them, and which column names the image."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from roialign.extract.matching import group_by_input
from roialign.files.boxes import Box, read_boxes
from roialign.files.columns import TableReading
from roialign.files.problems import MOST_NAMED, FileError, Problems
from tests.files.boxes import rows_of

HEADER = "image,x1,y1,x2,y2,label\n"
GOOD = [(0, "a.png", (1, 2, 3, 4), "cat"), (2, "b.png", (5, 6, 7, 8), "dog")]


def _read(folder: Path, content: str | bytes, name: str = "b.csv", **more: Any) -> tuple[list[Box], Problems]:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    problems = Problems()
    return read_boxes(folder / name, problems, TableReading(**more)), problems


# One row, and not the table


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('"a.png,1,2,3,4,cat', "a quote that is not closed"),
        ('"a.png"x,1,2,3,4,cat', "characters after a closing quote"),
        (f"a.png,1,2,3,4,{'x' * 200_000}", "expected fields of at most 131072 characters, found one of 200000"),
        (f'a.png,1,2,3,4,"{"x" * 200_000}"', "expected fields of at most 131072 characters, found a longer one"),
        ('"a.png,1,2,3,4,cat\n"b.png,1,2,3,4,cat', "a quote that is not closed"),
        ("a\0.png,1,2,3", "expected 6 fields, found 4"),
    ],
)
def test_a_row_that_cannot_be_read_ends_no_table(tmp_path: Path, line: str, message: str) -> None:
    boxes, problems = _read(tmp_path, f"{HEADER}a.png,1,2,3,4,cat\n{line}\nb.png,5,6,7,8,dog\n")
    assert [row[1:] for row in rows_of(boxes)] == [row[1:] for row in GOOD]
    assert str(next(iter(problems))) == f"{tmp_path / 'b.csv'}, row 1 (line 3): {message}"
    assert len(problems) == 1 + line.count("\n")


def test_every_bad_quote_is_named_and_every_good_row_is_kept(tmp_path: Path) -> None:
    lines = [f'"a{n}.png,1,2,3,4,cat' if n % 2 else f"a{n}.png,1,2,3,4,cat" for n in range(2000)]
    boxes, problems = _read(tmp_path, HEADER + "\n".join(lines))
    assert (len(boxes), len(problems)) == (1000, 1000)


def test_fields_in_quotes_may_hold_anything(tmp_path: Path) -> None:
    text = HEADER + '"a, ""b"".png", 1,2,3,4, "a label\nof two lines"\r\n"c.png",5,6,7,8,"5"\n'
    boxes, problems = _read(tmp_path, text)
    assert not problems
    assert rows_of(boxes) == [
        (0, 'a, "b".png', (1, 2, 3, 4), "a label\nof two lines"),
        (1, "c.png", (5, 6, 7, 8), "5"),
    ]
    assert boxes[1].where.endswith("row 1 (line 4)")


def test_a_quoted_field_may_end_on_a_line_that_reads_like_a_row(tmp_path: Path) -> None:
    rows = '"cat\nsitting",a.png,1,2,3,4\n"cat",a.png,1,2,3,4\n"a ""big""\n""dog""",b.png,5,6,7,8\n'
    boxes, problems = _read(tmp_path, "label,image,x1,y1,x2,y2\n" + rows)
    assert not problems
    assert [(box.row, box.image, box.label) for box in boxes] == [
        (0, "a.png", "cat\nsitting"),
        (1, "a.png", "cat"),
        (2, "b.png", 'a "big"\n"dog"'),
    ]


@pytest.mark.parametrize("below", ['b.png,5,6,7,8,dog"', 'b.png,5,6,7,8,"dog"', '"b.png",5,6,7,8,dog'])
def test_a_quote_that_is_not_closed_does_not_take_the_row_below_it(tmp_path: Path, below: str) -> None:
    boxes, problems = _read(tmp_path, f'{HEADER}a.png,1,2,3,4,"cat\n{below}\n')
    assert "row 0 (line 2): a quote that is not closed" in str(next(iter(problems)))
    assert [(box.row, box.image) for box in boxes] == [(1, "b.png")]


# What divides fields


@pytest.mark.parametrize(
    "text",
    [
        "sep=;\nimage;x1;y1;x2;y2;label\na.png;1;2;3;4;cat\nb.png;5;6;7;8;dog\n",
        '"sep=,"\n' + HEADER + "a.png,1,2,3,4,cat\nb.png,5,6,7,8,dog\n",
        "sep=\t\nimage\tx1\ty1\tx2\ty2\tlabel\na.png\t1\t2\t3\t4\tcat\nb.png\t5\t6\t7\t8\tdog\n",
        "image|x1|y1|x2|y2|label\na.png|1|2|3|4|cat\nb.png|5|6|7|8|dog\n",
        "# made by a script, on a day\n#\n" + HEADER + "a.png,1,2,3,4,cat\n  # a remark\nb.png,5,6,7,8,dog\n# end\n",
        "# image, x1, y1, x2, y2, label\na.png,1,2,3,4,cat\nb.png,5,6,7,8,dog\n",
        "#image,x1,y1,x2,y2,label\r\na.png,1,2,3,4,cat\r\rb.png,5,6,7,8,dog",
    ],
)
def test_fields_are_divided_as_people_do_it(tmp_path: Path, text: str) -> None:
    boxes, problems = _read(tmp_path, text)
    assert [row[1:] for row in rows_of(boxes)] == [row[1:] for row in GOOD]
    assert not [*problems, *problems.remarks]


@pytest.mark.parametrize(
    ("rows", "corners", "wrong"),
    [
        ("1,5;2;3,25;4\n5;6;7;8e0\n", [(1.5, 2, 3.25, 4), (5, 6, 7, 8)], None),
        ("5;6;7;8\n1,5;-2,5;3;4\n", [(5, 6, 7, 8), (1.5, -2.5, 3, 4)], None),
        ("1.5;2;3;4\n1,000;2;3;4\n", [(1.5, 2, 3, 4)], '1 (line 3): x1: expected a number, found "1,000"'),
        ("1,5;2;3;4\n1.000;2;3;4\n", [(1.5, 2, 3, 4)], '1 (line 3): x1: expected a number, found "1.000"'),
        ("1.000,5;2;3;4\n", [], '0 (line 2): x1: expected a number, found "1.000,5"'),
        ("1,000,5;2;3;4\n", [], '0 (line 2): x1: expected a number, found "1,000,5"'),
    ],
)
def test_between_semicolons_a_comma_may_be_decimal(
    tmp_path: Path, rows: str, corners: list[tuple[float, ...]], wrong: str | None
) -> None:
    boxes, problems = _read(tmp_path, "x1;y1;x2;y2\n" + rows)
    assert [box.corners for box in boxes] == corners
    assert list(map(str, problems)) == ([] if wrong is None else [f"{tmp_path / 'b.csv'}, row {wrong}"])


def test_between_tabs_a_comma_may_divide_thousands(tmp_path: Path) -> None:
    boxes, problems = _read(tmp_path, "x1\ty1\tx2\ty2\n1,000\t2\t3\t4\n", "b.tsv")
    assert (boxes, len(problems)) == ([], 1)


def test_a_mistake_in_every_row_is_not_told_forever(tmp_path: Path) -> None:
    content = json.dumps([{"image": "a.png", "bbox": [1, 2, 3, 4]}] * (MOST_NAMED + 5))
    for boxes, problems in (
        _read(tmp_path, HEADER + "a.png,1,2,3,x,cat\n" * (MOST_NAMED + 5)),
        _read(tmp_path, content, "b.json"),
    ):
        assert (boxes, len(problems)) == ([], MOST_NAMED + 1)
        assert str(list(problems)[-1]).endswith(": 5 more rows cannot be used")


# JSON Lines


@pytest.mark.parametrize("name", ["b.jsonl", "b.NDJSON"])
def test_a_box_on_every_line_is_a_row(tmp_path: Path, name: str) -> None:
    text = (
        '\ufeff{"image": "a.png", "box": [1, 2, 3, 4], "label": "cat"}\r\n\nno json\n'
        f'{{"file_name": "b.png", "xmin": 5, "ymin": 6, "xmax": 7, "ymax": 8, "class": "dog"}}\n{"[" * 99999}\n'
    )
    boxes, problems = _read(tmp_path, text, name)
    assert rows_of(boxes) == GOOD
    assert boxes[1].where == f"{tmp_path / name}, row 2 (line 4)"
    assert [str(problem).removeprefix(str(tmp_path / name)) for problem in problems] == [
        ", row 1 (line 3): not JSON: column 1: Expecting value",
        ", row 3 (line 5): not usable JSON: brackets nested too deeply",
    ]


def test_a_row_behind_a_hash_is_passed_over_with_a_note(tmp_path: Path) -> None:
    boxes, problems = _read(tmp_path, HEADER + "a.png,1,2,3,4,cat\n#1.png,1,2,3,4,cat\nb.png,5,6,7,8,dog\n")
    assert len(boxes) == 2
    (remark,) = problems.remarks
    assert str(remark) == f"{tmp_path / 'b.csv'}, line 3: begins with #: skipped as a comment"


# What is no table


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("b.csv", HEADER.encode("utf-16"), "it is UTF-16 text: save it as UTF-8"),
        ("b.csv", HEADER.encode("utf-16-le"), "it is UTF-16 text: save it as UTF-8"),
        ("b.csv", HEADER.encode("utf-16-be"), "it is UTF-16 text: save it as UTF-8"),
        ("b.csv", HEADER.encode("utf-32"), "it is UTF-32 text: save it as UTF-8"),
        ("b.csv", HEADER.encode("utf-32-le"), "it is UTF-32 text: save it as UTF-8"),
        ("b.json", "[1]".encode("utf-16-le"), "it is UTF-16 text: save it as UTF-8"),
        (
            "b.json",
            b'{"a": 1}\n{"a": 2}\n',
            "it looks like JSON Lines, with one value per line: convert it to a list with `jq -s",
        ),
        ("b.csv", b'{"a": 1}\n{"a": 2}\n', "it is JSON: give it a name that ends in .json"),
        (
            "b.csv",
            b"<annotation><object/></annotation>",
            "it is an XML annotation file, such as Pascal VOC: convert it",
        ),
        (
            "b.xml",
            b"<?xml version='1.0'?>\n<annotations>",
            "it is an XML annotation file, such as Pascal VOC: convert",
        ),
    ],
)
def test_what_is_no_table_is_called_what_it_is(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    with pytest.raises(FileError, match=re.escape(message)):
        _read(tmp_path, content, name)


# Which column names the image


@pytest.mark.parametrize(
    ("column", "value", "name"),
    [
        ("image_id", "7", "7.png"),
        ("ImageID", "0a1b", "0a1b.jpg"),
        ("image_id", "139", "000000000139.jpg"),
        ("frame", "12", "000012.png"),
        ("photo", "a", "a.png"),
        ("img", "a.png", "a.png"),
        ("File Name", "x/a.png", "a.png"),
        ("image_uri", "https://example.org/x/a.png", "a.png"),
    ],
)
@pytest.mark.parametrize("listed", [False, True])
def test_common_names_of_the_image_are_understood(
    tmp_path: Path, column: str, value: str, name: str, listed: bool
) -> None:
    if listed:
        rows = [{column: value, "box": [1, 2, 3, 4]}, {column: "other", "x1": 5, "y1": 6, "x2": 7, "y2": 8}]
        boxes, problems = _read(tmp_path, json.dumps(rows), "b.json")
    else:
        boxes, problems = _read(tmp_path, f"{column},x1,y1,x2,y2\n{value},1,2,3,4\nother,5,6,7,8\n")
    groups = group_by_input(boxes, [Path(name)], problems)
    assert not problems
    assert [box.corners for box in groups.boxes[Path(name)]] == [(1, 2, 3, 4)]
    assert [box.image for box in groups.missing] == ["other"]


def test_two_files_of_one_number_are_not_chosen_between(tmp_path: Path) -> None:
    boxes, problems = _read(tmp_path, "frame,x1,y1,x2,y2\n7,1,2,3,4\n")
    group_by_input(boxes, [Path("07.png"), Path("007.png")], problems)
    assert "image '7' matches each of 07.png, 007.png" in str(next(iter(problems)))


@pytest.mark.parametrize("column", ["motif", "label", "k\nl"])
@pytest.mark.parametrize("listed", [False, True])
def test_a_column_that_names_images_is_never_passed_over(tmp_path: Path, column: str, listed: bool) -> None:
    if listed:
        name, content = "b.json", json.dumps([{column: "x/a.JPG", "box": [1, 2, 3, 4]}])
    else:
        name, content = "b.csv", f'"{column}",x1,y1,x2,y2\nx/a.JPG,1,2,3,4\n'
    with pytest.raises(FileError, match=r"names images, such as 'x/a.JPG', but is not read: give --columns image="):
        _read(tmp_path, content, name)
    boxes, _ = _read(tmp_path, content, name, columns={"image": column})
    assert boxes[0].image == "x/a.JPG"


@pytest.mark.parametrize(
    ("column", "told"),
    [
        ("scan_no", True),
        ("pageNr", True),
        ("slide", True),
        ("image_index", True),
        ("img_width", False),
        ("tape", False),
    ],
)
def test_a_column_that_may_name_images_is_noted(tmp_path: Path, column: str, told: bool) -> None:
    boxes, problems = _read(tmp_path, f"{column},x1,y1,x2,y2\n3,1,2,3,4\n4,1,2,3,4\n")
    assert len(boxes) == 2
    notes = [str(remark).partition(": ")[2] for remark in problems.remarks]
    expected = f"column '{column}' is not read: does it name images? --columns image={column}"
    assert notes == ([expected] if told else [])


@pytest.mark.parametrize("column", ["category_id", "classId", "label id"])
def test_an_id_is_the_label_if_there_is_no_name(tmp_path: Path, column: str) -> None:
    boxes, _ = _read(tmp_path, f"image,{column},x1,y1,x2,y2\na.png,3,1,2,3,4\n")
    assert boxes[0].label == "3"
    boxes, _ = _read(tmp_path, f"image,{column},name,x1,y1,x2,y2\na.png,3,cat,1,2,3,4\n")
    assert boxes[0].label == "cat"


RESULT = {"image_id": 139, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}


def test_results_of_coco_need_the_file_that_they_are_of(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"a list of COCO results, .* give the COCO file with the images"):
        _read(tmp_path, json.dumps([RESULT]), "b.json")
    boxes, problems = _read(tmp_path, json.dumps([RESULT]), "b.json", columns={"image": "image_id"}, box_format="xywh")
    assert not problems
    assert [(box.image, box.corners) for box in boxes] == [("139", (1, 2, 4, 6))]
