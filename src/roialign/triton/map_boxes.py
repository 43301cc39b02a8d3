"""Step 1: image coordinates to feature coordinates."""

from __future__ import annotations

from typing import NamedTuple

import triton
import triton.language as tl

from .numbers import float64_of, of_level, positive_of

#: The same value as in `roialign._validate`.
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
def map_boxes_rounded(lower, upper, scale, extra_pixels):
    """Map one axis of a box with both ends rounded to pixels, half away from zero. It is at least one pixel long."""
    start = rounded(lower * scale)
    return start, tl.maximum(rounded(upper * scale) - start + extra_pixels, 1.0)


@triton.jit
def rounded(value):
    """Round to the nearest integer, with halves away from zero."""
    whole = tl.floor(tl.abs(value))
    nearest = tl.where(tl.abs(value) - whole >= 0.5, whole + 1.0, whole)
    return tl.where(value < 0.0, -nearest, nearest)


class Frame(NamedTuple):
    """A RoI on the map: its own two axes and their position and direction. Or a directional derivative of these."""

    start_y: tl.tensor
    length_y: tl.tensor
    start_x: tl.tensor
    length_x: tl.tensor
    cosine: tl.tensor
    sine: tl.tensor
    centre_y: tl.tensor
    centre_x: tl.tensor


@triton.jit
def upright(start_y, length_y, start_x, length_x, cosine):
    """The frame of an axis-aligned box, or its derivative if `cosine` is 0."""
    zero = 0.0 * length_y
    return Frame(start_y, length_y, start_x, length_x, cosine + zero, zero, zero, zero)


@triton.jit
def place(along_y, along_x, cosine, sine, centre_y, centre_x):
    """Map a point on the RoI's own axes to ``(y, x)`` on the map. Positive angles are counter-clockwise."""
    return along_y * cosine - along_x * sine + centre_y, along_y * sine + along_x * cosine + centre_x


@triton.jit
def map_rotated_boxes(box, scale, offset, minimum_length, CLOCKWISE: tl.constexpr):
    """Map (centre x, centre y, width, height, angle in radians). The origin of the RoI's own axes is its centre."""
    width = tl.maximum(box[2] * scale, minimum_length)
    height = tl.maximum(box[3] * scale, minimum_length)
    turn = -box[4] if CLOCKWISE else box[4]
    centre_y, centre_x = box[1] * scale - offset, box[0] * scale - offset
    return Frame(-height / 2.0, height, -width / 2.0, width, tl.cos(turn), tl.sin(turn), centre_y, centre_x)


@triton.jit
def map_rotated_boxes_tangent(box, tangent, frame, scale, minimum_length, CLOCKWISE: tl.constexpr):
    """The derivative of :func:`map_rotated_boxes` along a `tangent` of the box. `frame` is its result."""
    width = tl.where(box[2] * scale < minimum_length, 0.0, tangent[2] * scale)
    height = tl.where(box[3] * scale < minimum_length, 0.0, tangent[3] * scale)
    speed = -tangent[4] if CLOCKWISE else tangent[4]
    cosine, sine = -frame.sine * speed, frame.cosine * speed
    return Frame(-height / 2.0, height, -width / 2.0, width, cosine, sine, tangent[1] * scale, tangent[0] * scale)


@triton.jit
def shift_axis(start, length, gamma, shift):
    """The start of an axis for a bin with offset `shift`: it is moved by gamma * length * shift."""
    return start + gamma * length * shift


@triton.jit
def is_coordinate(value):
    """Whether a coordinate is finite and not too large."""
    return tl.abs(value) <= LARGEST_COORDINATE


@triton.jit
def image_of(image, images):
    """The image of a RoI as int64, or -1 if it is invalid."""
    known = (image >= 0.0) & (image < tl.cast(images, tl.float64)) & (tl.floor(image) == image)
    return tl.where(known, tl.where(known, image, 0.0).to(tl.int64), -1)


@triton.jit
def assigned_level(side, size_bits, level_bits, strides_log2, LEVELS: tl.constexpr):
    """The level of a RoI, given the square root of its area, as in :func:`roialign.fpn_levels`. `strides_log2` are made
    by :func:`~roialign.triton.numbers.plain`."""
    target = tl.floor(float64_of(level_bits) + tl.log2(side / float64_of(size_bits)) + 1e-6)
    level = tl.cast(0, tl.int64)
    for index in tl.static_range(1, LEVELS):
        level += (target >= (tl.cast(strides_log2[index], tl.int64) >> 2).to(tl.float64)).to(tl.int64)
    return level


@triton.jit
def level_scale(scales, level, LEVELS: tl.constexpr):
    """The spatial scale of a level. `scales` are made by :func:`~roialign.triton.numbers.plain_bits_of`."""
    return positive_of(of_level(scales, level, LEVELS))
