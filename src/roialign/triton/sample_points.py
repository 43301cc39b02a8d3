"""Step 3: choose the points of a bin, one axis at a time. Counts and indices are float64 until they are in range."""

from __future__ import annotations

import triton
import triton.language as tl

from .bin_grid import bin_ends, bin_grid, integer_bin
from .numbers import clamp

#: The maximum adaptive count: beyond 2^52 pixels, a float64 coordinate no longer resolves a pixel.
LARGEST_COUNT = tl.constexpr(2.0**52)


@triton.jit
def sample_count(bin_length, sampling_ratio):
    """The points per bin along one axis: `sampling_ratio`, or ``ceil(bin_length)`` but at least 0 if it is 0."""
    adaptive = clamp(tl.ceil(tl.minimum(bin_length, LARGEST_COUNT)), 0.0, LARGEST_COUNT)
    return tl.where(sampling_ratio > 0, tl.cast(sampling_ratio, tl.float64) + 0.0 * adaptive, adaptive)


@triton.jit
def stratum(bin_start, bin_length, bins, bin_index, count, sample, within):
    """One of `count` points of a bin, as ``(x, position in the RoI)``. `within` is its position in its stratum."""
    x = bin_start + (sample + within) * bin_length / count
    return x, (bin_index + (sample + within) / count) / bins


@triton.jit
def uniform(seed, sample, bin_index, axis, row):
    """A number in (0, 1) for one point: the middle of the 2^-32 interval given by the first word of Philox-4x32-10."""
    low = (sample.to(tl.int64) & 0xFFFFFFFF).to(tl.uint32)
    bin_word = bin_index.to(tl.int64).to(tl.uint32) + 0 * low
    word, _, _, _ = tl.philox(seed, low, bin_word, axis.to(tl.uint32) + 0 * low, row.to(tl.uint32) + 0 * low)
    return (word.to(tl.float64) + 0.5) * (2.0**-32)


@triton.jit
def touching(low, high, bin_start, bin_length, count):
    """The points ``[first, end)`` of a bin that may lie on ``[low, high]``, with a margin of 4 points for rounding."""
    samples_per_pixel = count / tl.where(bin_length == 0.0, 1.0, bin_length)
    every = (bin_length == 0.0) | ~(tl.abs(samples_per_pixel) < float("inf"))
    samples_per_pixel = tl.where(every, 0.0, samples_per_pixel)
    one, other = (low - bin_start) * samples_per_pixel, (high - bin_start) * samples_per_pixel
    first = tl.floor(clamp(tl.minimum(one, other) - 4.0, 0.0, count))
    end = tl.ceil(clamp(tl.maximum(one, other) + 4.0, 0.0, count))
    return tl.where(every, 0.0, first), tl.where(every, count, end)


@triton.jit
def single_point(start, length, bins, bin_index, RULE: tl.constexpr):
    """The point of a bin as ``(x, position in the RoI)``, for rules with one point per bin."""
    tl.static_assert(RULE == "crop" or RULE == "nearest", "single_point: a rule has no points")
    # The first and the last point are at the ends of the RoI.
    steps = tl.maximum(bins - 1.0, 1.0)
    x = tl.where(bins > 1.0, start + bin_index * (length / steps), start + 0.5 * length)
    return x, tl.where(bins > 1.0, bin_index / steps, 0.5 + 0.0 * bin_index)


@triton.jit
def piece(start, length, low, high, bin_length, cell):
    """The middle of the part of an exact bin within a cell: ``(x, position, share)``. The share is 0 if it is empty.

    Distances from the start of the RoI are exact for a box near the integer, whatever its size.
    """
    piece_low = tl.maximum(low, cell - start)
    piece_high = tl.minimum(high, (cell + 1.0) - start)
    exists = piece_high > piece_low
    middle = 0.5 * (piece_low + piece_high)
    whole = tl.where(length == 0.0, 1.0, length)
    share = (piece_high - piece_low) / tl.abs(tl.where(bin_length == 0.0, 1.0, bin_length))
    return start + middle, middle / whole, tl.where(exists, share, 0.0)


