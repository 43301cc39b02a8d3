"""What turns proposals into features of one size: an argument of every model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from ..torch import MultiScaleRoIAlign

#: Makes a pooler from its output size and the scales of the maps that it is given.
PoolerFactory = Callable[[int, Sequence[float]], nn.Module]

#: Poolers by name: the arguments of :func:`roialign.multiscale_roi_align`.
POOLERS: dict[str, dict[str, Any]] = {
    "exact": {"sampling": "exact"},
    "align": {"sampling_ratio": 2},
    "align-adaptive": {"sampling_ratio": 0},
    "align-unshifted": {"sampling_ratio": 2, "aligned": False},
}


def make_pooler(pooler: str | PoolerFactory, output_size: int, strides: Sequence[int]) -> nn.Module:
    """A module that is called with the maps and the boxes of every image, and pools all levels in one call.

    Concretely, ``make_pooler("exact", 7, (4, 8))([map4, map8], [boxes0, boxes1])`` is
    ``multiscale_roi_align([map4, map8], [boxes0, boxes1], 7, [1 / 4, 1 / 8], sampling="exact")``.
    """
    scales = [1 / stride for stride in strides]
    if not isinstance(pooler, str):
        return pooler(output_size, scales)
    if pooler not in POOLERS:
        raise ValueError(f"pooler: expected one of {', '.join(POOLERS)}, or a function, got {pooler!r}")
    return MultiScaleRoIAlign(output_size, scales, **POOLERS[pooler])
