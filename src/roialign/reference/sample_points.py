"""Step 3: choose the points of a bin, one axis at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from .._spec import Rule
from .bin_grid import bin_ends, bin_grid
from .philox import uniform

#: The maximum adaptive count: beyond 2^52 pixels, a float64 coordinate no longer resolves a pixel.
LARGEST_COUNT = 2.0**52
#: If a bin has more points than this, only those that can touch the map are visited.
SMALL_COUNT = 64


class SamplePoint(NamedTuple):
    """A point of a bin: its coordinate, and how it moves with the RoI."""

    x: float
    """The feature coordinate."""
    cell: int
    """The integer at or below the point. It may differ from ``floor(x)``, since rounding may lift x to an integer."""
    position: float
    """The position in the RoI, from 0 at its start to 1 at its end: x = start + position * length."""
    share: float
    """The fraction of the bin that the point represents. The shares of a bin sum to 1."""
    moves: bool = True
    """Whether the point moves with the RoI."""


def sample_points(
    size: int,
    start: float,
    length: float,
    bins: int,
    bin_index: int,
    sampling_ratio: int = 0,
    rule: Rule = "grid",
    *,
    seed: int = 0,
    axis: int = 0,
    row: int = 0,
) -> Iterator[SamplePoint]:
    """The points of one bin that can touch a map of `size` pixels. Points more than a pixel away are left out.

    * ``grid``: the middles of `sampling_ratio` equal strata (adaptive: ``ceil(bin length)`` strata);
    * ``random``: one uniform point in every stratum, a pure function of (seed, point, bin, axis, RoI row);
    * ``exact`` and ``prroi``: the bin is divided at the integers, and the middle of each piece represents the piece.
      The interpolated map is linear on a piece, so this gives the mean over infinitely many points;
    * ``crop`` and ``nearest``: one point per bin, with the first and the last at the ends of the RoI.
    """
    if rule in ("grid", "random"):
        yield from _strata(size, start, length, bins, bin_index, sampling_ratio, rule, seed, axis, row)
    elif rule in ("exact", "prroi"):
        yield from _pieces(size, start, length, bins, bin_index, rule)
    else:
        x, position = _single_point(start, length, bins, bin_index, rule)
        yield SamplePoint(x, math.floor(x), position, 1.0)


def _single_point(start: float, length: float, bins: int, bin_index: int, rule: Rule) -> tuple[float, float]:
    """The coordinate and the position in the RoI of the point of a bin, for rules with one point per bin."""
    if rule in ("crop", "nearest"):
        if bins > 1:
            return start + bin_index * (length / (bins - 1)), bin_index / (bins - 1)
        return start + 0.5 * length, 0.5
    raise NotImplementedError(f"sample_points: the rule {rule!r} has no points")


def sample_count(bin_length: float, sampling_ratio: int) -> float:
    """The points per bin along one axis: `sampling_ratio`, or ``ceil(bin_length)`` but at least 0 if it is 0."""
    if sampling_ratio > 0:
        return float(sampling_ratio)
    return min(max(math.ceil(min(bin_length, LARGEST_COUNT)), 0.0), LARGEST_COUNT)


def _strata(
    size: int,
    start: float,
    length: float,
    bins: int,
    bin_index: int,
    sampling_ratio: int,
    rule: Rule,
    seed: int,
    axis: int,
    row: int,
) -> Iterator[SamplePoint]:
    bin_start, bin_length = bin_grid(start, length, bins, bin_index)
    count = sample_count(bin_length, sampling_ratio)
    for sample in touching(-1.0, size, bin_start, bin_length, count):
        within = uniform(seed, sample, bin_index, axis, row) if rule == "random" else 0.5
        yield stratum(bin_start, bin_length, bins, bin_index, count, sample, within)


def stratum(
    bin_start: float, bin_length: float, bins: int, bin_index: int, count: float, sample: int, within: float
) -> SamplePoint:
    """One of `count` points of a bin. `within` is its position in its stratum, from 0 to 1."""
    x = bin_start + (sample + within) * bin_length / count
    return SamplePoint(x, math.floor(x), (bin_index + (sample + within) / count) / bins, 1.0 / count)


def touching(low: float, high: float, bin_start: float, bin_length: float, count: float) -> range:
    """The points of a bin that may lie on ``[low, high]``, with a margin of 4 points on each side for rounding."""
    samples_per_pixel = count / bin_length if bin_length else math.inf
    if count <= SMALL_COUNT or math.isinf(samples_per_pixel):
        return range(int(count))
    ends = sorted(((low - bin_start) * samples_per_pixel, (high - bin_start) * samples_per_pixel))
    first = math.floor(min(max(ends[0] - 4, 0.0), count))
    last = math.ceil(min(max(ends[1] + 4, 0.0), count))
    return range(first, last)


def _pieces(size: int, start: float, length: float, bins: int, bin_index: int, rule: Rule) -> Iterator[SamplePoint]:
    bin_length = length / bins
    if bin_length == 0 or (rule == "prroi" and length < 0):
        if rule == "exact":  # an axis of zero length: the value at the point
            yield SamplePoint(start, math.floor(start), (bin_index + 0.5) / bins, 1.0)
        return
    low, high = bin_ends(length, bins, bin_index)
    for cell in range(*cells_between(size, start + low, start + high)):
        # Distances from the start of the RoI are exact for a box near the integer, whatever its size.
        piece_low, piece_high = max(low, cell - start), min(high, cell + 1 - start)
        if piece_high > piece_low:
            middle = 0.5 * (piece_low + piece_high)
            yield SamplePoint(start + middle, cell, middle / length, (piece_high - piece_low) / abs(bin_length))


def lattice(size: int, start: float, length: float, bins: int, bin_index: int) -> Iterator[SamplePoint]:
    """The candidates for the maximum of an interpolated map over a bin: the integers inside it and its two ends.

    They are in ascending order. The ends move with the RoI and the integers do not, so an integer at an end counts as
    the end.
    """
    low, high = bin_ends(length, bins, bin_index)
    inverted = length < 0
    yield _end(start, low, (bin_index + inverted) / bins)
    if high == low:
        return
    first, last = cells_between(size, start + low, start + high)
    for cell in range(first, last + 1):
        if low < cell - start < high:
            yield SamplePoint(float(cell), cell, 0.0, 1.0, moves=False)
    yield _end(start, high, (bin_index + (not inverted)) / bins)


def _end(start: float, distance: float, position: float) -> SamplePoint:
    return SamplePoint(start + distance, math.floor(start + distance), position, 1.0)


def cells_between(size: int, low: float, high: float) -> tuple[int, int]:
    """The range (first, last + 1) of the cells ``[k, k + 1]`` of [-1, size] that may intersect ``[low, high]``."""
    first = math.floor(min(max(low, -1.0), size)) - 1
    last = math.ceil(max(min(high, size), -1.0)) + 1
    return max(first, -1), min(last, size)
