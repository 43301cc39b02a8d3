"""Specifications of operators: a few values that every backend reads."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

Rule = Literal["grid", "random", "exact", "prroi", "crop", "nearest"]
Border = Literal["replicate", "zero", "reject", "nearest"]

#: How a rule continues the map beyond its outermost pixel centres.
#:
#: ``replicate`` (RoIAlign): the map keeps its edge value on [-1, 0] and [size - 1, size], and is zero beyond.
#: ``zero`` (PrRoIPool): the map is padded with zeros, so the value falls linearly to zero over one pixel.
#: ``reject`` (crop_and_resize): a point outside [0, size - 1] gets the fill value.
#: ``nearest``: like ``reject``, but a point takes the value of the nearest pixel, or of the one farther from 0 if two
#: are equally near.
BORDER_OF_RULE: dict[str, Border] = {
    "grid": "replicate",
    "random": "replicate",
    "exact": "replicate",
    "prroi": "zero",
    "crop": "reject",
    "nearest": "nearest",
}


class SeparableSpec(NamedTuple):
    """A separable operator: out = Wy . F . Wx^T, with one pair of tap matrices per RoI.

    Methods give what follows from the fields, because `torch.compile` of torch 2.9 reads no properties of named tuples.

    Both axes share all settings except the sampling ratio. On each level, an axis of `size` pixels is mapped by
    ``start = lower * scale - offset`` and ``length = max(upper * scale - offset - start, minimum_length)``.
    """

    rule: Rule
    sampling_ratio: tuple[int, int] = (0, 0)
    """Sample points per bin along (y, x). 0 is adaptive. Only the rules "grid" and "random" use it."""
    offset: float = 0.0
    """Subtracted after scaling. 0.5 is the half-pixel shift of RoIAlign with ``aligned=True``."""
    minimum_length: float = -math.inf
    """A mapped RoI shorter than this is lengthened at its end. It is 1 for RoIAlign with ``aligned=False``."""
    normalised_boxes: bool = False
    """Whether box coordinates are fractions of ``size - 1`` instead of image pixels times a spatial scale."""
    fill: float = 0.0
    """The value of a bin without a point on the map."""
    seed: int = 0
    """The key of the generator behind the rule "random"."""

    def family(self) -> str:
        return "separable"

    def geometry(self) -> int:
        """The number of values that describe a RoI."""
        return 4

    def decides(self) -> bool:
        """Whether a maximum decides which points count."""
        return False

    def reads_sampling_ratio(self) -> bool:
        return self.rule in ("grid", "random")

    def counts_rows(self) -> bool:
        """Whether the result of a RoI depends on its row number."""
        return self.rule == "random"

    def mixes_channels(self) -> bool:
        """Whether a channel of the result depends on more than the same channel of the features."""
        return False

    def linear_part(self) -> SeparableSpec:
        """The operator without its result for zero features."""
        return self._replace(fill=0.0) if self.fill else self

    def has_one_point(self) -> tuple[bool, bool]:
        """Whether every bin has one point along (y, x), whatever its size."""
        ratio_y, ratio_x = self.sampling_ratio
        always = self.rule in ("crop", "nearest")
        return always or (self.rule == "grid" and ratio_y == 1), always or (self.rule == "grid" and ratio_x == 1)

    def scale(self, spatial_scale: float, size: int) -> float:
        """The factor from box coordinates to feature coordinates along an axis of `size` pixels."""
        return float(size - 1) if self.normalised_boxes else spatial_scale

    def out_channels(self, channels: int, bins: tuple[int, int]) -> int:
        """The number of channels of the result, given that of the features."""
        del bins
        return channels


Mapping = Literal["box", "rotated", "rounded", "inclusive"]
PointRule = Literal["grid", "random", "lattice", "pixels"]
Reduction = Literal["mean", "max", "corner_max"]
Channels = Literal["same", "position", "orientation"]


class PointwiseSpec(NamedTuple):
    """A pointwise operator: interpolate the map at the points of every bin, and reduce the values.

    A point is given on the RoI's own two axes, at start + position * length of each. The frame of the RoI places it on
    the map. If the call has bin offsets, they move the points of their bins. For operators with integer bins, the
    points are whole pixels.
    """

    mapping: Mapping = "box"
    """``box``: mapped as in a SeparableSpec. ``rotated``: (centre x, centre y, width, height, angle). ``rounded``: a
    box with both ends rounded to pixels. ``inclusive``: a box whose upper end is extended by one image pixel."""
    rule: PointRule = "grid"
    """``grid``, ``random``: the sampling of RoIAlign. ``lattice``: the integers inside a bin and its two ends, where an
    interpolated map has its maximum. ``pixels``: every whole pixel of the bin."""
    reduction: Reduction = "mean"
    """The reduction of the samples of a bin. ``corner_max`` (ONNX) is the maximum over the four pixels of every point,
    each multiplied by its weight."""
    channels: Channels = "same"
    """The channel that a bin reads: the same channel; the channel of its position (``position``); or, after pooling,
    channels in groups of `orientations` that rotate with the RoI (``orientation``)."""
    sampling_ratio: tuple[int, int] = (0, 0)
    offset: float = 0.0
    minimum_length: float = -math.inf
    seed: int = 0
    jitters_points: bool = False
    """Whether random sampling draws both coordinates of every point, instead of one per row and column of points."""
    clockwise: bool = False
    """Whether a positive angle is clockwise on the screen. Otherwise it is counter-clockwise."""
    orientations: int = 1
    gamma: float = 0.0
    """The factor of bin offsets, in addition to the RoI's size."""
    extra_pixels: int = 0
    """For the mapping ``rounded``: 1 if the pixel at the upper end is part of the RoI."""
    unused_border: int = 0
    """For the rule ``pixels``: the number of rows and columns at the end of the map that no bin includes."""

    def family(self) -> str:
        return "pointwise"

    def geometry(self) -> int:
        """The number of values that describe a RoI."""
        return 5 if self.mapping == "rotated" else 4

    def decides(self) -> bool:
        """Whether a maximum decides which points count."""
        return self.reduction != "mean"

    def reads_sampling_ratio(self) -> bool:
        return self.rule in ("grid", "random")

    def counts_rows(self) -> bool:
        """Whether the result of a RoI depends on its row number."""
        return self.rule == "random"

    def mixes_channels(self) -> bool:
        """Whether a channel of the result depends on more than the same channel of the features."""
        return self.channels != "same"

    def linear_part(self) -> PointwiseSpec:
        """The operator without its result for zero features, which is zero."""
        return self

    def out_channels(self, channels: int, bins: tuple[int, int]) -> int:
        """The number of channels of the result, given that of the features. A ValueError if it does not divide."""
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
