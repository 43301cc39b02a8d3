"""The choice of the RoIs and bins that touch a tile, for the gradient to the features of the pointwise family."""

from __future__ import annotations

import triton
import triton.language as tl

from .point_values import spans_of_bins
from .shares import WORDS, rois_from

#: The RoIs that are compared with a tile at once if every bin has its own channels.
ROIS = tl.constexpr(32)


@triton.jit
def meets_tile(span, y, x, TILE_Y: tl.constexpr, TILE_X: tl.constexpr):
    """Whether bins of these spans may touch a tile."""
    first_y, end_y, first_x, end_x = span
    return (first_y < y + TILE_Y) & (end_y > y) & (first_x < x + TILE_X) & (end_x > x)


@triton.jit
def bins_meeting(
    spans, row, chunk, y, x, NUMBERS: tl.constexpr, BINS: tl.constexpr, TILE_Y: tl.constexpr, TILE_X: tl.constexpr
):
    """The indices of some bins of a RoI, and which of them may touch a tile."""
    number = chunk + tl.arange(0, BINS)
    span = spans_of_bins(spans, row, number, number < NUMBERS, NUMBERS)
    return number, meets_tile(span, y, x, TILE_Y, TILE_X)


@triton.jit
def rois_meeting(
    spans, bits, first, before, number, y, x, NUMBERS: tl.constexpr, TILE_Y: tl.constexpr, TILE_X: tl.constexpr
):
    """The indices of some RoIs from the row `first` on, and of which of them bin `number` may touch a tile. They are
    those of the set bits after the lowest ones, whose number is `before`."""
    index = rois_from(bits, before, ROIS)
    span = spans_of_bins(spans, first + index, number, index < 32 * WORDS, NUMBERS)
    return index, meets_tile(span, y, x, TILE_Y, TILE_X)


@triton.jit
def next_index(index, meets, after, NONE: tl.constexpr):
    """The first index above `after` that may touch the tile, or NONE."""
    return tl.min(tl.where(meets & (index > after), index, NONE), 0)


@triton.jit
def next_indices(index, meets, after, NONE: tl.constexpr, AT_ONCE: tl.constexpr):
    """The first indices above `after` that may touch the tile, and the last of them. NONE stands for no index."""
    chosen = tl.full((AT_ONCE,), NONE, tl.int32)
    for place in tl.static_range(AT_ONCE):
        after = next_index(index, meets, after, NONE)
        chosen = tl.where(tl.arange(0, AT_ONCE) == place, after, chosen)
    return chosen, after


@triton.jit
def row_and_bin(first, row, part, index, NONE: tl.constexpr, SPEC: tl.constexpr):
    """The rows and bins of indices. With its own channels, the bin is `part` and the index that of a RoI."""
    known = tl.where(index < NONE, index, 0)
    if SPEC.CHANNELS_OF == "position":
        row, known = first + known, part + 0 * known
    return row, known
