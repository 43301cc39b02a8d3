"""Which ground truth each box answers for, and the sample of boxes that a loss is made of."""

from __future__ import annotations

import torch
from torch import Tensor

from .boxes import box_iou

#: In place of the index of a ground-truth box.
BACKGROUND, IGNORED = -1, -2


def match(
    truth: Tensor, boxes: Tensor, background_below: float, object_from: float, *, each_matched: bool = False
) -> Tensor:
    """For every box the index of the ground truth it overlaps most, or `BACKGROUND` or `IGNORED`.

    Concretely, with o the largest intersection over union: the index where ``o >= object_from``, `BACKGROUND` where
    ``o < background_below``, else `IGNORED`. With `each_matched` the boxes that overlap a ground truth most of all
    boxes keep their index, however little that is.
    """
    if len(truth) == 0:
        return torch.full((len(boxes),), BACKGROUND, dtype=torch.int64, device=boxes.device)
    overlaps = box_iou(truth, boxes)
    if len(boxes) == 0:
        return torch.zeros(0, dtype=torch.int64, device=boxes.device)
    best, index = overlaps.max(dim=0)
    matches = torch.where(best >= object_from, index, IGNORED)
    matches = torch.where(best < background_below, BACKGROUND, matches)
    if each_matched:
        closest = (overlaps == overlaps.amax(dim=1, keepdim=True)).any(dim=0)
        matches = torch.where(closest, index, matches)
    return matches


def sample(
    matches: Tensor, size: int, object_share: float, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """A random choice of at most `size` boxes: indices of objects, at most that share, and of background.

    It draws from torch's own generator where none is given.
    """
    objects = torch.where(matches >= 0)[0]
    background = torch.where(matches == BACKGROUND)[0]
    objects = _choose(objects, int(size * object_share), generator)
    return objects, _choose(background, size - len(objects), generator)


def _choose(indices: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    # Drawn on the CPU, so that a seed means the same on every device.
    return indices[torch.randperm(len(indices), generator=generator)[:count].to(indices.device)].sort().values
