"""The shortest way for calls that need no conversion, no tracing and few gradients."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import Any

from torch import Tensor
from torch.autograd.graph import increment_version

from .._plans import Settings
from .repeats import prepare
from .wiring.tracing import TENSORS, is_plain_call

__all__ = ["forward", "prepare"]


def forward(
    settings: Settings,
    features: Sequence[object],
    rois: object,
    layout: str,
    out: object = None,
) -> Tensor | None:
    """Return the result, or None if the call is not plain or not valid. :mod:`roialign.torch.call` takes all calls."""
    maps: tuple[Any, ...] = tuple(features)  # another thread may change a list
    for level in maps:
        if type(level) not in TENSORS or not level.is_cpu:
            return None
    if not is_plain_call(maps[0]):
        return None
    if type(rois) is not Tensor:
        if not isinstance(rois, (list, tuple)) or any(type(boxes) is not Tensor for boxes in rois):
            return None
        rois = tuple(rois)
    if out is not None and (type(out) is not Tensor or out.is_neg() or out.is_inference()):
        return None
    output: Tensor | None = _of_cpu().forward(settings, maps, rois, layout, out)
    if out is not None and output is not None:
        increment_version(output)
    return output


@cache
def _of_cpu() -> ModuleType:
    from .cpu import plain

    return plain
