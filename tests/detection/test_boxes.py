"""Boxes: overlap, coder, suppression, matching and sampling, against plain loops and values worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from roialign.detection.boxes import BoxCoder, batched_nms, box_iou, clip_boxes, fixed_point_nms
from roialign.detection.matching import BACKGROUND, IGNORED, match, sample
from roialign.detection.rpn import Anchors, anchors_of


def _random_boxes(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, generator=generator) * 60
    return torch.cat([corners, corners + torch.rand(count, 2, generator=generator) * 40 + 1], dim=1)


def test_overlap_by_hand() -> None:
    boxes = torch.tensor([[0.0, 0, 2, 2], [1.0, 1, 3, 3], [5.0, 5, 5, 5]])
    expected = torch.tensor([[1, 1 / 7, 0], [1 / 7, 1, 0], [0, 0, 0]])
    torch.testing.assert_close(box_iou(boxes, boxes), expected)
    assert box_iou(boxes, boxes[:0]).shape == (3, 0)


def test_clipping() -> None:
    boxes = torch.tensor([[-3.0, -1, 50, 60]])
    assert clip_boxes(boxes, (20, 30)).tolist() == [[0, 0, 30, 20]]


def test_the_coder_by_hand_and_back() -> None:
    coder = BoxCoder((10.0, 10.0, 5.0, 5.0))
    reference, box = torch.tensor([[0.0, 0, 10, 20]]), torch.tensor([[5.0, 0, 25, 10]])
    offsets = coder.encode(box, reference)
    expected = torch.tensor([[10.0, -2.5, 5 * 0.6931472, -5 * 0.6931472]])
    torch.testing.assert_close(offsets, expected)
    torch.testing.assert_close(coder.decode(offsets[:, None], reference)[:, 0], box)
    huge = coder.decode(torch.full((1, 1, 4), 1e4), reference)
    assert huge.isfinite().all()


def _greedy(boxes: Tensor, scores: Tensor, threshold: float) -> list[int]:
    """The loop that the definition is."""
    kept: list[int] = []
    for index in scores.argsort(descending=True, stable=True).tolist():
        if all(box_iou(boxes[index, None], boxes[other, None]) <= threshold for other in kept):
            kept.append(index)
    return kept


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.7])
@pytest.mark.parametrize("seed", range(3))
def test_fixed_point_suppression_is_the_greedy_loop(
    threshold: float, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roialign.detection.boxes.ROWS_AT_ONCE", 16)
    boxes = _random_boxes(60, seed)
    scores = torch.rand(60, generator=torch.Generator().manual_seed(seed)).mul(10).round()  # with ties
    assert fixed_point_nms(boxes, scores, threshold).tolist() == _greedy(boxes, scores, threshold)


def test_suppression_of_half_boxes_is_that_of_their_numbers() -> None:
    """As torchvision's is under autocast: areas in bfloat16 would round to a percent."""
    generator = torch.Generator().manual_seed(0)
    boxes = torch.rand(400, 4, generator=generator) * 100
    boxes[:, 2:] += boxes[:, :2]
    boxes, scores = boxes.bfloat16(), torch.rand(400, generator=generator).bfloat16()
    assert fixed_point_nms(boxes, scores, 0.5).tolist() == fixed_point_nms(boxes.float(), scores.float(), 0.5).tolist()


def test_a_long_chain_of_suppression_alternates() -> None:
    start = torch.arange(40.0)
    boxes = torch.stack([start, torch.zeros(40), start + 3, torch.ones(40)], dim=1)  # overlap of neighbours: 1/2
    kept = fixed_point_nms(boxes, torch.arange(40.0, 0, -1), 0.4)
    assert kept.tolist() == list(range(0, 40, 2))


def test_groups_do_not_suppress_each_other() -> None:
    boxes, scores = _random_boxes(50, 3), torch.rand(50, generator=torch.Generator().manual_seed(9))
    groups = torch.arange(50) % 3
    kept = batched_nms(boxes, scores, groups, 0.3)
    expected = [
        members[index].item()
        for members in (torch.where(groups == group)[0] for group in range(3))
        for index in _greedy(boxes[members], scores[members], 0.3)
    ]
    assert sorted(kept.tolist()) == sorted(expected)
    assert (scores[kept].diff() <= 0).all()
    assert batched_nms(boxes[:0], scores[:0], groups[:0], 0.3).shape == (0,)


def test_matching_by_hand() -> None:
    truth = torch.tensor([[0.0, 0, 10, 10], [50.0, 50, 51, 51]])
    boxes = torch.tensor([[0.0, 0, 10, 9], [0.0, 0, 10, 5], [0.0, 0, 10, 1], [40.0, 40, 60, 60]])
    assert match(truth, boxes, 0.3, 0.7).tolist() == [0, IGNORED, BACKGROUND, BACKGROUND]
    assert match(truth, boxes, 0.3, 0.7, each_matched=True).tolist() == [0, IGNORED, BACKGROUND, 1]
    assert match(truth[:0], boxes, 0.3, 0.7).tolist() == [BACKGROUND] * 4
    assert match(truth, boxes[:0], 0.3, 0.7, each_matched=True).shape == (0,)


def test_a_ground_truth_that_overlaps_nothing_is_matched_to_nothing() -> None:
    truth = torch.tensor([[0.0, 0, 10, 10], [500.0, 500, 510, 510]])
    boxes = torch.tensor([[0.0, 0, 10, 9], [20.0, 20, 30, 30], [40.0, 40, 60, 60]])
    assert match(truth, boxes, 0.3, 0.7, each_matched=True).tolist() == [0, BACKGROUND, BACKGROUND]
    assert match(truth[1:], boxes, 0.3, 0.7, each_matched=True).tolist() == [BACKGROUND] * 3


def test_a_sample_keeps_its_shares_and_its_seed() -> None:
    matches = torch.tensor([0] * 30 + [BACKGROUND] * 50 + [IGNORED] * 20)
    torch.manual_seed(0)
    objects, background = sample(matches, 40, 0.25)
    assert (len(objects), len(background)) == (10, 30)
    assert (matches[objects] == 0).all()
    assert (matches[background] == BACKGROUND).all()
    assert len(set(objects.tolist() + background.tolist())) == 40
    torch.manual_seed(0)
    assert torch.equal(sample(matches, 40, 0.25)[0], objects)
    few, rest = sample(matches[28:], 40, 0.25)
    assert (len(few), len(rest)) == (2, 38)


def test_anchors_by_hand() -> None:
    assert anchors_of(32, (0.5, 1.0, 2.0)).tolist() == [[-23, -11, 23, 11], [-16, -16, 16, 16], [-11, -23, 11, 23]]
    anchors = Anchors([[32], [64]])([torch.zeros(1, 1, 2, 3), torch.zeros(1, 1, 1, 1)], (16, 24))
    assert [tuple(level.shape) for level in anchors] == [(18, 4), (3, 4)]
    assert anchors[0][5 * 3 + 1].tolist() == [16 - 16, 8 - 16, 16 + 16, 8 + 16]  # the last pixel, the square one


def test_the_sizes_of_one_ratio_stand_together() -> None:
    cells = Anchors([[32, 64]])([torch.zeros(1, 1, 1, 1)], (16, 16))[0]
    assert cells[:2].tolist() == [*anchors_of(32, (0.5,)).tolist(), *anchors_of(64, (0.5,)).tolist()]
    assert len(cells) == 6
