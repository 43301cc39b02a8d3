"""Offsets of rotated boxes: values worked out by hand, the formulas in plain Python, and boxes that come back."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from roialign.detection.rotated_boxes import corners, hulls, to_convention
from roialign.detection.rotated_coders import UPRIGHT_WITHIN, MidpointOffsetCoder, RotatedBoxCoder

QUARTER = math.pi / 2


def _random_boxes(count: int, seed: int, longest: float = 60) -> Tensor:
    """Rotated boxes with any angle, some of them upright, thin or square."""
    generator = torch.Generator().manual_seed(seed)
    centre, sides = (torch.rand(count, 2, dtype=torch.float64, generator=generator) for _ in range(2))
    angle = (torch.rand(count, 1, dtype=torch.float64, generator=generator) - 0.5) * 20
    angle[::7] = torch.arange(len(angle[::7]))[:, None] * QUARTER
    sides = sides * longest + 2
    sides[::5, 1] = 2
    sides[1::5] = sides[1::5, :1]
    return torch.cat([centre * 100, sides, angle], dim=1)


def _distance(boxes: Tensor, others: Tensor) -> Tensor:
    """The largest distance of a corner of each box to the nearest corner of the other one."""
    return (corners(boxes)[:, :, None] - corners(others)[:, None]).norm(dim=-1).amin(dim=2).amax(dim=1)


def _back(coder: Any, boxes: Tensor, references: Tensor) -> Tensor:
    decoded: Tensor = coder.decode(coder.encode(boxes, references)[:, None], references)[:, 0]
    return decoded


def test_the_offsets_of_a_stage_by_hand() -> None:
    """The reference stands upright: its width points up."""
    reference = torch.tensor([[10.0, 20.0, 8.0, 4.0, -QUARTER]])
    box = torch.tensor([[11.0, 12.0, 16.0, 2.0, 0.2 - QUARTER]])  # 8 up, which is along the width, and 1 to the right
    expected = torch.tensor([[10.0, 10.0 * 1 / 4, 5 * math.log(2), -5 * math.log(2), 2.0]])
    coder = RotatedBoxCoder()
    torch.testing.assert_close(coder.encode(box, reference), expected)
    exchanged = torch.tensor([[11.0, 12.0, 2.0, 16.0, 0.2]])  # the same rectangle
    torch.testing.assert_close(coder.encode(exchanged, reference), expected)
    torch.testing.assert_close(coder.decode(expected[:, None], reference)[:, 0], box)


def _plain_offsets(box: list[float], reference: list[float], weights: tuple[float, ...]) -> list[float]:
    """The formulas for one box: of its two forms, the one whose angle is closer."""
    x, y, width, height, angle = box
    from_x, from_y, from_width, from_height, from_angle = reference
    forms = []
    for one, other, turn in ((width, height, angle), (height, width, angle + QUARTER)):
        change = math.remainder(turn - from_angle, math.pi)
        forms.append((abs(change), math.log(one / from_width), math.log(other / from_height), change))
    _, wider, higher, change = min(forms)
    cosine, sine = math.cos(from_angle), math.sin(from_angle)
    right, down = x - from_x, y - from_y
    along, across = (right * cosine + down * sine) / from_width, (down * cosine - right * sine) / from_height
    return [value * weight for value, weight in zip((along, across, wider, higher, change), weights, strict=True)]


def test_the_offsets_of_a_stage_are_those_of_the_formulas_and_come_back() -> None:
    boxes, references = _random_boxes(200, 0), to_convention(_random_boxes(200, 1))
    weights = (1.0, 2.0, 3.0, 4.0, 5.0)
    coder = RotatedBoxCoder(weights)
    expected = [
        _plain_offsets(box, other, weights) for box, other in zip(boxes.tolist(), references.tolist(), strict=True)
    ]
    torch.testing.assert_close(coder.encode(boxes, references), torch.tensor(expected, dtype=torch.float64))
    decoded = _back(coder, boxes, references)
    assert _distance(decoded, boxes).max() < 1e-9
    torch.testing.assert_close(to_convention(decoded), decoded)


def test_the_midpoint_offsets_by_hand() -> None:
    # Sides of 10 along (0.8, 0.6), 5 along (-0.6, 0.8): the top corner is (-2.5, -5), the right one (5.5, 1).
    box = torch.tensor([[0.0, 0.0, 10.0, 5.0, math.atan2(0.6, 0.8)]], dtype=torch.float64)
    reference = torch.tensor([[-4.0, -5.0, 6.0, 15.0]], dtype=torch.float64)  # centre (1, 5), size 10 x 20
    expected = [[-0.1, -0.25, math.log(1.1), math.log(0.5), 2 * -2.5 / 11, 2 * 1 / 10]]
    coder = MidpointOffsetCoder()
    torch.testing.assert_close(coder.encode(box, reference), torch.tensor(expected, dtype=torch.float64))
    torch.testing.assert_close(_back(coder, box, reference), box)


def test_a_parallelogram_becomes_a_rectangle_with_its_longer_diagonal() -> None:
    reference = torch.tensor([[-4.0, -6.0, 4.0, 6.0]])
    offsets = torch.tensor([[[0.0, 0, 0, 0, 2 * 0.25, 0.0]]])  # corners at (2, -6) and (4, 0)
    decoded = MidpointOffsetCoder().decode(offsets, reference)[:, 0]
    half = math.hypot(2, 6)
    expected = torch.tensor([[[2.0, -6], [half, 0], [-2, 6], [-half, 0]]])
    assert (corners(decoded)[:, :, None] - expected[:, None]).norm(dim=-1).amin(dim=2).max() < 1e-5
    assert decoded[0, :2].tolist() == [0, 0]


def test_the_midpoint_offsets_are_those_of_the_corners_and_come_back() -> None:
    boxes, references = _random_boxes(300, 2), hulls(_random_boxes(300, 3))
    tilted = torch.remainder(boxes[:, 4], QUARTER)
    plain = (boxes[:, 2:4].amax(dim=1) * tilted.sin() > UPRIGHT_WITHIN) & (tilted < QUARTER - 1e-6)
    assert 200 < plain.sum() < 300
    points, hull = corners(boxes), hulls(boxes)
    size, centre = hull[:, 2:] - hull[:, :2], (hull[:, 2:] + hull[:, :2]) / 2
    rows = torch.arange(len(boxes))
    top = points[rows, points[..., 1].argmin(dim=1)] - centre
    right = points[rows, points[..., 0].argmax(dim=1)] - centre
    offsets = MidpointOffsetCoder((1.0,) * 6).encode(boxes, references)
    expected = torch.stack([top[:, 0] / size[:, 0], right[:, 1] / size[:, 1]], dim=1)
    torch.testing.assert_close(offsets[plain, 4:], expected[plain])
    far = _distance(_back(MidpointOffsetCoder(), boxes, references), boxes)
    assert far[plain].max() < 1e-9
    assert far.max() < UPRIGHT_WITHIN


@pytest.mark.parametrize("angle", [0.0, 1e-9, -1e-9, QUARTER, -QUARTER, QUARTER - 1e-9, math.pi])
def test_an_upright_box_has_the_same_offsets_whatever_the_rounding_of_its_angle(angle: float) -> None:
    box = torch.tensor([[50.0, 60.0, 40.0, 40.0, angle]], dtype=torch.float64)
    offsets = MidpointOffsetCoder().encode(box, torch.tensor([[30.0, 40.0, 70.0, 80.0]], dtype=torch.float64))
    torch.testing.assert_close(offsets, torch.tensor([[0.0, 0, 0, 0, 1, 1]], dtype=torch.float64))


def test_a_long_thin_box_that_is_hardly_turned_keeps_its_area() -> None:
    """Its right corners differ by less than the tolerance, its top corners by more."""
    box = torch.tensor([[0.0, 0.0, 100.0, 5.0, 0.01]], dtype=torch.float64)
    assert 5 * math.sin(0.01) < UPRIGHT_WITHIN < 100 * math.sin(0.01)
    decoded = _back(MidpointOffsetCoder(), box, torch.tensor([[-40.0, -4.0, 40.0, 4.0]], dtype=torch.float64))
    torch.testing.assert_close(decoded, box)


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e4])
@pytest.mark.parametrize("offset", [-1e4, 0.0, 1e4])
def test_any_offsets_give_finite_boxes(offset: float, size: float) -> None:
    upright, rotated = torch.tensor([[0.0, 0, size, size]]), torch.tensor([[0.0, 0, size, size, 0.3]])
    for coder, reference in ((MidpointOffsetCoder(), upright), (RotatedBoxCoder(), rotated)):
        boxes = coder.decode(torch.full((1, 1, coder.numbers), offset), reference)[0]
        assert boxes.isfinite().all(), coder
        assert (boxes[:, 2] >= boxes[:, 3]).all()
        assert (boxes[:, 4].abs() <= QUARTER).all()
