"""The levels of boxes by the documented formula, although they are found by comparing areas."""

from __future__ import annotations

import math

import numpy as np
import pytest

import roialign

RNG = np.random.default_rng(7)


def _by_formula(box: tuple[float, ...], scales: list[float], size: float, level: float) -> int:
    x1, y1, x2, y2 = box
    area = max((x2 - x1) * (y2 - y1), 0.0)
    target = math.floor(level + math.log2(math.sqrt(area) / size) + 1e-6) if area > 0 else -math.inf
    return max(sum(target >= round(-math.log2(scale)) for scale in scales) - 1, 0)


@pytest.mark.parametrize("scales", [[1 / 4, 1 / 8, 1 / 16, 1 / 32], [1.0], [2.0, 1 / 3, 1 / 50], [1 / 8, 1 / 8.5]])
@pytest.mark.parametrize(("size", "level"), [(224, 4), (1e-3, -7.25), (3e5, 12), (56, 2.5)])
def test_random_boxes(scales: list[float], size: float, level: float) -> None:
    corners = RNG.normal(size=(500, 2)) * 100
    sides = size * 2.0 ** (RNG.uniform(-6, 6, (500, 2)) - level + 3)
    boxes = np.column_stack([corners, corners + sides])
    right = [_by_formula(tuple(box), scales, size, level) for box in boxes.tolist()]
    assert roialign.fpn_levels(boxes, scales, canonical_size=size, canonical_level=level).tolist() == right


def test_boxes_at_the_border_between_levels() -> None:
    """A side of a power of two times the canonical size is on the coarser level, as is one that is 6e-7 shorter."""
    scales = [1 / 4, 1 / 8, 1 / 16, 1 / 32]
    for side, level in (
        (112.0, 1),
        (112.0 * (1 - 6e-7), 1),
        (112.0 * (1 - 8e-7), 0),
        (224.0, 2),
        (447.9, 2),
        (448.0, 3),
    ):
        box = np.array([[10.0, 20.0, 10.0 + side, 20.0 + side]])
        assert roialign.fpn_levels(box, scales).tolist() == [level]
        assert _by_formula(tuple(box[0]), scales, 224, 4) == level


def test_extreme_parameters() -> None:
    """Boxes without area are on the finest level, and those of infinite canonical area too."""
    boxes = np.array([[0.0, 0.0, 0.0, 9.0], [5.0, 5.0, 1.0, 9.0], [0.0, 0.0, 1e-3, 1e-3], [0.0, 0.0, 1e99, 1e99]])
    scales = [1 / 4, 1 / 8]
    assert roialign.fpn_levels(boxes, scales, canonical_level=10**6).tolist() == [0, 0, 1, 1]
    assert roialign.fpn_levels(boxes, scales, canonical_level=-(10**6)).tolist() == [0, 0, 0, 0]


def test_errors_of_numpy_for_floats() -> None:
    """They are the caller's choice, and are not raised for areas that are compared with those of the boxes."""
    box, scales = np.array([[0.0, 0.0, 100.0, 100.0]]), [1 / 4, 1 / 8]
    with np.errstate(all="raise"):
        assert roialign.fpn_levels(box, scales).tolist() == [0]
        assert roialign.fpn_levels(box, scales, canonical_level=10**6).tolist() == [1]
        assert roialign.fpn_levels(box, scales, canonical_level=-(10**6)).tolist() == [0]
