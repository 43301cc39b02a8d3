"""Step 5: reduce the points of a bin."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def aggregate_mean(weight, by_start, by_length, share, position, value, slope):
    """Add a point to the mean of every bin: its share of a pixel's weight, and the derivatives of that in the RoI."""
    share = tl.cast(share, tl.float64)  # also if it is a constant
    moved = share * slope
    return weight + share * value, by_start + moved, by_length + moved * position


@triton.jit
def is_larger(sample, best):
    """Whether a value is larger than the maximum so far. NaN is the largest, and the first of equal values stays."""
    return ~(sample <= best) & (best == best)


@triton.jit
def aggregate_max(best, winner, sample, number, takes_part):
    """Add a point to the maximum of every bin, and update the winner: the first of equal points, with NaN the largest.

    `winner` is -1 if there is none yet. All arguments are blocks of bins and channels.
    """
    larger = takes_part & ((winner < 0) | is_larger(sample, best))
    return tl.where(larger, sample, best), tl.where(larger, number, winner)


@triton.jit
def aggregate_zero(best, winner, has_zero):
    """Add a point outside the map: a zero, which counts if it is larger than every sample."""
    larger = has_zero & (best < 0.0)
    return tl.where(larger, 0.0, best), tl.where(larger, -1, winner)
