"""Reading of rows of RoIs: the image, the level, and whether they and all coordinates are valid."""

from __future__ import annotations

import triton
import triton.language as tl

from .map_boxes import assigned_level, image_of, is_coordinate


@triton.jit
def box_of(rois, row, COLUMNS: tl.constexpr, TURNS: tl.constexpr):
    """The image of a row and its box in float64: (x1, y1, x2, y2, 0), or (x, y, width, height, angle) if rotated."""
    first = rois + row.to(tl.int64) * COLUMNS
    image = tl.load(first).to(tl.float64)
    x1, y1 = tl.load(first + 1).to(tl.float64), tl.load(first + 2).to(tl.float64)
    x2, y2 = tl.load(first + 3).to(tl.float64), tl.load(first + 4).to(tl.float64)
    return image, x1, y1, x2, y2, tl.load(first + 5).to(tl.float64) if TURNS else 0.0 * image


@triton.jit
def level_of(levels, row, width, height, canonical, strides_log2, HAS_LEVELS: tl.constexpr, LEVELS: tl.constexpr):
    """The level of a row as int64, and whether that level exists."""
    if HAS_LEVELS:
        level = tl.load(levels + row).to(tl.int64)
    elif LEVELS > 1:
        side = tl.sqrt(tl.maximum(width * height, 0.0))
        level = assigned_level(side, canonical[0], canonical[1], strides_log2, LEVELS)
    else:
        level = (0 * row).to(tl.int64)
    return level, (level >= 0) & (level < LEVELS)


@triton.jit
def place_of(
    rois,
    levels,
    row,
    images,
    canonical,
    strides_log2,
    COLUMNS: tl.constexpr,
    HAS_LEVELS: tl.constexpr,
    LEVELS: tl.constexpr,
    TURNS: tl.constexpr = False,
):
    """The image, the level and the box of a row, in the form of :func:`box_of`.

    If any of these is invalid, the image is -1 and all other values are 0.
    """
    image_number, x1, y1, x2, y2, angle = box_of(rois, row, COLUMNS, TURNS)
    image = image_of(image_number, images)
    good = is_coordinate(x1) & is_coordinate(y1) & is_coordinate(x2) & is_coordinate(y2) & (image >= 0)
    if TURNS:
        good = good & is_coordinate(angle)
    x1, y1 = tl.where(good, x1, 0.0), tl.where(good, y1, 0.0)
    x2, y2 = tl.where(good, x2, 0.0), tl.where(good, y2, 0.0)
    angle = tl.where(good, angle, 0.0)
    width, height = (x2, y2) if TURNS else (x2 - x1, y2 - y1)
    level, known = level_of(levels, row, width, height, canonical, strides_log2, HAS_LEVELS, LEVELS)
    good = good & known
    return tl.where(good, image, -1), tl.where(good, level, 0), x1, y1, x2, y2, angle
