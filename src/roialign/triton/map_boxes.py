"""Step 1: image coordinates to feature coordinates."""

from __future__ import annotations

import triton
import triton.language as tl

from .numbers import float64_of, of_level

#: As `roialign._validate` has it.
LARGEST_COORDINATE = tl.constexpr(1e100)


@triton.jit
def map_boxes(lower, upper, scale, offset, minimum_length):
    """Map one axis of a box to ``(start, length)`` in feature coordinates."""
    start = lower * scale - offset
    length = (upper * scale - offset) - start
    return start, tl.maximum(length, minimum_length)


@triton.jit
def map_boxes_tangent(lower, upper, tangent_lower, tangent_upper, scale, offset, minimum_length):
    """The derivative of :func:`map_boxes` along ``(tangent_lower, tangent_upper)``."""
    lengthened = (upper * scale - offset) - (lower * scale - offset) < minimum_length
    return scale * tangent_lower, tl.where(lengthened, 0.0, scale * (tangent_upper - tangent_lower))


@triton.jit
def is_coordinate(value):
    """Whether a coordinate is finite, and no larger than any that is taken."""
    return tl.abs(value) <= LARGEST_COORDINATE


@triton.jit
def image_of(image, images):
    """A RoI's image as int64, or -1 where it has none."""
    known = (image >= 0.0) & (image < tl.cast(images, tl.float64)) & (tl.floor(image) == image)
    return tl.where(known, tl.where(known, image, 0.0).to(tl.int64), -1)


@triton.jit
def assigned_level(side, size_bits, level_bits, strides_log2, LEVELS: tl.constexpr):
    """The level of a RoI by the square root of its area: :func:`roialign.fpn_levels`."""
    target = tl.floor(float64_of(level_bits) + tl.log2(side / float64_of(size_bits)) + 1e-6)
    level = tl.cast(0, tl.int64)
    for index in tl.static_range(1, LEVELS):
        level += (target >= tl.cast(strides_log2[index], tl.float64)).to(tl.int64)
    return level


@triton.jit
def level_scale(scale_bits, level, LEVELS: tl.constexpr):
    """The spatial scale of a level."""
    return of_level(scale_bits, level, LEVELS).to(tl.float64, bitcast=True)
