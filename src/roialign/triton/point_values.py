"""What the kernels of the pointwise family read at points: channels, weights and winners."""

from __future__ import annotations

from typing import NamedTuple

import triton
import triton.language as tl

from .blocks import channels_side, map_of_row, places_side, strides_of
from .frames import TURN
from .point_rows import Roi, of_bin, roi_of
from .points import Bins, bins_of, point_of, row_of, velocity_along, whole_map

#: For bins of whole pixels: the pixels of a row that are read at once.
PIXELS = tl.constexpr(2)


class Block(NamedTuple):
    """The bins of a RoI that a program computes, and the map that it reads."""

    row: tl.tensor
    roi: Roi
    bins: Bins
    numbers: tl.tensor
    """The numbers of the bins as a vector. `bins` has blocks."""
    is_bin: tl.tensor
    map_of: tl.tensor
    stride_c: tl.tensor
    stride_y: tl.tensor
    stride_x: tl.tensor


class Channels(NamedTuple):
    """The channels of a program."""

    channel: tl.tensor
    takes: tl.tensor
    """Which of them exist, as a block."""
    first: tl.tensor
    """The offsets on the map of the channels that bins read."""
    second: tl.tensor
    """If channels rotate, those of the next orientation."""


@triton.jit
def block_of(
    row,
    numbers,
    features,
    strides,
    rois,
    frames,
    places,
    sampling,
    SPEC: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    VECTOR: tl.constexpr,
    LEVELS: tl.constexpr,
):
    """Make a :class:`Block` of bins of a row, given by a vector of their numbers."""
    map_of, image, stride_c, stride_y, stride_x = map_of_row(features, places, row, strides, LEVELS, VECTOR)
    roi, number = roi_of(row, rois, frames, sampling, SPEC), places_side(numbers, CHANNELS_LAST)
    is_bin = (number < SPEC.bins) & (image >= 0)
    bins = bins_of(roi, whole_map(roi), number, is_bin, SPEC)
    return Block(row, roi, bins, numbers, is_bin, map_of, stride_c, stride_y, stride_x)


@triton.jit
def channels_read(channel, takes, block, orientations, SPEC: tl.constexpr, CHANNELS_LAST: tl.constexpr):
    """Make :class:`Channels`."""
    if SPEC.CHANNELS_OF == "orientation":
        first, second = turned(block.roi, channel, tl.cast(orientations, tl.int32), False)
    else:
        first, second = channel, channel
    one = channels_side(first, CHANNELS_LAST)
    if SPEC.CHANNELS_OF == "position":
        one = one * SPEC.bins + block.bins.number
    return Channels(channel, takes, one * block.stride_c, channels_side(second, CHANNELS_LAST) * block.stride_c)