@triton.jit
def points_between(start, length, bins, bin_index, sampling_ratio, RULE: tl.constexpr):
    """The smallest and the largest coordinate that a point of a bin may have, and whether the bin has points."""
    if RULE == "exact" or RULE == "prroi":
        first, last = bin_ends(length, bins, bin_index)
        exists = (first == first) & ((RULE == "exact") | (length > 0.0))
        first, last = start + first, start + last
    elif RULE == "grid" or RULE == "random":
        bin_start, bin_length = bin_grid(start, length, bins, bin_index)
        count = sample_count(bin_length, sampling_ratio)
        exists = count > 0.0
        if RULE == "grid":
            divisor = tl.maximum(count, 1.0)
            first, _ = stratum(bin_start, bin_length, bins, bin_index, divisor, 0.0, 0.5)
            last, _ = stratum(bin_start, bin_length, bins, bin_index, divisor, divisor - 1.0, 0.5)
        else:
            first, last = bin_start, bin_start + bin_length
    else:
        first, _ = single_point(start, length, bins, bin_index, RULE)
        last, exists = first, first == first
    return tl.minimum(first, last), tl.maximum(first, last), exists


@triton.jit
def cells_between(low, high, size):
    """The range (first, last + 1) of the cells ``[k, k + 1]`` of [-1, size] that may intersect ``[low, high]``."""
    first = tl.floor(clamp(low, -1.0, size)) - 1.0
    return tl.maximum(first, -1.0), tl.minimum(tl.ceil(clamp(high, -1.0, size)) + 1.0, size)


@triton.jit
def numbers_of(low, high, start, length, bins, bin_index, ratio, size, RULE: tl.constexpr):
    """The indices ``[first, end)`` of a bin's points along one axis, and the total number of points.

    For regular and random points, the indices are those of the strata that may lie on ``[low, high]``. For whole
    pixels, they are the pixels. For the lattice, they are the integers inside, one before them for the lower end, and
    one after them for the upper end.
    """
    if RULE == "pixels":
        first, end = integer_bin(start, length, bins, bin_index, size)
        count = end - first
    elif RULE == "lattice":
        one, other = bin_ends(length, bins, bin_index)
        first, end = cells_between(start + one, start + other, size)
        first, end = first - 1.0, end + 2.0
        count = end - first
    else:
        tl.static_assert(RULE == "grid" or RULE == "random", "numbers_of: a rule has no points")
        bin_start, bin_length = bin_grid(start, length, bins, bin_index)
        count = sample_count(bin_length, ratio)
        first, end = touching(low, high, bin_start, bin_length, count)
    return first, end, count


@triton.jit
def numbered_point(
    step, first, end, count, start, length, bin_start, bin_length, bins, bin_index, seed, axis, row, RULE: tl.constexpr
):
    """One of a bin's points along one axis, in ascending order: ``(x, position, share, whether it moves, exists)``."""
    number = first + step
    exists = number < end
    if RULE == "pixels":
        x, position, share = number, 0.0 * number, 1.0 / tl.maximum(count, 1.0)
        moves = number != number
    elif RULE == "lattice":
        low, high = bin_ends(length, bins, bin_index)
        is_low, is_high = number == first, number == end - 1.0
        distance = number - start
        x = tl.where(is_low, start + low, tl.where(is_high, start + high, number))
        beyond = tl.where(is_low == (length < 0.0), 1.0, 0.0)
        moves = is_low | is_high
        position = tl.where(moves, (bin_index + beyond) / bins, 0.0)
        share = 1.0 + 0.0 * number
        exists = exists & (is_low | ((high > low) & (is_high | ((low < distance) & (distance < high)))))
    else:
        divisor = tl.maximum(count, 1.0)
        sample = tl.where(bin_length < 0.0, end - 1.0 - step, number)
        within = 0.5
        if RULE == "random":
            within = uniform(seed, sample, bin_index, axis, row)
        x, position = stratum(bin_start, bin_length, bins, bin_index, divisor, sample, within)
        share = 1.0 / divisor
        moves = exists
    return x, position, share, moves, exists
