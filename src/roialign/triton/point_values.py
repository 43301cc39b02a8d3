"""What the kernels of the pointwise family read at points: channels, weights and winners."""

from __future__ import annotations

import triton
import triton.language as tl

from .blocks import channels_side, map_strides_of, places_side, strides_of
from .frames import TURN
from .numbers import pointer_of_level
from .points import of_bin, point_of, row_of
from .taps import PLACE

#: For bins of whole pixels: the pixels of a row that are read at once.
PIXELS = tl.constexpr(2)


@triton.jit
def map_of_row(features, places, row, strides, LEVELS: tl.constexpr, VECTOR: tl.constexpr):
    """The map of a RoI's level and image, the image, and the map's strides of channels, rows and columns."""
    level, image = tl.load(places + row * PLACE).to(tl.int64), tl.load(places + row * PLACE + 1).to(tl.int64)
    n, c, y, x = map_strides_of(strides, level, LEVELS, VECTOR)
    return pointer_of_level(features, level, LEVELS) + tl.maximum(image, 0) * n, image, c, y, x


@triton.jit
def in_output(row, number, channel, strides, PW: tl.constexpr, CHANNELS_LAST: tl.constexpr, VECTOR: tl.constexpr):
    """The offsets of bins and channels of a RoI in the result, or in its gradient."""
    n, c, y, x = strides_of(strides, VECTOR)
    at = row * n + (number // PW) * y + (number % PW) * x
    return at + channels_side(channel * c, CHANNELS_LAST)


@triton.jit
def in_winners(row, number, channel, channels, BINS: tl.constexpr, CHANNELS_LAST: tl.constexpr):
    """The offsets of bins and channels of a RoI in the winners, ``[K, bins, C]``."""
    return (row * BINS + number) * tl.cast(channels, tl.int64) + channels_side(channel, CHANNELS_LAST)


@triton.jit
def turned(roi, channel, orientations, BACK: tl.constexpr):
    """The two pooled channels of a rotation-invariant channel or, with `BACK`, the two that use a pooled one."""
    # In 32 bits, because a 64-bit division is a function call.
    turn, orientation = tl.load(roi.frame + TURN).to(tl.int32), channel.to(tl.int32) % orientations
    if BACK:
        here = (orientation + turn) % orientations
        beyond = (here + orientations - 1) % orientations
    else:
        here = (orientation + orientations - turn) % orientations
        beyond = (here + 1) % orientations
    return channel - orientation + here, channel - orientation + beyond


@triton.jit
def read(pointer, first, second, takes, between, dtype: tl.constexpr, CHANNELS_OF: tl.constexpr):
    """Values, interpolated between two orientations, and their change from one orientation to the next."""
    value = tl.load(pointer + first, mask=takes, other=0.0).to(dtype)
    change = value
    if CHANNELS_OF == "orientation":
        beyond = tl.load(pointer + second, mask=takes, other=0.0).to(dtype)
        change = beyond - value
        # Near the next orientation, value + between * change would lose the digits of a small weight.
        value = (1.0 - between).to(dtype) * value + between.to(dtype) * beyond
    return value, change


@triton.jit
def channels_read(
    roi,
    number,
    channel,
    stride_c,
    orientations,
    BINS: tl.constexpr,
    CHANNELS_OF: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
):
    """The offsets of the channels that bins read and, if channels rotate, of those of the next orientation."""
    if CHANNELS_OF == "orientation":
        first, second = turned(roi, channel, tl.cast(orientations, tl.int32), False)
    else:
        first, second = channel, channel
    one = channels_side(first, CHANNELS_LAST)
    if CHANNELS_OF == "position":
        one = one * BINS + number
    return one * stride_c, channels_side(second, CHANNELS_LAST) * stride_c


@triton.jit
def weight_of(wy, slope_y, wx, slope_x, speed_y, speed_x, mask, mask_moved, TANGENT: tl.constexpr):
    """The weight of a pixel at a point times the mask of its bin, or its derivative along the tangent."""
    if TANGENT:
        weight = mask * (speed_y * slope_y * wx + speed_x * wy * slope_x) + mask_moved * (wy * wx)
    else:
        weight = mask * (wy * wx)
    return weight


@triton.jit
def masks_of(roi, tangent, number, is_bin, COLUMN: tl.constexpr, HAS_MASK: tl.constexpr, TANGENT: tl.constexpr):
    """The masks of bins, and their tangents."""
    mask, moved = tl.full(number.shape, 1.0, tl.float64), tl.zeros(number.shape, tl.float64)
    if HAS_MASK:
        mask = of_bin(roi, COLUMN, number, is_bin)
        if TANGENT:
            moved = tl.load(tangent + COLUMN + number, mask=is_bin, other=0.0)
    return mask, moved


@triton.jit
def most_of(count):
    """The maximum of a block of counts."""
    return tl.max(tl.max(count, 1), 0).to(tl.int32)


@triton.jit
def point_of_winner(
    roi,
    bins,
    winner,
    PH: tl.constexpr,
    PW: tl.constexpr,
    RULE: tl.constexpr,
    JOINT: tl.constexpr,
    SHIFT: tl.constexpr,
):
    """The maximal points (winners), and their corners."""
    known = tl.maximum(winner, 0)
    step_y = known >> SHIFT
    step_x = (known - (step_y << SHIFT)) >> 2
    line = row_of(roi, bins, step_y.to(tl.float64), PH, RULE, JOINT)
    return point_of(roi, bins, line, step_x.to(tl.float64), PH, PW, RULE, JOINT), known & 3


@triton.jit
def spans_of_bins(spans, row, number, is_bin, NUMBERS: tl.constexpr):
    """The pixels ``[first, end)`` of y, then of x, that bins may touch. Bins of whole pixels have just these."""
    span = spans + (row * NUMBERS + number) * 4
    return (
        tl.load(span, mask=is_bin, other=0),
        tl.load(span + 1, mask=is_bin, other=0),
        tl.load(span + 2, mask=is_bin, other=0),
        tl.load(span + 3, mask=is_bin, other=0),
    )


@triton.jit
def pixels_of(
    spans, row, numbers, map_of, first, stride_y, stride_x, NUMBERS: tl.constexpr, CHANNELS_LAST: tl.constexpr
):
    """For bins of whole pixels, given by a vector of their indices: blocks with the numbers of rows and columns, and
    the address of the first pixel."""
    first_y, end_y, first_x, end_x = spans_of_bins(spans, row, numbers, numbers < NUMBERS, NUMBERS)
    rows, columns = places_side(end_y - first_y, CHANNELS_LAST), places_side(end_x - first_x, CHANNELS_LAST)
    corner = places_side(first_y.to(tl.int64) * stride_y + first_x.to(tl.int64) * stride_x, CHANNELS_LAST)
    return rows, columns, map_of + (corner + first)