@triton.jit
def in_output(block, channel, strides, SPEC: tl.constexpr, CHANNELS_LAST: tl.constexpr, VECTOR: tl.constexpr):
    """The offsets of bins and channels in the result, or in its gradient."""
    n, c, y, x = strides_of(strides, VECTOR)
    number = block.bins.number
    at = block.row * n + (number // SPEC.PW) * y + (number % SPEC.PW) * x
    return at + channels_side(channel * c, CHANNELS_LAST)


@triton.jit
def in_winners(block, channel, channels, SPEC: tl.constexpr, CHANNELS_LAST: tl.constexpr):
    """The offsets of bins and channels in the winners, ``[K, bins, C]``."""
    at = (block.row * SPEC.bins + block.bins.number) * tl.cast(channels, tl.int64)
    return at + channels_side(channel, CHANNELS_LAST)


@triton.jit
def write_bins(
    total, out, block, own, out_strides, SPEC: tl.constexpr, CHANNELS_LAST: tl.constexpr, VECTOR: tl.constexpr
):
    """Write a block of bins and channels of the result."""
    place = in_output(block, own.channel, out_strides, SPEC, CHANNELS_LAST, VECTOR)
    tl.store(out + place, total.to(out.dtype.element_ty), mask=(block.bins.number < SPEC.bins) & own.takes)


@triton.jit
def read_gradient(
    grad_output,
    block,
    own,
    grad_strides,
    dtype: tl.constexpr,
    SPEC: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    VECTOR: tl.constexpr,
):
    """Read a block of bins and channels of the gradient of the result."""
    place = in_output(block, own.channel, grad_strides, SPEC, CHANNELS_LAST, VECTOR)
    return tl.load(grad_output + place, mask=block.is_bin & own.takes, other=0.0).to(dtype)


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
def offset_of(pixel, block):
    """The offset of pixels on the map."""
    return pixel[0].to(tl.int64) * block.stride_y + pixel[1].to(tl.int64) * block.stride_x


@triton.jit
def read(pointer, first, second, takes, between, dtype: tl.constexpr, SPEC: tl.constexpr):
    """Values, interpolated between two orientations, and their change from one orientation to the next."""
    value = tl.load(pointer + first, mask=takes, other=0.0).to(dtype)
    change = value
    if SPEC.CHANNELS_OF == "orientation":
        beyond = tl.load(pointer + second, mask=takes, other=0.0).to(dtype)
        change = beyond - value
        # Near the next orientation, value + between * change would lose the digits of a small weight.
        value = (1.0 - between).to(dtype) * value + between.to(dtype) * beyond
    return value, change


@triton.jit
def weight_of(wy, slope_y, wx, slope_x, speed_y, speed_x, mask, mask_moved, TANGENT: tl.constexpr):
    """The weight of a pixel at a point times the mask of its bin, or its derivative along the tangent."""
    if TANGENT:
        weight = mask * (speed_y * slope_y * wx + speed_x * wy * slope_x) + mask_moved * (wy * wx)
    else:
        weight = mask * (wy * wx)
    return weight


@triton.jit
def masks_of(roi, tangent, number, is_bin, SPEC: tl.constexpr, TANGENT: tl.constexpr):
    """The masks of bins, and their tangents. `tangent` points to the row of the tangent."""
    mask, moved = tl.full(number.shape, 1.0, tl.float64), tl.zeros(number.shape, tl.float64)
    if SPEC.HAS_MASK:
        mask = of_bin(roi, SPEC.first_mask, number, is_bin)
        if TANGENT:
            moved = tl.load(tangent + SPEC.first_mask + number, mask=is_bin, other=0.0)
    return mask, moved


@triton.jit
def motion_of(roi, bins, tangent, is_bin, SPEC: tl.constexpr, TANGENT: tl.constexpr):
    """The masks of bins, their tangents, and the velocity of the points. `tangent` points to the row of the tangent."""
    mask, mask_moved = masks_of(roi, tangent, bins.number, is_bin, SPEC, TANGENT)
    return mask, mask_moved, velocity_along(roi, bins, tangent, bins.number, is_bin, SPEC, TANGENT)


@triton.jit
def most_of(count):
    """The maximum of a block of counts."""
    return tl.max(tl.max(count, 1), 0).to(tl.int32)


@triton.jit
def point_of_winner(roi, bins, winner, SPEC: tl.constexpr, SHIFT: tl.constexpr):
    """The maximal points (winners), and their corners."""
    known = tl.maximum(winner, 0)
    step_y = known >> SHIFT
    step_x = (known - (step_y << SHIFT)) >> 2
    line = row_of(roi, bins, step_y.to(tl.float64), SPEC)
    return point_of(roi, bins, line, step_x.to(tl.float64), SPEC), known & 3


@triton.jit
def read_winners(winners, block, own, channels, SPEC: tl.constexpr, CHANNELS_LAST: tl.constexpr, SHIFT: tl.constexpr):
    """Read the winners of a block of bins and channels, with their points and corners."""
    at = in_winners(block, own.channel, channels, SPEC, CHANNELS_LAST)
    winner = tl.load(winners + at, mask=block.is_bin & own.takes, other=-1).to(tl.int64)
    point, corner = point_of_winner(block.roi, block.bins, winner, SPEC, SHIFT)
    return winner, point, corner


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
def pixel_at(rows, columns, step_y, step_x, stride_y, stride_x):
    """One pixel of bins of whole pixels: its offset from the first one, and whether it exists."""
    offset = tl.cast(step_y, tl.int64) * stride_y + tl.cast(step_x, tl.int64) * stride_x
    return offset, (step_y < rows) & (step_x < columns)


@triton.jit
def pixels_of(spans, block, first, SPEC: tl.constexpr, CHANNELS_LAST: tl.constexpr):
    """For bins of whole pixels: blocks with the numbers of rows and columns, and the address of the first pixel."""
    numbers = block.numbers
    first_y, end_y, first_x, end_x = spans_of_bins(spans, block.row, numbers, numbers < SPEC.bins, SPEC.bins)
    rows, columns = places_side(end_y - first_y, CHANNELS_LAST), places_side(end_x - first_x, CHANNELS_LAST)
    corner = first_y.to(tl.int64) * block.stride_y + first_x.to(tl.int64) * block.stride_x
    return rows, columns, block.map_of + (places_side(corner, CHANNELS_LAST) + first)
