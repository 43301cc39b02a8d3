"""What an operator is, said in a few numbers: the description that every backend reads."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Rule = Literal["grid", "random", "exact", "prroi", "crop"]
Border = Literal["replicate", "zero", "reject"]

#: How a rule continues the map beyond its outermost pixel centres.
#:
#: ``replicate``: RoIAlign's. The edge value holds on [-1, 0] and [size - 1, size]; zero beyond.
#: ``zero``: PrRoIPool's. The map is padded with zeros, so the value falls linearly over one pixel.
#: ``reject``: crop_and_resize's. A point outside [0, size - 1] gets the fill value.
BORDER_OF_RULE: dict[str, Border] = {
    "grid": "replicate",
    "random": "replicate",
    "exact": "replicate",
    "prroi": "zero",
    "crop": "reject",
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

    def scale(self, spatial_scale: float, size: int) -> float:
        """The factor from box coordinates to feature coordinates along an axis of `size` pixels."""
        return float(size - 1) if self.normalised_boxes else spatial_scale
