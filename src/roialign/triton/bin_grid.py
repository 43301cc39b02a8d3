"""Step 2: divide the mapped RoI into bins."""

from __future__ import annotations

import triton
import triton.language as tl

from .numbers import clamp


@triton.jit
def bin_grid(start, length, bins, bin_index):
    """The ``(start, length)`` of one bin along one axis, in float64."""
    bin_length = length / bins
    return start + bin_index * bin_length, bin_length


@triton.jit
def bin_ends(length, bins, bin_index):
    """Both ends of a bin as distances from the start of the RoI, in ascending order."""
    one, _ = bin_grid(0.0 * length, length, bins, bin_index)
    other, _ = bin_grid(0.0 * length, length, bins, bin_index + 1.0)
    return tl.minimum(one, other), tl.maximum(one, other)


@triton.jit
def integer_bin(start, length, bins, bin_index, size):
    """The whole pixels ``[first, end)`` of an axis of `size` pixels that a bin covers, from its floor to its ceiling.

    Bins are computed relative to the pixel in which the RoI starts, and then shifted.
    """
    whole = tl.floor(start)
    low, _ = bin_grid(start - whole, length, bins, bin_index)
    high, _ = bin_grid(start - whole, length, bins, bin_index + 1.0)
    first = clamp(tl.floor(low) + whole, 0.0, size)
    return first, tl.maximum(first, clamp(tl.ceil(high) + whole, 0.0, size))
