"""mmcv's and detectron2's overlaps and suppression of rotated boxes: their conventions and results."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import roialign
from roialign.compat import detectron2, mmcv
from tests.tables.turned_pairs import random_boxes

BOXES, OTHERS = (torch.from_numpy(random_boxes(30, seed)).float() for seed in (0, 1))
SCORES, LABELS = torch.rand(30, generator=torch.Generator().manual_seed(0)), torch.arange(30) % 3


def in_degrees(boxes: Tensor) -> Tensor:
    return torch.cat([boxes[:, :4], torch.rad2deg(boxes[:, 4:])], dim=1)


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("clockwise", [False, True])
def test_mmcv_overlaps(aligned: bool, clockwise: bool) -> None:
    expected = roialign.rotated_iou(BOXES, OTHERS, paired=aligned, clockwise=clockwise)
    assert torch.equal(mmcv.box_iou_rotated(BOXES, OTHERS, "iou", aligned, clockwise), expected)


@pytest.mark.parametrize("aligned", [False, True])
def test_mmcv_intersection_over_foreground(aligned: bool) -> None:
    first, second = BOXES.double(), OTHERS.double()
    overlaps = roialign.rotated_iou(first, second, paired=aligned, clockwise=True)
    area, other = first[:, 2] * first[:, 3], second[:, 2] * second[:, 3]
    area = area if aligned else area[:, None]
    shared = overlaps * (area + other) / (1 + overlaps)
    found = mmcv.box_iou_rotated(BOXES, OTHERS, mode="iof", aligned=aligned)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, (shared / area).float())


def test_mmcv_foreground_of_boxes_inside() -> None:
    inside = torch.tensor([[5.0, 5.0, 1e-3, 2e-3, 0.3], [5.0, 5.0, 0.0, 1.0, 0.3]])
    around = torch.tensor([[4.0, 6.0, 1e3, 2e3, -0.5]])
    assert mmcv.box_iou_rotated(inside, around, mode="iof").tolist() == [[1.0], [0.0]]


def test_the_direction_of_angles() -> None:
    """A long box that points down and to the right, where y points down: clockwise by 45 degrees."""
    small = torch.tensor([[30.0, 30.0, 2.0, 2.0, 0.0]])
    long = torch.tensor([[0.0, 0.0, 100.0, 4.0, math.pi / 4]])
    assert mmcv.box_iou_rotated(small, long, mode="iof").item() == 1
    assert mmcv.box_iou_rotated(small, long, clockwise=False).item() == 0
    assert detectron2.pairwise_iou_rotated(small, in_degrees(long)).item() == 0
    assert detectron2.pairwise_iou_rotated(small, -in_degrees(long) * torch.tensor([-1, -1, -1, -1, 1])).item() > 0
    assert mmcv.diff_iou_rotated_2d(small[None], long[None]).item() > 0


def test_mmcv_suppression() -> None:
    for labels, clockwise in ((None, True), (LABELS, True), (LABELS, False)):
        dets, kept = mmcv.nms_rotated(BOXES, SCORES, 0.1, labels, clockwise)
        expected = roialign.rotated_nms(BOXES, SCORES, 0.1, labels, clockwise=clockwise)
        assert kept is not None
        assert torch.equal(kept, expected)
        assert torch.equal(dets, torch.cat([BOXES[kept], SCORES[kept, None]], dim=1))
    empty = torch.zeros(0, 5)
    dets, kept = mmcv.nms_rotated(empty, torch.zeros(0), 0.1)
    assert dets is empty
    assert kept is None


def test_mmcv_differentiable_overlaps() -> None:
    boxes, others = BOXES.reshape(2, 15, 5).requires_grad_(), OTHERS.reshape(2, 15, 5)
    found = mmcv.diff_iou_rotated_2d(boxes, others)
    assert torch.equal(found, roialign.rotated_iou(BOXES, OTHERS, paired=True, clockwise=True).reshape(2, 15))
    found.sum().backward()
    assert boxes.grad is not None
    assert (boxes.grad != 0).any()


def test_detectron2_overlaps() -> None:
    boxes, others = in_degrees(BOXES), in_degrees(OTHERS)
    expected = roialign.rotated_iou(BOXES, OTHERS)
    found = detectron2.pairwise_iou_rotated(boxes, others)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    leaf = boxes.clone().requires_grad_()
    detectron2.pairwise_iou_rotated(leaf, others).sum().backward()
    assert leaf.grad is not None
    grads = roialign.rotated_iou_backward(torch.ones(30, 30), BOXES, OTHERS, need=("boxes",))[0]
    assert grads is not None
    per_degree = grads * torch.tensor([1, 1, 1, 1, math.pi / 180])
    torch.testing.assert_close(leaf.grad, per_degree, rtol=1e-3, atol=1e-3)


def test_a_quarter_turn_in_degrees_is_one() -> None:
    turned = torch.tensor([[3.0, 3.0, 4.0, 2.0, angle] for angle in (0.0, 90.0, 180.0, -270.0)])
    overlaps = detectron2.pairwise_iou_rotated(turned, turned)
    assert overlaps[0].tolist() == [1.0, pytest.approx(1 / 3), 1.0, pytest.approx(1 / 3)]
    assert overlaps[1, 3] == 1


def test_detectron2_suppression() -> None:
    boxes = in_degrees(BOXES)
    assert torch.equal(detectron2.nms_rotated(boxes, SCORES, 0.1), roialign.rotated_nms(BOXES, SCORES, 0.1))
    batched = detectron2.batched_nms_rotated(boxes, SCORES, LABELS, 0.1)
    assert torch.equal(batched, roialign.rotated_nms(BOXES, SCORES, 0.1, LABELS))
    assert len(batched) > len(detectron2.nms_rotated(boxes, SCORES, 0.1))
    assert detectron2.batched_nms_rotated(boxes[:0], SCORES[:0], LABELS[:0], 0.1).tolist() == []


ASSERTED: dict[str, Callable[[], Any]] = {
    "mmcv: mode": lambda: mmcv.box_iou_rotated(BOXES, OTHERS, mode="giou"),  # type: ignore[arg-type]
    "mmcv: rows of 4": lambda: mmcv.box_iou_rotated(BOXES, OTHERS[:, :4]),
    "mmcv: not boxes": lambda: mmcv.box_iou_rotated("boxes", OTHERS, mode="iof"),  # type: ignore[arg-type]
    "mmcv: shapes": lambda: mmcv.diff_iou_rotated_2d(BOXES[None], OTHERS[None, :3]),
    "mmcv: dimensions": lambda: mmcv.diff_iou_rotated_2d(BOXES, OTHERS),
    "detectron2: rows of 4": lambda: detectron2.batched_nms_rotated(BOXES[:, :4], SCORES, LABELS, 0.1),
    "detectron2: not boxes": lambda: detectron2.pairwise_iou_rotated(BOXES, None),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", ASSERTED)
def test_errors_where_the_other_package_asserts(name: str) -> None:
    with pytest.raises(AssertionError) as caught:
        ASSERTED[name]()
    assert isinstance(caught.value, (ValueError, TypeError))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_detectron2_angles_of_half_boxes_are_not_rounded_in_radians(dtype: torch.dtype) -> None:
    """135 degrees is a number of both types, but 2.36 radians has a neighbour at a distance of a corner's pixel."""
    features = torch.rand(1, 2, 200, 200, generator=torch.Generator().manual_seed(0))
    rows = torch.tensor([[0, 100.0, 100.0, 160.0, 40.0, 135.0]])
    expected = detectron2.ROIAlignRotated(7, 1.0, 2)(features, rows)
    assert torch.equal(detectron2.ROIAlignRotated(7, 1.0, 2)(features, rows.to(dtype)), expected)
    pooler = detectron2.ROIPooler(7, [1.0], 2, "ROIAlignRotated")
    assert torch.equal(pooler([features], [rows[:, 1:].to(dtype)]), expected)
