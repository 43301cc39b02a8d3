"""What an operator is, said in a few numbers: the description that every backend reads."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

Rule = Literal["grid", "random", "exact", "prroi", "crop", "nearest"]
Border = Literal["replicate", "zero", "reject", "nearest"]

#: How a rule continues the map beyond its outermost pixel centres.
#:
#: ``replicate``: RoIAlign's. The edge value holds on [-1, 0] and [size - 1, size]; zero beyond.
#: ``zero``: PrRoIPool's. The map is padded with zeros, so the value falls linearly over one pixel.
#: ``reject``: crop_and_resize's. A point outside [0, size - 1] gets the fill value.
#: ``nearest``: the same, and inside it the nearest pixel alone counts, the one farther from 0 where two are.
BORDER_OF_RULE: dict[str, Border] = {
    "grid": "replicate",
    "random": "replicate",
    "exact": "replicate",
    "prroi": "zero",
    "crop": "reject",
    "nearest": "nearest",
}


@dataclass(frozen=True, slots=True)
class SeparableSpec:
    """A separable operator: out = Wy . F . Wx^T, one pair of tap matrices per RoI.

    The two axes share everything here but the sampling ratio. Per level, the mapping of an axis of `size` pixels is
    ``start = lower * scale - offset`` and ``length = max(upper * scale - offset - start, minimum_length)``.
    """

    rule: Rule
    sampling_ratio: tuple[int, int] = (0, 0)
    """Points per bin along (y, x); 0 is adaptive. Only the rules "grid" and "random" read it."""
    offset: float = 0.0
    """Subtracted after scaling: 0.5 is the half-pixel shift of an aligned RoIAlign."""
    minimum_length: float = -math.inf
    """A mapped RoI shorter than this is lengthened at its end: 1 in an unaligned RoIAlign."""
    normalised_boxes: bool = False
    """Box coordinates are fractions of ``size - 1`` instead of image pixels times a spatial scale."""
    fill: float = 0.0
    """The value of a bin that no point of the map reaches."""
    seed: int = 0
    """The key of the generator behind the rule "random"."""

    family: ClassVar[str] = "separable"
    #: How many numbers describe a RoI.
    geometry: ClassVar[int] = 4
    #: Whether a maximum decides which points count.
    decides: ClassVar[bool] = False

    @property
    def reads_sampling_ratio(self) -> bool:
        return self.rule in ("grid", "random")

    def scale(self, spatial_scale: float, size: int) -> float:
        """The factor from box coordinates to feature coordinates along an axis of `size` pixels."""
        return float(size - 1) if self.normalised_boxes else spatial_scale

    def out_channels(self, channels: int, bins: tuple[int, int]) -> int:
        """How many channels the answer has, from those of the features."""
        del bins
        return channels


Mapping = Literal["box", "rotated", "rounded", "inclusive"]
PointRule = Literal["grid", "random", "lattice", "pixels"]
Reduction = Literal["mean", "max", "corner_max"]
Channels = Literal["same", "position", "orientation"]


@dataclass(frozen=True, slots=True)
class PointwiseSpec:
    """A pointwise operator: a list of points in every bin, the map interpolated at each, and a reduction of them.

    A point lies on the RoI's own two axes, at start + position * length of each, and the RoI's frame places it on the
    map; where the call has bin offsets, a bin's points move by them. Operators of integer bins are those whose points
    are whole pixels.
    """

    mapping: Mapping = "box"
    """``box``: as a SeparableSpec maps it. ``rotated``: (centre x, centre y, width, height, angle). ``rounded``: a box
    with both ends rounded to pixels. ``inclusive``: a box whose upper end is a pixel further, in image pixels."""
    rule: PointRule = "grid"
    """``grid``, ``random``: as RoIAlign samples. ``lattice``: the integers inside a bin and its two ends, where an
    interpolated map has its maximum. ``pixels``: every whole pixel of the bin."""
    reduction: Reduction = "mean"
    """Of a bin's samples; ``corner_max``, ONNX's, is over the four pixels of every point, each times its weight."""
    channels: Channels = "same"
    """What channel a bin reads: the same; the one of its place (``position``); or the pooled channels in groups of
    `orientations`, turned with the RoI (``orientation``)."""
    sampling_ratio: tuple[int, int] = (0, 0)
    offset: float = 0.0
    minimum_length: float = -math.inf
    seed: int = 0
    jitters_points: bool = False
    """Random sampling draws both coordinates of every point anew, not those of every row and column of points."""
    clockwise: bool = False
    """Of a rotated RoI's angle; otherwise it turns counter-clockwise on the screen."""
    orientations: int = 1
    gamma: float = 0.0
    """What bin offsets are multiplied by, besides the RoI's size."""
    extra_pixels: int = 0
    """Of mapping ``rounded``: 1 where the pixel at the upper end is part of the RoI."""
    unused_border: int = 0
    """Of rule ``pixels``: rows and columns at the end of the map that no bin reaches."""

    family: ClassVar[str] = "pointwise"

    @property
    def geometry(self) -> int:
        """How many numbers describe a RoI."""
        return 5 if self.mapping == "rotated" else 4

    @property
    def decides(self) -> bool:
        """Whether a maximum decides which points count."""
        return self.reduction != "mean"

    @property
    def reads_sampling_ratio(self) -> bool:
        return self.rule in ("grid", "random")

    def out_channels(self, channels: int, bins: tuple[int, int]) -> int:
        """How many channels the answer has, from those of the features; a ValueError where they do not divide."""
        if self.channels == "orientation" and channels % self.orientations != 0:
            raise ValueError(
                f"features: expected a multiple of num_orientations ({self.orientations}) channels, got {channels}"
            )
        parts = bins[0] * bins[1]
        if self.channels != "position" or parts == 0:
            return channels
        if channels % parts != 0:
            raise ValueError(f"features: expected a multiple of PH * PW = {parts} channels, got {channels}")
        return channels // parts


Spec = SeparableSpec | PointwiseSpec
