"""Overlaps of rotated boxes as standard ONNX operators."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import roialign
from tests.onnx.test_export import DYNAMIC, Exported, failing
from tests.tables.turned_pairs import lattice_boxes, random_boxes

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:onnxscript"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:copyreg"),
]


class Overlaps(nn.Module):
    def forward(self, boxes: Tensor, others: Tensor) -> Tensor:
        return roialign.rotated_iou(boxes, others, clockwise=True)


class Suppression(nn.Module):
    def forward(self, boxes: Tensor, scores: Tensor) -> Tensor:
        return roialign.rotated_nms(boxes, scores, 0.5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_overlaps_of_any_number_of_boxes(dtype: torch.dtype) -> None:
    def tensors(*arrays: Any) -> tuple[Tensor, ...]:
        return tuple(torch.from_numpy(array).to(dtype) for array in arrays)

    recorded = tensors(random_boxes(4, 0), random_boxes(6, 1))
    exported = Exported(Overlaps(), recorded, ({0: DYNAMIC}, {0: DYNAMIC}))
    assert exported.domains == {""}
    for given in (
        tensors(random_boxes(30, 2), random_boxes(20, 3)),
        tensors(lattice_boxes(30, 4), lattice_boxes(20, 5)),
    ):
        assert (Overlaps()(*given) > 0).any()
        exported.check(*given, tolerance=1e-13 if dtype == torch.float64 else 1e-7)


def test_suppression_says_what_to_do() -> None:
    arguments = torch.from_numpy(random_boxes(4, 0)), torch.rand(4)
    assert "rotated_nms: ONNX has no such operator; export the model" in failing(Suppression().eval(), arguments)
