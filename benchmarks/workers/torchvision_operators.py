"""torchvision.ops.roi_align on planar maps, level by level."""

from __future__ import annotations

import torch
import torchvision

from .torch_operator import prepare_operator
from .work import Inputs, Work


def versions() -> dict[str, str]:
    return {"torchvision": torchvision.__version__, "torch": torch.__version__}


def prepare(inputs: Inputs) -> Work:
    return prepare_operator(torchvision.ops.roi_align, inputs, torch.contiguous_format)
