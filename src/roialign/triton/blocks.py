"""How the numbers of a program lie in memory: its block of places and channels, and the strides of what it reads.

A block of numbers has a side of bins or pixels and a side of channels. The side that lies densely in memory is its
last: channels where the maps are channels-last, else bins or pixels. So neighbouring threads read neighbouring places.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .numbers import of_level


@triton.jit
def places_side(values, CHANNELS_LAST: tl.constexpr):
    """A vector along the side of bins or pixels, as a block."""
    return values[:, None] if CHANNELS_LAST else values[None, :]


@triton.jit
def channels_side(values, CHANNELS_LAST: tl.constexpr):
    """A vector along the side of channels, as a block."""
    return values[None, :] if CHANNELS_LAST else values[:, None]


@triton.jit
def zeros(PLACES: tl.constexpr, CHANNELS: tl.constexpr, dtype: tl.constexpr, CHANNELS_LAST: tl.constexpr):
    """A block of zeros."""
    return tl.zeros((PLACES, CHANNELS), dtype) if CHANNELS_LAST else tl.zeros((CHANNELS, PLACES), dtype)


@triton.jit
def strides_of(strides, VECTOR: tl.constexpr):
    """The four strides of the answer, or of its gradient, in the order n, c, y, x.

    Where `VECTOR` is not 1, the caller knows that it divides all but that of the channels, which is 1. A hint like that
    holds for the operation that it is put on, so it stands beside the shift and not in a function of its own.
    """
    n, c = tl.cast(strides[0], tl.int64) >> 2, tl.cast(strides[1], tl.int64) >> 2
    y, x = tl.cast(strides[2], tl.int64) >> 2, tl.cast(strides[3], tl.int64) >> 2
    n = tl.multiple_of(n, VECTOR) if VECTOR > 1 else n
    y = tl.multiple_of(y, VECTOR) if VECTOR > 1 else y
    x = tl.multiple_of(x, VECTOR) if VECTOR > 1 else x
    return n, 1 if VECTOR > 1 else c, y, x


@triton.jit
def map_strides_of(strides, level, LEVELS: tl.constexpr, VECTOR: tl.constexpr):
    """The same of the map of a level."""
    n, c = of_level(strides[0], level, LEVELS) >> 2, of_level(strides[1], level, LEVELS) >> 2
    y, x = of_level(strides[2], level, LEVELS) >> 2, of_level(strides[3], level, LEVELS) >> 2
    n = tl.multiple_of(n, VECTOR) if VECTOR > 1 else n
    y = tl.multiple_of(y, VECTOR) if VECTOR > 1 else y
    x = tl.multiple_of(x, VECTOR) if VECTOR > 1 else x
    return n, 1 if VECTOR > 1 else c, y, x


@triton.jit
def channels_of(block, channels, CHANNELS: tl.constexpr, VECTOR: tl.constexpr):
    """The channels of a block, and which of them there are."""
    channel = tl.cast(block, tl.int64) * CHANNELS + tl.arange(0, CHANNELS)
    count = tl.cast(channels, tl.int64)
    return channel, channel < (tl.multiple_of(count, VECTOR) if VECTOR > 1 else count)


@triton.jit
def channel_block(channels, CHANNELS: tl.constexpr, VECTOR: tl.constexpr):
    """The channels of this program, the second of its numbers, and which of them there are."""
    return channels_of(tl.program_id(1), channels, CHANNELS, VECTOR)


@triton.jit
def solid_zeros(
    CHANNELS: tl.constexpr, TILE_Y: tl.constexpr, TILE_X: tl.constexpr, dtype: tl.constexpr, CHANNELS_LAST: tl.constexpr
):
    """Zeros of three sides: y, x, channels, or, of planar maps, channels, y, x."""
    return tl.zeros((TILE_Y, TILE_X, CHANNELS), dtype) if CHANNELS_LAST else tl.zeros((CHANNELS, TILE_Y, TILE_X), dtype)
