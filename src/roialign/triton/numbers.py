"""How numbers get into kernels: Triton makes a float argument a float32, and compiles anew for every multiple of 16."""

from __future__ import annotations

import struct
from collections.abc import Iterable

import triton
import triton.language as tl


def bits_of(number: float) -> int:
    """A float64 as the 64-bit integer, signed, that has its bits: kernels take it back by :func:`float64_of`."""
    return int(struct.unpack("<q", struct.pack("<d", number))[0])


def plain(values: Iterable[int]) -> tuple[int, ...]:
    """Sizes and strides that change from call to call, as odd numbers above 1, which Triton has no special code for."""
    return tuple([4 * value + 3 for value in values])


@triton.jit
def float64_of(bits):
    """The way back from :func:`bits_of`."""
    return tl.cast(bits, tl.int64).to(tl.float64, bitcast=True)


@triton.jit
def of_level(values, level, LEVELS: tl.constexpr):
    """The entry of a tuple of integers that belongs to a level, as int64."""
    chosen = tl.cast(values[0], tl.int64)
    for index in tl.static_range(1, LEVELS):
        chosen = tl.where(level == index, tl.cast(values[index], tl.int64), chosen)
    return chosen


@triton.jit
def plain_of_level(values, level, LEVELS: tl.constexpr):
    """The same for a tuple that :func:`plain` has made."""
    return of_level(values, level, LEVELS) >> 2


@triton.jit
def pointer_of_level(pointers, level, LEVELS: tl.constexpr):
    """The entry of a tuple of pointers that belongs to a level."""
    chosen = pointers[0]
    for index in tl.static_range(1, LEVELS):
        chosen = tl.where(level == index, pointers[index], chosen)
    return chosen


@triton.jit
def clamp(value, low, high):
    """`value` within [low, high]; a NaN gives an end."""
    return tl.minimum(tl.maximum(value, low), high)
