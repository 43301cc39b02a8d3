"""Sorting of RoIs by place, so that programs that run at the same time share data in the L2 cache."""

from __future__ import annotations

import triton
import triton.language as tl

from .taps import PLACE

#: The height in rows of a band of the map. RoIs in the same band are neighbours in the order.
BAND = tl.constexpr(16)


@triton.jit
def keys_of(places, row, count):
    """The sort key of RoIs: level, image, band of the middle row, first column, and the row itself, as one number.
    Rows from `count` on come last."""
    is_row, place = row < count, places + row.to(tl.int64) * PLACE
    level = tl.load(place, mask=is_row, other=0)
    image = tl.load(place + 1, mask=is_row, other=0) + 1
    middle = tl.load(place + 2, mask=is_row, other=0) + tl.load(place + 3, mask=is_row, other=0)
    column = tl.load(place + 4, mask=is_row, other=0)
    # Beyond these limits, only the order is less useful.
    key = (tl.minimum(level, 31) << 16) + tl.minimum(image, (1 << 16) - 1)
    key = (key.to(tl.int64) << 14) + tl.minimum(middle // (2 * BAND), (1 << 14) - 1)
    key = (key << 16) + tl.minimum(column, (1 << 16) - 1)
    return tl.where(is_row, (key << 12) + row, 0x7FFFFFFFFFFFFFFF)


@triton.jit(do_not_specialize=["count"])
def order_kernel(places, order, count, ROWS: tl.constexpr, OTHERS: tl.constexpr):
    """Write the index of every row to its place in `order`: the number of rows that come before it, which is unique."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    key = keys_of(places, row, count)[:, None]
    rank = tl.zeros((ROWS,), tl.int32)
    for first in range(0, count, OTHERS):
        other_key = keys_of(places, first + tl.arange(0, OTHERS), count)[None, :]
        rank += tl.sum((other_key < key).to(tl.int32), 1)
    tl.store(order + rank, row, mask=row < count)


@triton.jit
def row_at(order, has_order, place):
    """The row at a place of the order, or the place itself if there is no order. This is decided at run time, so that
    kernels are not compiled again for another number of RoIs."""
    return tl.load(order + place, mask=has_order != 0, other=place).to(tl.int64)
