"""Boxes that look wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from roialign.files.doubts import Doubts, kind_of
from roialign.files.problems import Problems
from tests.files.boxes import box


def test_boxes_that_look_wrong_are_counted_by_kind() -> None:
    doubts = Doubts()
    rows = [
        *[(0, 0, 50, 40), (-5, -5, 1, 1), (49, 39, 90, 90), (3, 3, 3, 3)],  # in order: one is an edge, one a point
        *[(30, 10, 5, 20), (5, 20, 30, 10)],
        *[(50, 0, 60, 10), (0, 40, 10, 50), (-9, 0, 0, 9), (0, -9, 9, 0)],
        *[(0.1, 0.2, 0.5, 1.0)],
    ]
    doubts.look([box(row, tuple(map(float, corners))) for row, corners in enumerate(rows)], 50.0, 40.0)  # type: ignore[arg-type]
    problems = Problems()
    doubts.remark_in(problems)
    assert not problems
    inverted, outside, relative = map(str, problems.remarks)
    assert inverted.startswith(
        "boxes.csv, row 4: 2 boxes have x2 < x1 or y2 < y1; the first is (30, 10, 5, 20): are its"
    )
    assert outside.startswith("boxes.csv, row 6: 4 boxes do not touch their inputs; the first is (50, 0, 60, 10): is")
    assert relative.startswith(
        "boxes.csv, row 10: 1 box lies within one pixel; the first is (0.1, 0.2, 0.5, 1): are its"
    )


@pytest.mark.parametrize(
    ("corners", "kind"),
    [
        ((0.0, 0.0, 1.0000001, 1.0000001), "relative"),
        ((-1e-7, 0.25, 0.5, 1.0005), "relative"),
        ((0.0, 0.0, 1.5, 1.0), None),
        ((-0.5, 0.0, 0.5, 1.0), None),
    ],
)
def test_a_relative_box_may_be_rounded(corners: tuple[float, float, float, float], kind: str | None) -> None:
    assert kind_of(box(0, corners), 50.0, 40.0) == kind


def test_images_of_another_size_than_a_table_says_are_noted() -> None:
    boxes = [replace(box(row, (1.0, 2.0, 9.0, 8.0)), stated_size=(50, 40)) for row in range(3)]
    first, second = Doubts(), Doubts()
    first.look(boxes[2:], 50.0, 41.0)
    second.look(boxes[1:2], 25.0, 20.0)
    second.look(boxes[:1], 40.0, 50.0)
    first.look(boxes[:1], 64.0, 48.0, rounding=16.0)
    first.add(second)
    problems = Problems()
    first.remark_in(problems)
    (remark,) = map(str, problems.remarks)
    assert remark == (
        "boxes.csv, row 0: 2 boxes belong to images of another size than their columns width and height say; the first "
        "is (1, 2, 9, 8), expected 50x40 pixels, got 40x50: was the image resized after it was annotated?"
    )
