"""The operators as PyTorch modules. The functions of :mod:`roialign` also accept tensors directly.

Importing this module registers the custom ops. Import it before loading a program that was saved with `torch.export`.
"""

import sys

from .._frameworks import BY_TYPE
from . import _installed, backends, call, checks, levels, overlaps, plain, rois  # noqa: F401
from .modules import (
    CropAndResize,
    DeformRoIPool,
    DeformRoIPoolPack,
    ModulatedDeformRoIPoolPack,
    MultiScaleRoIAlign,
    MultiScaleRoIAlignRotated,
    PrRoIPool,
    PSRoIAlign,
    PSRoIPool,
    RiRoIAlignRotated,
    RoIAlign,
    RoIAlignRotated,
    RoIPool,
)
from .wiring.tracing import TENSORS

__all__ = [
    "CropAndResize",
    "DeformRoIPool",
    "DeformRoIPoolPack",
    "ModulatedDeformRoIPoolPack",
    "MultiScaleRoIAlign",
    "MultiScaleRoIAlignRotated",
    "PSRoIAlign",
    "PSRoIPool",
    "PrRoIPool",
    "RiRoIAlignRotated",
    "RoIAlign",
    "RoIAlignRotated",
    "RoIPool",
]

BY_TYPE.update(dict.fromkeys(TENSORS, sys.modules[__name__]))
