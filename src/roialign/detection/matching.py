"""Match boxes to the ground truth, and sample boxes for a loss."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .boxes import box_iou

#: Values used instead of the index of a ground-truth box.
BACKGROUND, IGNORED = -1, -2


def match(
    truth: Tensor,
    boxes: Tensor,
    background_below: float,
    object_from: float,
    *,
    each_matched: bool = False,
    overlaps_of: Callable[[Tensor, Tensor], Tensor] = box_iou,
) -> Tensor:
    """For each box, return the index of the ground-truth box it overlaps most, or `BACKGROUND` or `IGNORED`.

    Concretely, let o be the largest intersection over union of a box. The result is the index if ``o >= object_from``,
    `BACKGROUND` if ``o < background_below``, and `IGNORED` otherwise. With `each_matched`, the boxes with the largest
    overlap with a ground-truth box keep its index, however small the overlap is, unless it is 0. `overlaps_of` computes
    the intersection over union ``[L, M]`` of two sets of boxes.
    """
    if len(truth) == 0:
        return torch.full((len(boxes),), BACKGROUND, dtype=torch.int64, device=boxes.device)
    overlaps = overlaps_of(truth, boxes)
    if len(boxes) == 0:
        return torch.zeros(0, dtype=torch.int64, device=boxes.device)
    best, index = overlaps.max(dim=0)
    matches = torch.where(best >= object_from, index, IGNORED)
    matches = torch.where(best < background_below, BACKGROUND, matches)
    if each_matched:
        largest = overlaps.amax(dim=1, keepdim=True)
        closest = ((overlaps == largest) & (largest > 0)).any(dim=0)  # every box overlaps one out of reach equally
        matches = torch.where(closest, index, matches)
    return matches


def sample(
    matches: Tensor, size: int, object_share: float, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Choose at most `size` boxes at random. Returns the indices of objects, limited to a share, and of background.

    If no generator is given, torch's default generator is used.
    """
    objects = torch.where(matches >= 0)[0]
    background = torch.where(matches == BACKGROUND)[0]
    objects = _choose(objects, int(size * object_share), generator)
    return objects, _choose(background, size - len(objects), generator)


def _choose(indices: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    # Drawn on the CPU, so that a seed gives the same result for every device.
    order = torch.randperm(len(indices), generator=generator, device="cpu")
    return indices[order[:count].to(indices.device)].sort().values
