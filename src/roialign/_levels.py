"""The level of each RoI, given or assigned by its size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from . import _validate
from ._typing import Array


class Assignment(NamedTuple):
    """The parameters of :func:`roialign.fpn_levels`, as given by the user."""

    canonical_size: float
    canonical_level: float


def levels_of(rows: Array, scales: Sequence[float], levels: Array | None, assignment: Assignment | None) -> Array:
    """Return the level of each row (image, x1, y1, x2, y2), int64 ``[K]``. Without an assignment there is one level.

    `levels` holds one integer per row, if the user gave them.
    """
    if levels is not None:
        return check_level_range(levels, len(scales))
    if assignment is None:
        return np.zeros(len(rows), dtype=np.int64)
    boxes = rows[:, 1:]
    if boxes.shape[1] == 5:  # the level of a rotated box depends on its sides, not on its angle
        boxes = np.column_stack([np.zeros((len(boxes), 2)), boxes[:, 2:4]])
    return assign_levels(boxes, scales, assignment)


def check_level_range(levels: Array, level_count: int) -> Array:
    """Check that the indices of levels are in range, and return them as int64."""
    wrong = (levels < 0) | (levels >= level_count)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"levels[{row}]: expected 0 <= level < {level_count}, got {levels[row]}")
    return levels.astype(np.int64)


def assign_levels(boxes: Array, scales: Sequence[float], assignment: Assignment) -> Array:
    """The rule of :func:`roialign.fpn_levels` for validated boxes ``[K, 4]`` and scales."""
    starts = smallest_areas(scales, check_assignment(scales, assignment))
    areas = np.maximum((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), 0.0)
    levels: Array = np.searchsorted(starts, areas, side="right")
    return levels.astype(np.int64, copy=False)


def smallest_areas(scales: Sequence[float], assignment: Assignment) -> Array:
    """The smallest area of a box on each level but the finest, in ascending order.

    A box of area A is on a level of stride ``2**t`` or a coarser one if
    ``canonical_level + log2(sqrt(A) / canonical_size) + 1e-6 >= t``. Here this is solved for A. No level but the finest
    has boxes without area.
    """
    size, level = assignment
    numbers = np.asarray(level_numbers(scales[1:]), dtype=np.float64)
    with np.errstate(over="ignore", under="ignore"):  # an area that no box has, or every box
        areas: Array = np.square(size * np.exp2(numbers - level - 1e-6))
    return np.maximum(areas, math.ulp(0.0))


def level_numbers(scales: Sequence[float]) -> list[int]:
    """The number of each level: the logarithm of its stride, base 2, rounded."""
    return [round(-math.log2(scale)) for scale in scales]


def check_assignment(scales: Sequence[float], assignment: Assignment) -> Assignment:
    """Check the parameters, and that boxes can be assigned to levels of these scales."""
    size = _validate.check_number(assignment.canonical_size, "canonical_size", positive=True)
    level = _validate.check_number(assignment.canonical_level, "canonical_level")
    check_order(scales)
    return Assignment(size, level)


def check_order(scales: Sequence[float]) -> None:
    """Check that the finest level is first, and that no two levels have the same scale."""
    if any(finer <= coarser for finer, coarser in pairwise(scales)):
        raise ValueError(f"spatial_scales: expected strictly decreasing scales, finest level first, got {list(scales)}")


def finite_boxes(boxes: Array, name: str = "rois") -> Array:
    """Return boxes ``[K, 4]`` as float64, after checking that all are finite."""
    wide = boxes.astype(np.float64)
    finite = (np.abs(wide) <= _validate.LARGEST_COORDINATE).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        raise ValueError(f"{name}[{row}]: expected finite coordinates, got {tuple(wide[row].tolist())}")
    return wide
