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
