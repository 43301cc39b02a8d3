"""Non-maximum suppression of rotated boxes as arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import roialign
from tests.tables.turned_pairs import Array, lattice_boxes, random_boxes


def greedy(boxes: Array, scores: Array, threshold: float, groups: Array) -> list[int]:
    """By definition, from the matrix of all overlaps."""
    beats = roialign.rotated_iou(boxes, boxes) > threshold
    beats &= groups[:, None] == groups
    kept: list[int] = []
    for index in sorted(range(len(boxes)), key=lambda index: (-scores[index], index)):
        if not beats[kept, index].any():
            kept.append(index)
    return kept


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("count", [1, 63, 64, 65, 700])
def test_it_is_greedy(count: int, threshold: float) -> None:
    rng = np.random.default_rng(count)
    boxes, groups = random_boxes(count, count, 0.5, 2.0, extent=8.0), rng.integers(-2, 2, count)
    for scores in (rng.standard_normal(count), rng.integers(0, 4, count)):  # with ties
        expected = greedy(boxes, scores, threshold, groups)
        assert roialign.rotated_nms(boxes, scores, threshold, groups).tolist() == expected
        alone = greedy(boxes, scores, threshold, np.zeros(count))
        assert roialign.rotated_nms(boxes, scores, threshold).tolist() == alone


def test_many_boxes_are_compared_in_several_tasks() -> None:
    boxes = random_boxes(3000, 3, 0.5, 2.0, extent=25.0)
    scores = np.random.default_rng(0).standard_normal(3000)
    kept = roialign.rotated_nms(boxes, scores, 0.2)
    assert kept.tolist() == greedy(boxes, scores, 0.2, np.zeros(3000))
    assert 500 < len(kept) < 2900


@pytest.mark.parametrize("count", [2, 5])
@pytest.mark.usefixtures("threads")
def test_threads_do_not_change_it(count: int) -> None:
    boxes = random_boxes(3000, 3, 0.5, 2.0, extent=25.0)
    scores = np.random.default_rng(1).integers(0, 9, 3000)
    roialign.set_num_threads(1)
    expected = roialign.rotated_nms(boxes, scores, 0.2)
    roialign.set_num_threads(count)
    assert roialign.rotated_nms(boxes, scores, 0.2).tolist() == expected.tolist()


def test_boxes_that_touch_are_kept(backend_name: str) -> None:
    boxes = lattice_boxes(60, 2)
    boxes[:, 2:4] = 1
    scores = np.arange(60)[::-1]
    kept = roialign.rotated_nms(boxes, scores, 0.0, backend=backend_name)  # type: ignore[arg-type]
    assert kept.tolist() == np.sort(np.unique(boxes[:, :2], axis=0, return_index=True)[1]).tolist()


def test_the_reference(backend_name: str) -> None:
    boxes, scores = random_boxes(60, 1), np.random.default_rng(1).integers(0, 9, 60)
    groups = np.random.default_rng(2).integers(0, 3, 60).astype(np.int8)
    kept = roialign.rotated_nms(boxes, scores, 0.2, groups, clockwise=True, backend=backend_name)  # type: ignore[arg-type]
    assert kept.tolist() == greedy(boxes * [1, 1, 1, 1, -1], scores, 0.2, groups)


def test_infinite_scores_have_an_order() -> None:
    boxes = np.tile([[1.0, 1.0, 2.0, 2.0, 0.0]], (3, 1))
    assert roialign.rotated_nms(boxes, np.array([-math.inf, 0.0, math.inf]), 0.5).tolist() == [2]


def test_no_boxes() -> None:
    kept = roialign.rotated_nms(np.zeros((0, 5)), np.zeros(0), 0.5)
    assert kept.dtype == np.int64
    assert kept.shape == (0,)


BOXES, SCORES = random_boxes(4, 0), np.arange(4.0)
ERRORS: list[tuple[str, tuple[Any, ...], str]] = [
    ("box", (np.where(BOXES[2, 2] == BOXES, -1, BOXES), SCORES, 0.5), r"boxes\[2\]: expected a width and a height"),
    ("nan", (BOXES, np.array([0, 1, math.nan, 2]), 0.5), r"scores\[2\]: expected a number, got nan"),
    ("scores", (BOXES, SCORES[:3], 0.5), r"scores: expected shape \[4\], one per row of boxes, got \(3,\)"),
    ("groups", (BOXES, SCORES, 0.5, np.zeros(3, int)), r"groups: expected shape \[4\], one per row of boxes"),
    ("float groups", (BOXES, SCORES, 0.5, SCORES), r"groups: expected an integer dtype, got float64"),
    ("threshold", (BOXES, SCORES, 50), r"threshold: expected a number from 0 to 1, got 50"),
    ("no threshold", (BOXES, SCORES, "half"), r"threshold: expected a number, got 'half'"),
    ("columns", (BOXES[:, :4], SCORES, 0.5), r"boxes: expected shape \[L, 5\], got \(4, 4\)"),
]


@pytest.mark.parametrize(("arguments", "message"), [row[1:] for row in ERRORS], ids=[row[0] for row in ERRORS])
def test_errors(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        roialign.rotated_nms(*arguments)
