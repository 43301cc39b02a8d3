"""Tables of text as spreadsheets and scripts write them, and which column names the image."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roialign.extract.matching import group_by_input
from roialign.files.boxes import Box, read_boxes
from roialign.files.columns import Reading
from roialign.files.parquet import METADATA
from roialign.files.problems import MOST_NAMED, FileError, Problems
from tests.files.boxes import found

HEADER = "image,x1,y1,x2,y2,label\n"
GOOD = [(0, "a.png", (1, 2, 3, 4), "cat"), (2, "b.png", (5, 6, 7, 8), "dog")]


def _read(folder: Path, content: str | bytes, name: str = "b.csv", **more: Any) -> tuple[list[Box], Problems]:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    problems = Problems()
    return read_boxes(folder / name, problems, Reading(**more)), problems


def _rows(boxes: list[Box]) -> list[tuple[int, str | None, tuple[float, ...], str]]:
    return [(box.row, box.image, box.corners, box.label) for box in boxes]


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
    assert [row[1:] for row in _rows(boxes)] == [row[1:] for row in GOOD]
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
    assert _rows(boxes) == [
        (0, 'a, "b".png', (1, 2, 3, 4), "a label\nof two lines"),
        (1, "c.png", (5, 6, 7, 8), "5"),
    ]
    assert boxes[1].where.endswith("row 1 (line 4)")


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
    assert [row[1:] for row in _rows(boxes)] == [row[1:] for row in GOOD]
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
    assert _rows(boxes) == GOOD
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


RESULT = {"image_id": 139, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}


def test_results_of_coco_need_the_file_that_they_are_of(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"a list of COCO results, .* give the COCO file with the images"):
        _read(tmp_path, json.dumps([RESULT]), "b.json")
    boxes, problems = _read(tmp_path, json.dumps([RESULT]), "b.json", columns={"image": "image_id"}, box_format="xywh")
    assert not problems
    assert [(box.image, box.corners) for box in boxes] == [("139", (1, 2, 4, 6))]


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
    assert (_rows(boxes), list(problems)) == ([(0, "a.png", (1.5, 2, 3, 4), "")], [])


_CORNERS = {"x1": [1.0], "y1": [2.0], "x2": [3.0], "y2": [4.0]}


@pytest.mark.parametrize("kind", ["list", "large_list"])
def test_boxes_of_decimals_in_parquet_are_read(kind: str, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    numbers = [[Decimal(number) for number in ("1.5", "2", "3", "4")]]
    make = pyarrow.list_ if kind == "list" else pyarrow.large_list
    boxes, problems = _parquet(tmp_path, {"box": pyarrow.array(numbers, make(pyarrow.decimal128(10, 2)))})
    assert (_rows(boxes), list(problems)) == ([(0, None, (1.5, 2, 3, 4), "")], [])


def test_decimals_of_parquet_keep_all_digits_of_an_id(tmp_path: Path) -> None:
    image, label = [Decimal("12345678901234567891.00")], [Decimal("3.00")]  # more digits than a float has
    boxes, problems = _parquet(tmp_path, {**_CORNERS, "image": image, "label": label})
    assert (_rows(boxes), list(problems)) == ([(0, "12345678901234567891", (1, 2, 3, 4), "3")], [])


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
    (only,) = read_boxes(tmp_path / "b.parquet", Problems(), Reading(columns))
    assert (only.corners, only.label) == ((1.5, 1.5, 1.5, 1.5), "cat")
    with pytest.raises(FileError, match="column 'photo_bytes' holds images, not their names"):
        read_boxes(tmp_path / "b.parquet", Problems(), Reading({**columns, "image": "photo_bytes"}))


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
