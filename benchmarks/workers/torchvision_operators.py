"""torchvision.ops on planar maps, one call per level."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torchvision

from .torch_operator import prepare_operator
from .work import Inputs, Work

#: The arguments of each operator after features, boxes, size and scale, from RoIAlign's sampling ratio.
OPERATORS: dict[str, Callable[..., torch.Tensor]] = {
    "position-sensitive": lambda *arguments: torchvision.ops.ps_roi_align(*arguments),
    "position-sensitive-pool": lambda *arguments: torchvision.ops.ps_roi_pool(*arguments[:4]),
    "roi-pool": lambda *arguments: torchvision.ops.roi_pool(*arguments[:4]),
}


def versions() -> dict[str, str]:
    return {"torchvision": torchvision.__version__, "torch": torch.__version__}


def prepare(inputs: Inputs) -> Work:
    if inputs.operator == "mean":
        return prepare_operator(torchvision.ops.roi_align, inputs, torch.contiguous_format)
    operator = OPERATORS[inputs.operator]

    def unaligned(*arguments: Any, aligned: bool) -> torch.Tensor:
        """Drop `aligned`, which these operators do not have."""
        del aligned
        return operator(*arguments)

    return prepare_operator(unaligned, inputs, torch.contiguous_format)
