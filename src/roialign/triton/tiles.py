"""Which RoIs touch which tile of the maps. It has a bit for every pair, so that its size does not depend on values."""

from __future__ import annotations

from typing import NamedTuple

import triton
import triton.language as tl

from .blocks import map_strides_of
from .numbers import of_level, plain_of_level, pointer_of_level
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
    height = plain_of_level(heights, level, LEVELS).to(tl.int32)
    width = plain_of_level(widths, level, LEVELS).to(tl.int32)
    columns = (width + TILE_X - 1) // TILE_X
    per_image = (height + TILE_Y - 1) // TILE_Y * columns
    own = tile - (of_level(first_tiles, level, LEVELS) >> 2).to(tl.int32)
    within = own % per_image
    y, x = within // columns * TILE_Y, within % columns * TILE_X
    return level.to(tl.int64), (own // per_image).to(tl.int64), y.to(tl.int64), x.to(tl.int64)


@triton.jit
def write_tile(
    total,
    maps,
    place,
    channel,
    is_channel,
    CHANNELS_LAST: tl.constexpr,
    VECTOR: tl.constexpr,
    LEVELS: tl.constexpr,
):
    """Write some channels of a tile, a block like that of :func:`solid_zeros`, to its place on the maps."""
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
    tl.store(of_image + at, total.to(maps.pointers[0].dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["count", "tiles", "words"])
def tiles_kernel(
    places,
    touched,
    heights,
    widths,
    first_tiles,
    count,
    tiles,
    words,
    TILE_Y: tl.constexpr,
    TILE_X: tl.constexpr,
    LEVELS: tl.constexpr,
    TILES: tl.constexpr,
):
    """Write `touched`, int32 ``[tiles, words]``: bit k % 32 of word k // 32 tells that RoI k has pixels in the tile."""
    # Use one dimension of the grid, because the others are limited to 65535 programs.
    program = tl.program_id(0).to(tl.int64)
    word = program % words
    tile = program // words * TILES + tl.arange(0, TILES)
    level, image, y, x = tile_of(tile, heights, widths, first_tiles, TILE_Y, TILE_X, LEVELS)
    # Places fit into 32 bits, which takes half as many instructions to compare pairs.
    level, image, y, x = level.to(tl.int32), image.to(tl.int32), y.to(tl.int32), x.to(tl.int32)
    bit = tl.arange(0, 32)
    row = word * 32 + bit
    place = places + row * PLACE
    is_row = row < count
    same = level[:, None] == tl.load(place, mask=is_row, other=-1)[None, :]
    same = same & (image[:, None] == tl.load(place + 1, mask=is_row, other=-1)[None, :])
    first_y, end_y = tl.load(place + 2, mask=is_row, other=0), tl.load(place + 3, mask=is_row, other=0)
    first_x, end_x = tl.load(place + 4, mask=is_row, other=0), tl.load(place + 5, mask=is_row, other=0)
    meets = same & (first_y[None, :] < y[:, None] + TILE_Y) & (end_y[None, :] > y[:, None])
    meets = meets & (first_x[None, :] < x[:, None] + TILE_X) & (end_x[None, :] > x[:, None])
    # Each bit occurs once, so the sum is their union, including the sign bit.
    union = tl.sum(tl.where(meets, (tl.full((), 1, tl.int32) << bit)[None, :], 0), 1)
    tl.store(touched + tile * words + word, union, mask=tile < tiles)
