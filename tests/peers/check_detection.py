"""Detections beside torchvision's, of the same random weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchvision

from roialign.detection import ProposalSettings, RoISettings, faster_rcnn, mask_rcnn
from roialign.detection.boxes import fixed_point_nms

MODELS = {
    "faster": (torchvision.models.detection.fasterrcnn_resnet50_fpn, faster_rcnn),
    "mask": (torchvision.models.detection.maskrcnn_resnet50_fpn, mask_rcnn),
}
#: Of every number, in pixels and in probabilities.
TOLERANCE = 1e-4


def _randomised(model: torch.nn.Module) -> None:
    """Weights that spread scores and offsets: with the initial ones every proposal ties with every other."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if "cls_logits.weight" in name or "cls_score.weight" in name:
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.01)
        elif "bbox_pred.weight" in name:
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.005)


@pytest.mark.parametrize("name", MODELS)
def test_detections_are_those_of_torchvision(name: str) -> None:
    torch.manual_seed(0)
    theirs_of, ours_of = MODELS[name]
    sizes: dict[str, Any] = {"min_size": 256, "max_size": 400}
    theirs = theirs_of(weights=None, weights_backbone=None, num_classes=7, box_score_thresh=0.05, **sizes)
    _randomised(theirs)
    ours = ours_of(
        7,
        pooler="align-unshifted",
        proposal_settings=ProposalSettings(),
        roi_settings=RoISettings(score_threshold=0.05),
        **sizes,
    )
    ours.load_state_dict(theirs.state_dict())
    images = [torch.rand(3, 240, 300), torch.rand(3, 320, 200)]
    with torch.no_grad():
        expected, got = theirs.eval()(images), ours.eval()(images)
    for of_theirs, of_ours in zip(expected, got, strict=True):
        assert len(of_theirs["boxes"]) > 10
        assert of_theirs["scores"].std() > 1e-3  # not all the same
        assert sorted(of_theirs) == sorted(of_ours)
        assert torch.equal(of_ours["labels"], of_theirs["labels"])
        for what in of_theirs:
            torch.testing.assert_close(of_ours[what], of_theirs[what], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_suppression_without_torchvision_keeps_the_same_boxes(threshold: float) -> None:
    generator = torch.Generator().manual_seed(1)
    corners = torch.rand(2000, 2, generator=generator) * 400
    boxes = torch.cat([corners, corners + 5 + torch.rand(2000, 2, generator=generator) * 90], dim=1)
    scores = torch.rand(2000, generator=generator)
    kept = fixed_point_nms(boxes, scores, threshold)
    assert 100 < len(kept) < 1900
    assert torch.equal(kept, torchvision.ops.nms(boxes, scores, threshold))
