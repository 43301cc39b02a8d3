"""Step 2: cut the mapped RoI into bins."""

from __future__ import annotations

import math


def bin_grid(start: float, length: float, bins: int, bin_index: int) -> tuple[float, float]:
    """The ``(start, length)`` of one bin along one axis.

    Concretely, bin i covers ``[start + i * length / bins, start + (i + 1) * length / bins]``. The length of an
    inverted RoI is negative, and so is that of its bins.
    """
    bin_length = length / bins
    return start + bin_index * bin_length, bin_length


def bin_ends(length: float, bins: int, bin_index: int) -> tuple[float, float]:
    """Both ends of a bin as distances from the start of the RoI, the smaller first."""
    ends = bin_grid(0.0, length, bins, bin_index)[0], bin_grid(0.0, length, bins, bin_index + 1)[0]
    return min(ends), max(ends)


def integer_bin(start: float, length: float, bins: int, bin_index: int, size: int) -> tuple[int, int]:
    """The whole pixels ``[first, last)`` of a map of `size` that a bin covers, from its floor to its ceiling.

    Where the RoI starts on a pixel, its bins are cut before they are moved there.
    """
    whole = math.floor(start)
    low, high = (bin_grid(start - whole, length, bins, bin_index + side)[0] for side in (0, 1))
    return min(max(math.floor(low) + whole, 0), size), min(max(math.ceil(high) + whole, 0), size)
