"""Rows of RoIs, as the kernels of the pointwise family read them, and what these kernels are compiled for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import triton
import triton.language as tl

from .frames import FRAME
from .numbers import float64_of


@dataclass(frozen=True)  # not a NamedTuple: from Triton 3.8 on, a tuple among the constants loses its class
class PointsSpec:
    """What a kernel that visits points is compiled for: the operator, the bins, and the columns of a row of RoIs."""

    PH: int
    PW: int
    RULE: str
    JOINT: bool
    """Whether each coordinate of a point depends on both axes of its RoI."""
    CHANNELS_OF: str
    GEOMETRY: int
    """How many numbers describe the box."""
    HAS_OFFSET: bool
    HAS_MASK: bool
    COLUMNS: int

    @property
    def bins(self) -> int:
        """The number of bins."""
        return self.PH * self.PW

    @property
    def first_offset(self) -> int:
        """The column of the first offset along x. Those along y follow, and then the masks."""
        return 1 + self.GEOMETRY

    @property
    def first_mask(self) -> int:
        return self.first_offset + (2 * self.bins if self.HAS_OFFSET else 0)

    def without_points(self) -> PointsSpec:
        """The same for a kernel that visits no points, so that it is the same kernel for other rules."""
        return replace(self, RULE="", JOINT=False, CHANNELS_OF="")


class Sampling(NamedTuple):
    """The sampling of a call, as numbers that kernels are not specialised for."""

    ratio_y: tl.tensor
    ratio_x: tl.tensor
    seed_low: tl.tensor
    seed_high: tl.tensor
    first_row: tl.tensor
    gamma_bits: tl.tensor
    unused_border: tl.tensor


#: The arguments of a kernel that describe the sampling.
SAMPLING = Sampling._fields


class Roi(NamedTuple):
    """A row, its index among all rows of the call, and the sampling of the call."""

    number: tl.tensor
    numbers: tl.tensor
    frame: tl.tensor
    ratio_y: tl.tensor
    ratio_x: tl.tensor
    seed: tl.tensor
    gamma: tl.tensor
    unused_border: tl.tensor


@triton.jit
def roi_of(row, rois, frames, sampling, SPEC: tl.constexpr):
    """Make a :class:`Roi` of the tables of all rows and a :class:`Sampling`."""
    seed = (tl.cast(sampling.seed_high, tl.int64) << 32) | (tl.cast(sampling.seed_low, tl.int64) & 0xFFFFFFFF)
    gamma, border = float64_of(sampling.gamma_bits), tl.cast(sampling.unused_border, tl.float64)
    number, numbers, frame = row + sampling.first_row, rois + row * SPEC.COLUMNS, frames + row * FRAME
    return Roi(number, numbers, frame, sampling.ratio_y, sampling.ratio_x, seed, gamma, border)


@triton.jit
def of_bin(roi, column, number, is_bin):
    """The per-bin values of a row from a column on, in float64."""
    return tl.load(roi.numbers + column + number, mask=is_bin, other=0.0).to(tl.float64)
