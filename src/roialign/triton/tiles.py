"""Which RoIs touch which tile of the maps. It has a bit for every pair, so that its size does not depend on values."""

from __future__ import annotations

from typing import NamedTuple

import triton
import triton.language as tl

from .blocks import map_strides_of
from .numbers import bits_set, of_level, plain_of_level, pointer_of_level
from .taps import PLACE


class Maps(NamedTuple):
    """The maps of a call. Each field is a tuple with an entry for every level."""

    pointers: tl.tuple
    heights: tl.tuple
    widths: tl.tuple
    strides: tl.tuple
    """Tuples of the strides of n, c, y and x."""


@triton.jit
def tile_of(tile, heights, widths, first_tiles, TILE_Y: tl.constexpr, TILE_X: tl.constexpr, LEVELS: tl.constexpr):
    """The level and image of a tile, and its first row and column. Tiles are numbered level by level."""
    tile = tile.to(tl.int32)  # because a 64-bit division is a function call
    level = 0 * tile
    for index in tl.static_range(1, LEVELS):
        level += (tile >= (tl.cast(first_tiles[index], tl.int64) >> 2).to(tl.int32)).to(tl.int32)
    own = tile - (of_level(first_tiles, level, LEVELS) >> 2).to(tl.int32)
    rows, columns = tiles_along(heights, level, TILE_Y, LEVELS), tiles_along(widths, level, TILE_X, LEVELS)
    row = own.to(tl.uint32) // columns  # unsigned, because a signed division has more instructions
    image = row // rows
    y, x = (row - image * rows) * TILE_Y, (own.to(tl.uint32) - row * columns) * TILE_X
    return level.to(tl.int64), image.to(tl.int64), y.to(tl.int64), x.to(tl.int64)


@triton.jit
def tiles_along(sizes, level, TILE: tl.constexpr, LEVELS: tl.constexpr):
    """The number of tiles along an axis of the map of a level, as uint32."""
    return (plain_of_level(sizes, level, LEVELS).to(tl.uint32) + (TILE - 1)) // TILE


@triton.jit
def write_tile(
    total,
    maps,
    place,
    channel,
    is_channel,
    CHANNELS_LAST: tl.constexpr,
    PLANAR: tl.constexpr,
    VECTOR: tl.constexpr,
    LEVELS: tl.constexpr,
    ADDS: tl.constexpr,
):
    """Write some channels of a tile, a block like that of :func:`solid_zeros`, to its place on the maps, or add them to
    what is there. `PLANAR` tells that the pixels of a row of the maps are adjacent in memory."""
    FIRST: tl.constexpr = 0 if CHANNELS_LAST else 1
    level, image, tile_y, tile_x = place
    y, x = tile_y + tl.arange(0, total.shape[FIRST]), tile_x + tl.arange(0, total.shape[FIRST + 1])
    is_row, is_column = y < plain_of_level(maps.heights, level, LEVELS), x < plain_of_level(maps.widths, level, LEVELS)
    stride_n, stride_c, stride_y, stride_x = map_strides_of(maps.strides, level, LEVELS, VECTOR)
    of_image = pointer_of_level(maps.pointers, level, LEVELS) + image * stride_n
    if CHANNELS_LAST:
        at = (y * stride_y)[:, None, None] + (x * stride_x)[None, :, None] + (channel * stride_c)[None, None, :]
        mask = is_row[:, None, None] & is_column[None, :, None] & is_channel[None, None, :]
    else:
        at = (y * stride_y)[None, :, None] + (x * stride_x)[None, None, :] + (channel * stride_c)[:, None, None]
        mask = is_row[None, :, None] & is_column[None, None, :] & is_channel[:, None, None]
    pointers = of_image + at
    if PLANAR:
        # Let neighbouring threads write neighbouring pixels. Nothing else follows from this, because no alignment is
        # known.
        pointers = tl.max_contiguous(pointers, (1, total.shape[1], 1) if CHANNELS_LAST else (1, 1, total.shape[2]))
    if ADDS:
        total += tl.load(pointers, mask=mask, other=0.0).to(total.dtype)
    tl.store(pointers, total.to(maps.pointers[0].dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["count", "words"])
def tiles_kernel(
    places,
    touched,
    counts,
    heights,
    widths,
    first_tiles,
    first_strips,
    count,
    words,
    TILE_Y: tl.constexpr,
    TILE_X: tl.constexpr,
    LEVELS: tl.constexpr,
    TILES: tl.constexpr,
    WORDS: tl.constexpr,
):
    """Write `touched`, int32 ``[tiles, words]``: bit k % 32 of word k // 32 tells that RoI k has pixels in the tile.
    Write the number of RoIs that touch each tile to `counts`.

    A program handles a strip of `TILES` tiles in a row, which is a tile of a wider tiling, for all RoIs.
    """
    level, image, y, x = tile_of(tl.program_id(0), heights, widths, first_strips, TILE_Y, TILE_X * TILES, LEVELS)
    rows = tiles_along(heights, level, TILE_Y, LEVELS).to(tl.int64)
    columns = tiles_along(widths, level, TILE_X, LEVELS).to(tl.int64)
    column, number = x // TILE_X, tl.arange(0, TILES)
    exists = number < columns - column
    tile = (of_level(first_tiles, level, LEVELS) >> 2) + (image * rows + y // TILE_Y) * columns + column + number
    # Places fit into 32 bits, which takes half as many instructions to compare pairs.
    level, image, y, x = level.to(tl.int32), image.to(tl.int32), y.to(tl.int32), x.to(tl.int32)
    bit = tl.arange(0, 32)[None, :]
    one = (tl.full((), 1, tl.int32) << bit)[None, :, :]
    total = tl.zeros((TILES, WORDS), tl.int32)
    for first in range(0, words, WORDS):
        word = first + tl.arange(0, WORDS)
        row = word[:, None] * 32 + bit
        is_row, place = row < count, places + row.to(tl.int64) * PLACE
        meets = is_row & (tl.load(place, mask=is_row, other=-1) == level)
        meets = meets & (tl.load(place + 1, mask=is_row, other=-1) == image)
        meets = meets & (tl.load(place + 2, mask=is_row, other=0) < y + TILE_Y)
        meets = meets & (tl.load(place + 3, mask=is_row, other=0) > y)
        first_x, end_x = tl.load(place + 4, mask=is_row, other=0), tl.load(place + 5, mask=is_row, other=0)
        # A tile touches a RoI if it starts in [first_x - TILE_X + 1, end_x). Unsigned, this is one comparison.
        reach = tl.where(meets & (end_x > first_x), end_x - first_x + (TILE_X - 1), 0).to(tl.uint32)
        start = ((x + (TILE_X - 1)) - first_x)[None, :, :] + (number * TILE_X)[:, None, None]
        touches = start.to(tl.uint32) < reach[None, :, :]
        # Each bit occurs once, so the sum is their union, including the sign bit.
        union = tl.sum(tl.where(touches, one, 0), 2)
        at = touched + tile[:, None] * words + word[None, :]
        tl.store(at, union, mask=exists[:, None] & (word < words)[None, :])
        total += bits_set(union.to(tl.uint32, bitcast=True))
    tl.store(counts + tile, tl.sum(total, 1), mask=exists)
