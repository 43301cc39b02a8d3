"""Step 5: reduce the points of a bin."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def aggregate_mean(weight, by_start, by_length, share, position, value, slope):
    """One more point of every bin's mean: its share of a pixel's weight, and how that moves with the RoI."""
    share = tl.cast(share, tl.float64)  # also where it is a number
    moved = share * slope
    return weight + share * value, by_start + moved, by_length + moved * position


@triton.jit
def aggregate_max(best, winner, sample, number, takes_part):
    """One more point of every bin's maximum, and which point that is: of equal ones the first, and a NaN above all.

    `winner` is -1 while there is none; a block of the bin's channels, as the others.
    """
    larger = takes_part & ((winner < 0) | (~(sample <= best) & (best == best)))
    return tl.where(larger, sample, best), tl.where(larger, number, winner)


@triton.jit
def aggregate_zero(best, winner, has_zero):
    """A zero off the map, which counts where it is larger than every sample."""
    larger = has_zero & (best < 0.0)
    return tl.where(larger, 0.0, best), tl.where(larger, -1, winner)
