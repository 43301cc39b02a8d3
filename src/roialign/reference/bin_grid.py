"""Step 2: divide the mapped RoI into bins."""

from __future__ import annotations

import math


def bin_grid(start: float, length: float, bins: int, bin_index: int) -> tuple[float, float]:
    """The ``(start, length)`` of one bin along one axis.

    Concretely, bin i covers ``[start + i * length / bins, start + (i + 1) * length / bins]``. An inverted RoI and its
    bins have negative lengths.
    """
    bin_length = length / bins
    return start + bin_index * bin_length, bin_length


def bin_ends(length: float, bins: int, bin_index: int) -> tuple[float, float]:
    """Both ends of a bin as distances from the start of the RoI, in ascending order."""
    ends = bin_grid(0.0, length, bins, bin_index)[0], bin_grid(0.0, length, bins, bin_index + 1)[0]
    return min(ends), max(ends)


def integer_bin(start: float, length: float, bins: int, bin_index: int, size: int) -> tuple[int, int]:
    """The whole pixels ``[first, last)`` of a map of `size` pixels that a bin covers, from its floor to its ceiling.

    Bins are computed relative to the pixel in which the RoI starts, and then shifted.
    """
    whole = math.floor(start)
    low, high = (bin_grid(start - whole, length, bins, bin_index + side)[0] for side in (0, 1))
    return min(max(math.floor(low) + whole, 0), size), min(max(math.ceil(high) + whole, 0), size)
