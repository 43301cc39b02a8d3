"""roialign for PyTorch: the operators as modules. The functions of :mod:`roialign` take tensors themselves.

Importing this makes the custom ops known, which a program that was saved by `torch.export` needs to be loaded.
"""

from . import installed, levels  # noqa: F401 - the first says what to do where torch is missing
from .modules.pointwise import (
    DeformRoIPool,
    DeformRoIPoolPack,
    ModulatedDeformRoIPoolPack,
    MultiScaleRoIAlignRotated,
    PSRoIAlign,
    PSRoIPool,
    RiRoIAlignRotated,
    RoIAlignRotated,
    RoIPool,
)
from .modules.separable import CropAndResize, MultiScaleRoIAlign, PrRoIPool, RoIAlign
from .wiring import pointwise, separable  # noqa: F401

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
