"""What a detector does differently for rotated boxes: clipping, matching, suppression, scaling, and bad targets."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from roialign.detection import (
    DetectorSettings,
    ProposalSettings,
    PyramidBackbone,
    TwoStageDetector,
    build_detector,
    oriented_rcnn,
)
from roialign.detection.box_kinds import ROTATED, UPRIGHT
from roialign.detection.matching import BACKGROUND, match
from roialign.detection.rotated_boxes import hulls, to_convention
from roialign.detection.rpn import Anchors, RegionProposals
from roialign.detection.transform import Transform
from tests.detection.detectors import SETTINGS

#: Two arms of a cross, with the same hull, and the first one moved along its length.
ARMS = torch.tensor([[50.0, 50, 60, 6, math.pi / 4], [50.0, 50, 60, 6, -math.pi / 4], [54.0, 54, 60, 6, math.pi / 4]])


def _small(**more: Any) -> TwoStageDetector:
    torch.manual_seed(0)
    options: dict[str, Any] = {"backbone": PyramidBackbone(18, width=4, out_channels=8), "hidden": 16, "min_size": 96}
    return oriented_rcnn(4, **{**options, **more})


def test_a_rotated_box_is_bounded_by_its_image() -> None:
    boxes = torch.tensor([[-5.0, 300, 900, 20, 0.5], [50.0, 60, 200, 190, -1.5], [30.0, 20, 10, 5, 0.1]])
    expected = [[0.0, 80, 180, 20, 0.5], [50.0, 60, 180, 180, -1.5], [30.0, 20, 10, 5, 0.1]]
    torch.testing.assert_close(ROTATED.clip(boxes, (80, 100)), torch.tensor(expected))
    assert ROTATED.clip(boxes.expand(2, 3, 5), (80, 100)).shape == (2, 3, 5)


def test_a_box_that_is_not_finite_is_not_large_enough() -> None:
    boxes = ARMS[:1].repeat(6, 1)
    for row, column in enumerate(range(5), start=1):
        boxes[row, column] = math.nan
    assert ROTATED.large_enough(boxes, 6.0).tolist() == [True] + [False] * 5
    assert ROTATED.large_enough(ARMS, 6.5).tolist() == [False] * 3
    boxes = torch.tensor([[0.0, 0, 4, 5], [math.nan, 0, 4, 5]])
    assert UPRIGHT.large_enough(boxes, 4.0).tolist() == [True, False]


def test_the_arms_of_a_cross_are_different_objects() -> None:
    """Their hulls are equal: only the overlap of the rotated boxes tells them apart."""
    assert match(ARMS[:1], ARMS, 0.5, 0.5, overlaps_of=ROTATED.overlaps).tolist() == [0, BACKGROUND, 0]
    assert match(hulls(ARMS[:1]), hulls(ARMS), 0.5, 0.5).tolist() == [0, 0, 0]
    heads = _small(roi_settings=None).roi_heads
    scores = torch.tensor([[0.1, 0.7, 0.0, 0.2], [0.1, 0.8, 0.0, 0.1], [0.1, 0.9, 0.0, 0.0]])
    found, exists = heads.best_of(ARMS[:, None], scores)
    rows = [ARMS[2], ARMS[1], ARMS[0], ARMS[1]]  # of label 1, then of label 3, which is not suppressed by label 1
    torch.testing.assert_close(found["rotated_boxes"][exists], torch.stack(rows))
    assert found["labels"][exists].tolist() == [1, 1, 3, 3]
    torch.testing.assert_close(found["boxes"], hulls(found["rotated_boxes"]))


@pytest.mark.parametrize("strength", [0.01, 1.0, 1e3, math.nan])
def test_proposals_are_rotated_boxes_bounded_by_the_image(strength: float) -> None:
    """Also those of a head that has gone wild, whose boxes have no area or no numbers."""
    settings = ProposalSettings(before_nms=(100, 100), after_nms=(60, 60), nms_threshold=0.8)
    rpn = _small(proposal_settings=settings).rpn.eval()
    with torch.no_grad():
        rpn.head.bbox_pred.weight.normal_().mul_(strength)
    maps = [torch.rand(2, 8, 64 // stride, 96 // stride) for stride in (4, 8, 16, 32)]
    maps.append(torch.rand(2, 8, 1, 2))
    sizes = [(64, 96), (50, 80)]
    proposals, losses = rpn(maps, (64, 96), sizes)
    assert losses == {}
    for boxes, (height, width) in zip(proposals, sizes, strict=True):
        assert boxes.shape[1:] == (5,)
        assert len(boxes) <= 60
        assert (len(boxes) > 5) == (not math.isnan(strength))
        assert boxes.isfinite().all()
        assert ((boxes[:, :2] >= 0) & (boxes[:, :2] <= torch.tensor([width, height]))).all()
        assert ((boxes[:, 2:4] >= 1e-3) & (boxes[:, 2:4] <= height + width)).all()
        torch.testing.assert_close(to_convention(boxes), boxes)


def test_proposals_learn_and_suppress_each_other_by_their_hulls() -> None:
    """As an upright network does with the hulls as its boxes."""
    rotated = _small().rpn
    anchors = Anchors([[stride * 8] for stride in (4, 8, 16, 32, 64)])
    upright = RegionProposals(8, anchors, rotated.settings)
    upright.head.conv.load_state_dict(rotated.head.conv.state_dict())
    upright.head.cls_logits.load_state_dict(rotated.head.cls_logits.state_dict())
    maps = [torch.rand(1, 8, max(96 // stride, 2), max(96 // stride, 2)) for stride in (4, 8, 16, 32, 64)]
    losses = [
        rpn(maps, (96, 96), [(96, 96)], [truth], [torch.Generator().manual_seed(0)])[1]["loss_objectness"]
        for rpn, truth in ((rotated, ARMS), (upright, hulls(ARMS)))
    ]
    assert torch.equal(*losses)
    both = hulls(ARMS[:2])
    offsets = rotated.coder.encode(ARMS[:2], both)
    boxes, exists = rotated.best_of(0, [torch.tensor([[1.0, 2.0]])], [offsets[None]], [both], (96, 96))
    torch.testing.assert_close(boxes[exists], ARMS[1:2])


def test_rotated_boxes_are_scaled_with_their_image_and_come_back() -> None:
    transform = Transform(64, 100)
    target = {"boxes": hulls(ARMS), "rotated_boxes": ARMS, "labels": torch.ones(3, dtype=torch.int64)}
    moved = transform.target(target, (100, 120), (50, 60))
    torch.testing.assert_close(moved["rotated_boxes"], ARMS * torch.tensor([0.5, 0.5, 0.5, 0.5, 1]))
    torch.testing.assert_close(moved["boxes"], hulls(ARMS) / 2)
    found = transform.restore({**moved, "scores": torch.ones(3)}, (100, 120), (50, 60))
    torch.testing.assert_close(found["rotated_boxes"], ARMS)
    torch.testing.assert_close(found["boxes"], hulls(ARMS))
    uneven = transform.restore(dict(moved), (100, 121), (50, 60))  # a side is rounded to whole pixels
    torch.testing.assert_close(uneven["boxes"], hulls(uneven["rotated_boxes"]))


WRONG: dict[str, tuple[dict[str, Tensor], str]] = {
    "no rotated boxes": (
        {"boxes": torch.ones(1, 4)},
        r"targets\[0\]: expected rotated_boxes \[L, 5\] and labels \[L\], got boxes, labels",
    ),
    "four numbers": (
        {"rotated_boxes": torch.ones(1, 4)},
        r"expected rotated_boxes \[L, 5\] and labels \[L\], got \(1, 4\)",
    ),
    "no height": (
        {"rotated_boxes": torch.tensor([[1.0, 1, 5, 0, 0]])},
        r"rotated_boxes: row 0: expected finite \(centre x, centre y, width > 0, height > 0, angle\), got",
    ),
    "no side beside the centre": (
        {"rotated_boxes": torch.tensor([[32.0, 32, 1e-12, 1e-12, 0.3]])},
        "rotated_boxes: row 0: expected finite",
    ),
    "angle": ({"rotated_boxes": torch.tensor([[1.0, 1, 5, 4, math.nan]])}, "rotated_boxes: row 0: expected finite"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_bad_target_is_named(case: str) -> None:
    target, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        _small()([torch.rand(3, 96, 80)], [{**target, "labels": torch.tensor([1])}])


def test_rotated_boxes_have_no_masks() -> None:
    with pytest.raises(ValueError, match="masks: expected False for a detector of rotated boxes, got True"):
        build_detector(2, rotated=True, masks=True)


def test_the_defaults_of_rotated_boxes() -> None:
    settings = DetectorSettings.of({**SETTINGS.to_dict(), "model": "oriented-rcnn", "pooler": "", "regions": {}})
    assert settings.pooler == "rotated"
    model = settings.build()
    assert (model.rpn.settings.nms_threshold, model.roi_heads.settings.nms_threshold) == (0.8, 0.1)
    assert model.roi_heads.settings.detections == 2000
    assert model.rpn.settings.before_nms == SETTINGS.proposals["before_nms"]
    own = DetectorSettings.of({**settings.to_dict(), "regions": {"nms_threshold": 0.5}}).build()
    assert own.roi_heads.settings.nms_threshold == 0.5
    with torch.device("meta"):
        full = oriented_rcnn(2)
    assert full.rpn.settings == ProposalSettings((2000, 2000), (2000, 2000), nms_threshold=0.8)
    upright = DetectorSettings.of({**SETTINGS.to_dict(), "pooler": ""})
    assert upright.pooler == "exact"
    assert upright.build().rpn.settings.nms_threshold == 0.7
