"""The types that the package's signatures share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, TypeVar, Union

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

Array: TypeAlias = npt.NDArray[Any]
FloatArray: TypeAlias = npt.NDArray[np.float64]
#: The array of one framework, in a signature where all arrays are of the same: numpy.ndarray of any dtypes, or
#: torch.Tensor. In quotation marks, so that nothing loads torch.
AnyArray = TypeVar("AnyArray", npt.NDArray[Any], "torch.Tensor")

#: The words that arguments take.
Mode: TypeAlias = Literal["avg", "max"]
Sampling: TypeAlias = Literal["grid", "random", "exact"]
Layout: TypeAlias = Literal["NCHW", "NHWC"]
Invalid: TypeAlias = Literal["raise", "zero"]
Backend: TypeAlias = Literal["cpu", "triton", "reference"]
Interpolation: TypeAlias = Literal["bilinear", "nearest"]
#: What decides random points.
Seed: TypeAlias = Union[int, np.random.Generator, "torch.Generator", None]

#: The gradients that a backward function is asked for: one, or several.
NeedRois: TypeAlias = Literal["features", "rois"] | Sequence[Literal["features", "rois"]]
NeedBoxes: TypeAlias = Literal["features", "boxes"] | Sequence[Literal["features", "boxes"]]
NeedPoints: TypeAlias = Literal["features", "points"] | Sequence[Literal["features", "points"]]
NeedOffsets: TypeAlias = (
    Literal["features", "rois", "offset", "mask"] | Sequence[Literal["features", "rois", "offset", "mask"]]
)

#: A number for both axes, or one for y and one for x.
Pair: TypeAlias = int | tuple[int, int]


class Everywhere(TypedDict, total=False):
    """Arguments that every module has, by name."""

    layout: Layout
    invalid: Invalid | None
    backend: Backend | None


class PackNames(Everywhere, total=False):
    """Arguments of the modules that learn their offsets."""

    output_size: Pair
    output_channels: int
    deform_fc_channels: int
    spatial_scale: float
    sampling_ratio: Pair
    gamma: float
    sampling: Sampling
    seed: Seed
