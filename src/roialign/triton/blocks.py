"""The memory layout of a program: its block of places and channels, and the strides of the tensors that it reads.

A block has one axis for places (bins or pixels) and one for channels. The last axis is the one that is contiguous in
memory: channels if the maps are channels-last, else places. Neighbouring threads therefore read adjacent memory.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .numbers import of_level, pointer_of_level
from .taps import PLACE


@triton.jit
def places_side(values, CHANNELS_LAST: tl.constexpr):
    """Expand a vector along the axis of bins or pixels to a block."""
    return values[:, None] if CHANNELS_LAST else values[None, :]


@triton.jit
def channels_side(values, CHANNELS_LAST: tl.constexpr):
    """Expand a vector along the axis of channels to a block."""
    return values[None, :] if CHANNELS_LAST else values[:, None]


@triton.jit
def zeros(PLACES: tl.constexpr, CHANNELS: tl.constexpr, dtype: tl.constexpr, CHANNELS_LAST: tl.constexpr):
    """A block of zeros."""
    return tl.zeros((PLACES, CHANNELS), dtype) if CHANNELS_LAST else tl.zeros((CHANNELS, PLACES), dtype)


@triton.jit
def strides_of(strides, VECTOR: tl.constexpr):
    """The four strides of the result, or of its gradient, in the order n, c, y, x.

    If `VECTOR` is not 1, the channel stride is 1 and `VECTOR` divides the other strides. Such a hint applies only to
    the operation that it is attached to, so it is next to the shift and not in a separate function.
    """
    n, c = tl.cast(strides[0], tl.int64) >> 2, tl.cast(strides[1], tl.int64) >> 2
    y, x = tl.cast(strides[2], tl.int64) >> 2, tl.cast(strides[3], tl.int64) >> 2
    n = tl.multiple_of(n, VECTOR) if VECTOR > 1 else n
    y = tl.multiple_of(y, VECTOR) if VECTOR > 1 else y
    x = tl.multiple_of(x, VECTOR) if VECTOR > 1 else x
    return n, 1 if VECTOR > 1 else c, y, x


@triton.jit
def map_strides_of(strides, level, LEVELS: tl.constexpr, VECTOR: tl.constexpr):
    """The strides of the map of a level, as in :func:`strides_of`."""
    n, c = of_level(strides[0], level, LEVELS) >> 2, of_level(strides[1], level, LEVELS) >> 2
    y, x = of_level(strides[2], level, LEVELS) >> 2, of_level(strides[3], level, LEVELS) >> 2
    n = tl.multiple_of(n, VECTOR) if VECTOR > 1 else n
    y = tl.multiple_of(y, VECTOR) if VECTOR > 1 else y
    x = tl.multiple_of(x, VECTOR) if VECTOR > 1 else x
    return n, 1 if VECTOR > 1 else c, y, x


@triton.jit
def map_of_row(features, places, row, strides, LEVELS: tl.constexpr, VECTOR: tl.constexpr):
    """The map of a RoI's level and image, the image, and the map's strides of channels, rows and columns."""
    level, image = tl.load(places + row * PLACE).to(tl.int64), tl.load(places + row * PLACE + 1).to(tl.int64)
    n, c, y, x = map_strides_of(strides, level, LEVELS, VECTOR)
    return pointer_of_level(features, level, LEVELS) + tl.maximum(image, 0) * n, image, c, y, x


@triton.jit
def roi_of_program(ALL_BINS: tl.constexpr, BINS: tl.constexpr):
    """The place of the RoI of this program, given by its first program id. `BINS` are those of a program."""
    return tl.program_id(0) // ((ALL_BINS + BINS - 1) // BINS)


@triton.jit
def bins_of_program(ALL_BINS: tl.constexpr, BINS: tl.constexpr):
    """The numbers of the bins of this program."""
    return tl.program_id(0) % ((ALL_BINS + BINS - 1) // BINS) * BINS + tl.arange(0, BINS)


@triton.jit
def channels_of(block, channels, CHANNELS: tl.constexpr, VECTOR: tl.constexpr):
    """The channels of a block, and which of them exist."""
    channel = tl.cast(block, tl.int64) * CHANNELS + tl.arange(0, CHANNELS)
    count = tl.cast(channels, tl.int64)
    return channel, channel < (tl.multiple_of(count, VECTOR) if VECTOR > 1 else count)


@triton.jit
def channel_block(block, channels, CHANNELS: tl.constexpr, VECTOR: tl.constexpr, CHANNELS_LAST: tl.constexpr):
    """The channels of a block, and which of them exist, expanded as by :func:`channels_side`."""
    channel, is_channel = channels_of(block, channels, CHANNELS, VECTOR)
    return channel, channels_side(is_channel, CHANNELS_LAST)


@triton.jit
def solid_zeros(
    CHANNELS: tl.constexpr, TILE_Y: tl.constexpr, TILE_X: tl.constexpr, dtype: tl.constexpr, CHANNELS_LAST: tl.constexpr
):
    """Zeros with three axes: y, x, channels, or for planar maps channels, y, x."""
    return tl.zeros((TILE_Y, TILE_X, CHANNELS), dtype) if CHANNELS_LAST else tl.zeros((CHANNELS, TILE_Y, TILE_X), dtype)
