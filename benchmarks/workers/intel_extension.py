"""intel-extension-for-pytorch: importing it replaces torchvision's roi_align. Channels last is its fast layout."""

from __future__ import annotations

import intel_extension_for_pytorch
import torch
import torchvision

from .torch_operator import prepare_operator
from .work import Inputs, Work


def versions() -> dict[str, str]:
    return {"intel-extension-for-pytorch": intel_extension_for_pytorch.__version__, "torch": torch.__version__}


def prepare(inputs: Inputs) -> Work:
    return prepare_operator(torchvision.ops.roi_align, inputs, torch.channels_last)
