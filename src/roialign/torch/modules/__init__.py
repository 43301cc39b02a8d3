"""The operators as PyTorch modules, exported by :mod:`roialign.torch`."""

from .deformable import DeformRoIPool, DeformRoIPoolPack, ModulatedDeformRoIPoolPack
from .pointwise import (
    MultiScaleRoIAlignRotated,
    PSRoIAlign,
    PSRoIPool,
    RiRoIAlignRotated,
    RoIAlignRotated,
    RoIPool,
)
from .separable import CropAndResize, MultiScaleRoIAlign, PrRoIPool, RoIAlign

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
