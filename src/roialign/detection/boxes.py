"""Functions on boxes ``[L, 4]`` (x1, y1, x2, y2): overlap, encoding as offsets, and non-maximum suppression."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..ops.rotated_nms import rotated_nms

#: The largest log scale factor that the coder decodes, so that exp does not overflow.
LARGEST_LOG_RATIO = math.log(1000 / 16)
#: Rows of overlaps that are computed together, so that what lies between them and their boxes stays in a CPU's cache.
ROWS_AT_ONCE = 128


def box_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union ``[L, M]``. It is 0 if both boxes are empty."""
    # One axis at a time: torch is slower where the last dimension has two numbers.
    width, height = (
        torch.minimum(boxes[:, axis + 2, None], others[:, axis + 2])
        - torch.maximum(boxes[:, axis, None], others[:, axis])
        for axis in (0, 1)
    )
    intersection = width.clamp(min=0) * height.clamp(min=0)
    union = _area(boxes)[:, None] + _area(others) - intersection
    return torch.where(union > 0, intersection / union, 0.0)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def clip_boxes(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Clip boxes ``[..., 4]`` to an image of `size` (height, width)."""
    height, width = size
    x, y = boxes[..., 0::2].clamp(0, width), boxes[..., 1::2].clamp(0, height)
    return torch.stack([x, y], dim=-1).flatten(-2)


def large_enough(boxes: Tensor, side: float) -> Tensor:
    """Whether both sides of each box are at least `side` long, ``[L]``."""
    return (boxes[:, 2:] - boxes[:, :2] >= side).all(dim=1)


class BoxCoder:
    """Encode boxes as weighted offsets from reference boxes, and decode them.

    Concretely, the offset of box b from reference r is ``(wx (bx - rx) / rw, wy (by - ry) / rh, ww log(bw / rw),
    wh log(bh / rh))``, where (bx, by) and (rx, ry) are centres, and (bw, bh) and (rw, rh) are sizes.
    """

    numbers = 4

    def __init__(self, weights: tuple[float, float, float, float]) -> None:
        self.weights = weights

    def encode(self, boxes: Tensor, references: Tensor) -> Tensor:
        """Offsets ``[L, 4]`` of `boxes` from `references`."""
        centre, size = centre_and_size(boxes)
        from_centre, from_size = centre_and_size(references)
        offsets = torch.cat([(centre - from_centre) / from_size, torch.log(size / from_size)], dim=1)
        return offsets * offsets.new_tensor(self.weights)

    def decode(self, offsets: Tensor, references: Tensor) -> Tensor:
        """Boxes ``[L, D, 4]`` at offsets ``[L, D, 4]`` from references ``[L, 4]``."""
        centre, size = centre_and_size(references)
        offsets = offsets / offsets.new_tensor(self.weights)
        new_centre = offsets[..., :2] * size[:, None] + centre[:, None]
        new_half = torch.exp(offsets[..., 2:].clamp(max=LARGEST_LOG_RATIO)) * size[:, None] * 0.5
        return torch.cat([new_centre - new_half, new_centre + new_half], dim=-1)


def centre_and_size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """The centres ``[L, 2]`` and the sizes ``[L, 2]`` of boxes ``[L, 4]``."""
    size = boxes[:, 2:] - boxes[:, :2]
    return boxes[:, :2] + 0.5 * size, size


def batched_nms(boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float) -> Tensor:
    """Non-maximum suppression within each group. Returns the indices of the boxes that are kept, best score first.

    Boxes are upright ``[L, 4]`` or rotated ``[L, 5]``.

    Concretely, a box is removed if its overlap with a kept box of the same group that has a higher score is more than
    `threshold`. If scores are equal, the earlier box counts as higher. If torchvision is installed, its operator is
    used for upright boxes.
    """
    if boxes.numel() == 0:
        return torch.zeros(0, dtype=torch.int64, device=boxes.device)
    if boxes.shape[1] == 5:
        return rotated_nms(boxes, scores, threshold, groups, clockwise=True)
    try:
        from torchvision.ops import nms
    except ImportError:
        nms = fixed_point_nms
    kept = []
    for group in sorted(set(groups.tolist())):  # one group at a time, since all pairs of its boxes are in memory
        members = torch.where(groups == group)[0]
        kept.append(members[nms(boxes[members], scores[members], threshold)])
    every = torch.cat(kept).sort().values
    return every[scores[every].argsort(descending=True, stable=True)]


@torch.library.custom_op("roialign::padded_nms", mutates_args=())
def padded_nms(boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float, most: int) -> Tensor:
    """:func:`batched_nms` of the boxes whose score is above minus infinity, with a result of fixed shape.

    Concretely, the result is int64 ``[most]``: the first `most` indices of :func:`batched_nms`, padded with -1. It is
    one operator, so that a whole detector can be exported.
    """
    members = torch.where(scores > -torch.inf)[0]
    kept = members[batched_nms(boxes[members], scores[members], groups[members], threshold)][:most]
    return torch.nn.functional.pad(kept, (0, most - len(kept)), value=-1)


@padded_nms.register_fake
def _outline(boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float, most: int) -> Tensor:
    del scores, groups, threshold
    return boxes.new_empty(most, dtype=torch.int64)


def fixed_point_nms(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Greedy suppression without a loop over boxes.

    Each round keeps the boxes that no kept box suppresses, until nothing changes. In the order of scores, the first n
    decisions are final after n rounds, so it always ends. In practice it takes a few rounds, the length of the longest
    chain of boxes that suppress one another.
    """
    order = scores.argsort(descending=True, stable=True)
    boxes = boxes.to(torch.promote_types(boxes.dtype, torch.float32))  # half precision is too coarse for areas
    boxes = boxes[order]
    parts = torch.split(boxes, ROWS_AT_ONCE) if boxes.is_cpu else [boxes]
    overlaps = torch.cat([box_iou(rows, boxes) > threshold for rows in parts])
    beats = overlaps.triu(diagonal=1).float()
    stays = torch.ones(len(order), dtype=torch.float32, device=boxes.device)
    while True:
        now = (stays @ beats == 0).float()
        if torch.equal(now, stays):
            return order[stays.bool()]
        stays = now
