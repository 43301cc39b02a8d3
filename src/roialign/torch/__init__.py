"""roialign for PyTorch: the operators as modules. The functions of :mod:`roialign` take tensors themselves.

Importing this makes the custom ops known, which a program that was saved by `torch.export` needs to be loaded.
"""

from . import _installed, backends, call, checks, levels, rois  # noqa: F401
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
