"""Matching the rows of a box file to inputs."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest

from roialign.extract.matching import group_by_input, likely_input, missing_text
from roialign.files.problems import Problems
from tests.files.boxes import box, found


@pytest.mark.parametrize(
    ("inputs", "name", "expected"),
    [
        (["a.png", "b.png"], "b.png", "b.png"),
        (["x/1.png", "y/1.png"], "y/1.png", "y/1.png"),
        (["x/1.png"], "other/1.png", "x/1.png"),
        (["x/1.png"], "x\\1.png", "x/1.png"),
        (["maps/1.npy"], "1.jpg", "maps/1.npy"),
        (["1.png", "1.npy"], "1.npy", "1.npy"),
        (["1.png", "1.2.png"], "1.2", "1.2.png"),
        (["a.png", "a.b.png"], "a.b", "a.b.png"),
        (["a.npy", "a.b.npy"], "a.b.png", "a.b.npy"),
        (["my cat.png"], "my%20cat.png", "my cat.png"),
        (["my cat.png", "my%20cat.png"], "my%20cat.png", "my%20cat.png"),
        (["my cat.png", "my%20cat.npy"], "my%20cat.png", "my%20cat.npy"),
        (["x/my cat.png", "y/my cat.png"], "y/my%20cat.png", "y/my cat.png"),
        (["my cat.npy"], "my%20cat.png", "my cat.npy"),
        (["x/my cat.png"], "file:///C:/photos/my%20cat.png?w=64", "x/my cat.png"),
        (["x/Ü.png"], "http://localhost:8080/data/upload/3/%C3%9C.png", "x/Ü.png"),
        (["x/1.png", "y/1.png"], "/data/local-files/?d=y/1.png", "y/1.png"),
        (["x/1.png", "y/1.png"], "http://host/data/local-files/?x=1&d=y%2F1.png", "y/1.png"),
        (["1.png"], "/data/local-files/?d=1.png", "1.png"),
        (["a b/1.png", "c/1.png"], "a%20b/1.png", "a b/1.png"),
    ],
)
def test_a_box_finds_its_input_by_file_name(inputs: list[str], name: str, expected: str) -> None:
    problems = Problems()
    groups = group_by_input([box(0, (0, 0, 1, 1), name)], [Path(path) for path in inputs], problems)
    assert not problems
    assert not groups.missing
    assert [str(path) for path, boxes in groups.boxes.items() if boxes] == [str(Path(expected))]


def test_digits_after_a_dot_are_part_of_an_id(tmp_path: Path) -> None:
    groups = group_by_input([box(0, (0, 0, 1, 1), "scan.2")], [tmp_path / "scan.png"], Problems())
    assert [box.image for box in groups.missing] == ["scan.2"]


@pytest.mark.parametrize(
    ("inputs", "names", "messages"),
    [
        (["x/1.png", "y/1.png"], ["1.png"], ["row 0: image '1.png' matches each of x/1.png, y/1.png; give more"]),
        (["x/1.png", "y/1.png"], ["z/1.png"], ["row 0: image 'z/1.png' matches each of x/1.png, y/1.png; give more"]),
        (["x/1.png", "y/1.png"], ["1.png"] * 3, ["y/1.png; give more of its path (2 more rows: 1, 2)"]),
        (["a.png", "b.png"], [None], ["row 0: a box without an image needs exactly one input, got 2; give the"]),
        (["a.png", "b.png"], [None] * 2, ["with --columns image=NAME (1 more row: 1)"]),
        (["x/a b.png", "y/a b.png"], ["a%20b.png"], ["row 0: image 'a%20b.png' matches each of x/a b.png, y/a b.png"]),
        # Two images of a box file never share an input.
        (["1.npy"], ["1.png", "1.jpg"], ["row 0: image '1.png' matches 1.npy, and so does '1.jpg'", "row 1: image"]),
    ],
)
def test_a_box_without_a_certain_input_is_reported(
    inputs: list[str], names: list[str | None], messages: list[str]
) -> None:
    problems = Problems()
    boxes = [box(row, (0, 0, 1, 1), name) for row, name in enumerate(names)]
    groups = group_by_input(boxes, [Path(path) for path in inputs], problems)
    # Every box is pooled or reported.
    reported = sum(1 + int((re.search(r"\((\d+) more", problem) or [0, 0])[1]) for problem in found(problems))
    assert sum(map(len, groups.boxes.values())) + reported == len(names)
    assert not groups.missing
    assert len(problems) == len(messages)
    for problem, message in zip(found(problems), messages, strict=True):
        assert message in problem


def test_a_literal_name_comes_before_an_escaped_one() -> None:
    problems = Problems()
    boxes = [box(row, (0, 0, 1, 1), name) for row, name in enumerate(["a%20b.png", "a b.png", "100%.png"])]
    groups = group_by_input(boxes, [Path("a b.png"), Path("100%.png")], problems)
    assert groups.boxes == {Path("a b.png"): [boxes[1]], Path("100%.png"): [boxes[2]]}
    assert groups.missing == [boxes[0]]
    assert not problems


def test_two_spellings_of_a_path_name_one_image() -> None:
    problems = Problems()
    names = ["x/1.png", "./x/1.png", "x//1.png", "x\\1.png"]
    boxes = [box(row, (0, 0, 1, 1), name) for row, name in enumerate(names)]
    path = Path("photos/x/1.png")
    assert group_by_input(boxes, [path], problems) == ({path: boxes}, [])
    assert not problems
    assert len(group_by_input([*boxes, box(4, (0, 0, 1, 1), "/x/1.png")], [path], problems).boxes[path]) == 0
    assert "and so does '/x/1.png'" in found(problems)[0]


#: A name as most systems write it, and as macOS does.
ONE, OTHER = (unicodedata.normalize(form, "Grüße") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    ("inputs", "name", "expected"),
    [
        ([f"x/{OTHER}.png"], f"{ONE}.png", f"x/{OTHER}.png"),
        ([f"x/{ONE}.png"], f"{OTHER}.png", f"x/{ONE}.png"),
        ([f"{OTHER}/1.png", "x/1.png"], f"{ONE}/1.png", f"{OTHER}/1.png"),
        ([f"{OTHER}.npy"], f"{ONE}.jpg", f"{OTHER}.npy"),
        ([f"{ONE}.png", f"{OTHER}.png"], f"{OTHER}.png", f"{OTHER}.png"),
        ([f"{ONE}.npy", f"{OTHER}.npy"], f"{ONE}.png", f"{ONE}.npy"),
        ([f"{ONE}/1.png", f"{OTHER}/1.png"], f"{OTHER}/1.png", f"{OTHER}/1.png"),
    ],
)
def test_names_are_the_same_in_every_unicode_form(inputs: list[str], name: str, expected: str) -> None:
    problems = Problems()
    groups = group_by_input([box(0, (0, 0, 1, 1), name)], [Path(path) for path in inputs], problems)
    assert (found(problems), groups.missing) == ([], [])
    assert [path for path, boxes in groups.boxes.items() if boxes] == [Path(expected)]


def test_one_image_may_be_named_in_two_unicode_forms() -> None:
    boxes = [box(row, (0, 0, 1, 1), f"{name}.png") for row, name in enumerate((ONE, OTHER, ONE))]
    for name in (ONE, OTHER):
        path = Path(f"{name}.png")
        assert group_by_input(boxes, [path], Problems()) == ({path: boxes}, [])
    one, other = Path(f"{ONE}.png"), Path(f"{OTHER}.png")
    assert group_by_input(boxes, [one, other], Problems()).boxes == {one: boxes[::2], other: boxes[1:2]}
    assert group_by_input(boxes, [Path("a.png")], Problems()).missing == boxes


@pytest.mark.parametrize(
    ("inputs", "name", "likely"),
    [
        (["x/a.png"], "A.PNG", "x/a.png"),
        (["a.npy"], "A.jpg", "a.npy"),
        (["a.npy", "a.png"], "y/A.PNG", "a.png"),
        ([f"{OTHER}.png"], f"{ONE.upper()}.PNG", f"{OTHER}.png"),
        (["b.png"], "A.PNG", None),
        (["b.png"], "", None),
    ],
)
def test_an_input_may_have_been_meant(inputs: list[str], name: str, likely: str | None) -> None:
    groups = group_by_input([box(0, (0, 0, 1, 1), name)], [Path(path) for path in inputs], Problems())
    assert len(groups.missing) == 1
    assert likely_input(name, groups) == (None if likely is None else Path(likely))


def test_an_input_with_boxes_was_not_meant() -> None:
    boxes = [box(row, (0, 0, 1, 1), name) for row, name in enumerate(("a.png", "A.PNG"))]
    groups = group_by_input(boxes, [Path("a.png")], Problems())
    assert groups.missing == boxes[1:]
    assert likely_input("A.PNG", groups) is None


def test_bare_boxes_belong_to_the_only_input() -> None:
    boxes = [box(0, (0, 0, 1, 1)), box(1, (0, 0, 2, 2))]
    assert group_by_input(boxes, [Path("a.png")], Problems()) == ({Path("a.png"): boxes}, [])


@pytest.mark.parametrize(
    ("inputs", "names", "missing", "text"),
    [
        (["a.png"], ["c.png"], [0], "1 box belongs to 1 image that is not among the inputs"),
        (["a.png"], ["c.png", "a.png", "c.png"], [0, 2], "2 boxes belong to 1 image that is not among the inputs"),
        (["a.png"], ["c.png", "d.png"], [0, 1], "2 boxes belong to 2 images that are not among the inputs"),
        (["a.png"], [""], [0], "1 box belongs to 1 image that is not among the inputs"),
        # Two images of a box file never share an input.
        (["x/1.png"], ["x/1.png", "y/1.png"], [1], "1 box belongs to 1 image that is not among the inputs"),
    ],
)
def test_boxes_of_images_that_were_not_given_are_counted(
    inputs: list[str], names: list[str], missing: list[int], text: str
) -> None:
    problems = Problems()
    boxes = [box(row, (0, 0, 1, 1), name) for row, name in enumerate(names)]
    groups = group_by_input(boxes, [Path(path) for path in inputs], problems)
    assert not problems
    assert [one.row for one in groups.missing] == missing
    assert missing_text(groups.missing) == text


def test_boxes_of_one_image_that_were_made_on_another_size_are_reported() -> None:
    """Only the first size is compared with the image."""
    sizes = [None, (200, 120), (100, 60), (200, 120), (100, 60), (120, 200)]
    boxes = [replace(box(row, (0, 0, 1, 1), "a.png"), image_size=size) for row, size in enumerate(sizes)]
    problems = Problems()
    groups = group_by_input(boxes, [Path("a.png")], problems)
    assert [one.row for one in groups.boxes[Path("a.png")]] == [0, 1, 3]
    expected = "image 'a.png': expected 200x120 pixels, as in boxes.csv, row 1"
    assert found(problems) == [
        f"boxes.csv, row 2: {expected}, got 100x60; were the boxes made on a resized image? (1 more row: 4)",
        f"boxes.csv, row 5: {expected}, got 120x200; were the boxes made on a resized image?",
    ]
