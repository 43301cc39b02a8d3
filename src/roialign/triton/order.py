"""Sorting of RoIs by place, so that programs that run at the same time share data in the L2 cache."""

from __future__ import annotations

import triton
import triton.language as tl

from .taps import PLACE

#: The height in rows of a band of the map. RoIs in the same band are neighbours in the order.
BAND = tl.constexpr(16)


@triton.jit
def keys_of(places, row, is_row):
    """The sort key of RoIs: level, image, band of the middle row, and first column, as one number."""
    place = places + row.to(tl.int64) * PLACE
    level = tl.load(place, mask=is_row, other=0).to(tl.int64)
    image = tl.load(place + 1, mask=is_row, other=0).to(tl.int64) + 1
    middle = (tl.load(place + 2, mask=is_row, other=0) + tl.load(place + 3, mask=is_row, other=0)).to(tl.int64)
    column = tl.load(place + 4, mask=is_row, other=0).to(tl.int64)
    key = (tl.minimum(level, 31) << 20) + tl.minimum(image, (1 << 20) - 1)
    key = (key << 18) + tl.minimum(middle // (2 * BAND), (1 << 18) - 1)
    return (key << 20) + tl.minimum(column, (1 << 20) - 1)


@triton.jit(do_not_specialize=["count"])
def order_kernel(places, order, count, ROWS: tl.constexpr, OTHERS: tl.constexpr):
    """Write the index of every row to its place in `order`: the number of rows that come before it, which is unique."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    is_row = row < count
    key = keys_of(places, row, is_row)[:, None]
    rank = tl.zeros((ROWS,), tl.int32)
    for first in range(0, count, OTHERS):
        other = first + tl.arange(0, OTHERS)
        exists = other < count
        other_key = keys_of(places, other, exists)[None, :]
        comes_first = (other_key < key) | ((other_key == key) & (other[None, :] < row[:, None]))
        rank += tl.sum((comes_first & exists[None, :]).to(tl.int32), 1)
    tl.store(order + rank, row.to(tl.int32), mask=is_row)


@triton.jit
def row_at(order, has_order, place):
    """The row at a place of the order, or the place itself if there is no order. This is decided at run time, so that
    kernels are not compiled again for another number of RoIs."""
    return tl.load(order + place, mask=has_order != 0, other=place).to(tl.int64)
