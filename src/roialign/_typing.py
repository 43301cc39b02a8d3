"""Shared types of the signatures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, SupportsFloat, SupportsIndex, TypeAlias, TypedDict, TypeVar, Union

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import jax
    import torch

Array: TypeAlias = npt.NDArray[Any]
FloatArray: TypeAlias = npt.NDArray[np.float64]
#: The corners of a box: x1, y1, x2, y2.
Corners: TypeAlias = tuple[float, float, float, float]
#: An array type, for signatures in which all arrays have the same type: numpy.ndarray of any dtype, torch.Tensor, or
#: jax.Array. The latter two are quoted, so that they are not imported.
AnyArray = TypeVar("AnyArray", npt.NDArray[Any], "torch.Tensor", "jax.Array")

#: The string values of arguments.
Mode: TypeAlias = Literal["avg", "max"]
Sampling: TypeAlias = Literal["grid", "random", "exact"]
Layout: TypeAlias = Literal["NCHW", "NHWC"]
Invalid: TypeAlias = Literal["raise", "zero"]
Backend: TypeAlias = Literal["cpu", "triton", "reference"]
Interpolation: TypeAlias = Literal["bilinear", "nearest"]
#: The types of a seed. A jax.Array is a key of jax.random.
Seed: TypeAlias = Union[int, np.random.Generator, "torch.Generator", "jax.Array", None]

#: The gradients that a backward function computes: one or several.
NeedRois: TypeAlias = Literal["features", "rois"] | Sequence[Literal["features", "rois"]]
NeedBoxes: TypeAlias = Literal["features", "boxes"] | Sequence[Literal["features", "boxes"]]
NeedPoints: TypeAlias = Literal["features", "points"] | Sequence[Literal["features", "points"]]
NeedOverlaps: TypeAlias = Literal["boxes", "others"] | Sequence[Literal["boxes", "others"]]
NeedOffsets: TypeAlias = (
    Literal["features", "rois", "offset", "mask"] | Sequence[Literal["features", "rois", "offset", "mask"]]
)

#: A number for both axes, or a pair (y, x).
Pair: TypeAlias = SupportsIndex | Sequence[SupportsIndex]
#: A number of Python, NumPy or torch.
Number: TypeAlias = SupportsFloat | SupportsIndex
#: One number per level.
Numbers: TypeAlias = Union[Sequence[Number], npt.NDArray[Any], "torch.Tensor"]


class Everywhere(TypedDict, total=False):
    """Keyword arguments of every module."""

    layout: Layout
    invalid: Invalid | None
    backend: Backend | None


class PackNames(Everywhere, total=False):
    """Keyword arguments of the modules that predict their offsets."""

    output_size: Pair
    output_channels: int
    deform_fc_channels: int
    spatial_scale: Number
    sampling_ratio: Pair
    gamma: float
    sampling: Sampling
    seed: Seed
