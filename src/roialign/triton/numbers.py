"""Passing numbers to kernels. Triton converts a float to float32, and specialises integers that are multiples of 16."""

from __future__ import annotations

import struct
from collections.abc import Iterable

import triton
import triton.language as tl


def bits_of(number: float) -> int:
    """The bits of a float64 as a signed 64-bit integer. Kernels convert it back with :func:`float64_of`."""
    return int(struct.unpack("<q", struct.pack("<d", number))[0])


def plain(values: Iterable[int]) -> tuple[int, ...]:
    """Encode changing sizes and strides as odd numbers above 1, for which Triton does not specialise kernels."""
    return tuple([4 * value + 3 for value in values])


def plain_bits_of(number: float) -> int:
    """The bits of a positive float64 as an odd signed 64-bit integer that never fits into 32 bits, so that Triton
    compiles a kernel once for all numbers. Kernels convert it back with :func:`positive_of`."""
    code = 2 * (bits_of(number) + (1 << 32)) + 1
    return code - (1 << 64 if code >> 63 else 0)


@triton.jit
def float64_of(bits):
    """The inverse of :func:`bits_of`."""
    return tl.cast(bits, tl.int64).to(tl.float64, bitcast=True)


@triton.jit
def positive_of(code):
    """The inverse of :func:`plain_bits_of`."""
    bits = ((tl.cast(code, tl.int64) >> 1) & 0x7FFFFFFFFFFFFFFF) - 0x100000000
    return bits.to(tl.float64, bitcast=True)


@triton.jit
def of_level(values, level, LEVELS: tl.constexpr):
    """The entry of a tuple of integers for a level, as int64."""
    chosen = tl.cast(values[0], tl.int64)
    for index in tl.static_range(1, LEVELS):
        chosen = tl.where(level == index, tl.cast(values[index], tl.int64), chosen)
    return chosen


@triton.jit
def plain_of_level(values, level, LEVELS: tl.constexpr):
    """The same for a tuple made by :func:`plain`."""
    return of_level(values, level, LEVELS) >> 2


@triton.jit
def pointer_of_level(pointers, level, LEVELS: tl.constexpr):
    """The entry of a tuple of pointers for a level."""
    chosen = pointers[0]
    for index in tl.static_range(1, LEVELS):
        chosen = tl.where(level == index, pointers[index], chosen)
    return chosen


@triton.jit
def clamp(value, low, high):
    """Clamp `value` to [low, high]. A NaN gives one of the ends."""
    return tl.minimum(tl.maximum(value, low), high)


@triton.jit
def bits_set(bits):
    """The number of bits set in uint32, by sums over pairs, groups of four, of eight, and all."""
    bits = bits - ((bits >> 1) & 0x55555555)
    bits = (bits & 0x33333333) + ((bits >> 2) & 0x33333333)
    bits = (bits + (bits >> 4)) & 0x0F0F0F0F
    return ((bits * 0x01010101) >> 24).to(tl.int32)
