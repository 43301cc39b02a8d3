"""On a CUDA device, by `pytest -m gpu`: overlaps and suppression of rotated boxes."""

from __future__ import annotations

import math

import pytest
import torch

import roialign
from tests.gpu.scenes import ON_GPU
from tests.tables.turned_pairs import lattice_boxes, random_boxes

pytestmark = ON_GPU

SETS = {
    "random": (random_boxes(300, 0, extent=20.0), random_boxes(4000, 1, extent=20.0)),
    "lattice": (lattice_boxes(300, 2), lattice_boxes(4000, 3)),
}


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("paired", [False, True])
def test_values_and_gradients(name: str, paired: bool) -> None:
    boxes, others = (torch.from_numpy(array) for array in SETS[name])
    others = others[:300] if paired else others
    expected = roialign.rotated_iou(boxes, others, paired=paired)
    weights = torch.rand(expected.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    wanted = roialign.rotated_iou_backward(weights, boxes, others, paired=paired)
    answers = []
    for _ in range(2):
        leaves = [tensor.cuda().requires_grad_() for tensor in (boxes, others)]
        found = roialign.rotated_iou(*leaves, paired=paired)
        (found * weights.cuda()).sum().backward()
        answers.append([found.detach(), *(leaf.grad for leaf in leaves)])
    torch.testing.assert_close(answers[0][0].cpu(), expected, rtol=0, atol=1e-12)
    for gradient, right in zip(answers[0][1:], wanted, strict=True):
        assert gradient is not None
        torch.testing.assert_close(gradient.cpu(), right, rtol=1e-9, atol=1e-9 * right.abs().max().item())
    assert all(torch.equal(*pair) for pair in zip(*answers, strict=True)), "the same bits every time"  # type: ignore[arg-type]


def test_invalid_boxes_are_zero() -> None:
    boxes, others = (torch.from_numpy(array[:50]).cuda() for array in SETS["random"])
    boxes[3, 2] = math.nan
    assert not roialign.rotated_iou(boxes, others)[3].any()
    with pytest.raises(ValueError, match=r"boxes\[3\]: expected finite numbers"):
        roialign.rotated_iou(boxes, others, invalid="raise")
    with pytest.raises(ValueError, match=r"backend: 'cpu' takes tensors on the CPU, and boxes is on cuda"):
        roialign.rotated_iou(boxes, others, backend="cpu")


def test_suppression() -> None:
    boxes = torch.from_numpy(SETS["random"][1])
    scores = torch.rand(len(boxes), generator=torch.Generator().manual_seed(1))
    groups = torch.arange(len(boxes)) % 3
    kept = roialign.rotated_nms(boxes.cuda(), scores.cuda(), 0.2, groups.cuda())
    assert kept.is_cuda
    assert torch.equal(kept.cpu(), roialign.rotated_nms(boxes, scores, 0.2, groups))
