"""Pyramid levels by the rules of other packages, which differ from ours beside a power of two."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def box_side(boxes: Tensor) -> Tensor:
    """The square root of the area of boxes ``[K, 4]`` in float64; 0 for an inverted box."""
    x1, y1, x2, y2 = boxes.detach().double().unbind(1)
    return ((x2 - x1) * (y2 - y1)).clamp(min=0).sqrt()


def levels_reached(target: Tensor, starts: Sequence[float]) -> Tensor:
    """How many of `starts`, an increasing sequence, each target has reached; none for NaN."""
    return (target[:, None] >= torch.tensor(starts, dtype=target.dtype, device=target.device)).sum(1)
