"""Matching the rows of a box file to inputs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from roialign.extract.matching import group_by_input, missing_text
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
    ],
)
def test_a_box_finds_its_input_by_file_name(inputs: list[str], name: str, expected: str) -> None:
    problems = Problems()
    groups = group_by_input([box(0, (0, 0, 1, 1), name)], [Path(path) for path in inputs], problems)
    assert not problems
    assert not groups.missing
    assert [str(path) for path, boxes in groups.boxes.items() if boxes] == [str(Path(expected))]


@pytest.mark.parametrize(
    ("inputs", "names", "messages"),
    [
        (["x/1.png", "y/1.png"], ["1.png"], ["row 0: image '1.png' matches each of x/1.png, y/1.png; give more"]),
        (["x/1.png", "y/1.png"], ["z/1.png"], ["row 0: image 'z/1.png' matches each of x/1.png, y/1.png; give more"]),
        (["x/1.png", "y/1.png"], ["1.png"] * 3, ["y/1.png; give more of its path (2 more rows: 1, 2)"]),
        (["a.png", "b.png"], [None], ["row 0: a box without an image needs exactly one input, got 2; give the"]),
        (["a.png", "b.png"], [None] * 2, ["with --columns image=NAME (1 more row: 1)"]),
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


def test_two_spellings_of_a_path_name_one_image() -> None:
    problems = Problems()
    names = ["x/1.png", "./x/1.png", "x//1.png", "x\\1.png"]
    boxes = [box(row, (0, 0, 1, 1), name) for row, name in enumerate(names)]
    path = Path("photos/x/1.png")
    assert group_by_input(boxes, [path], problems) == ({path: boxes}, [])
    assert not problems
    assert len(group_by_input([*boxes, box(4, (0, 0, 1, 1), "/x/1.png")], [path], problems).boxes[path]) == 0
    assert "and so does '/x/1.png'" in found(problems)[0]


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
