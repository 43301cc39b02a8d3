"""Step 4: interpolate the map at a point, one axis at a time."""

from __future__ import annotations

import triton
import triton.language as tl

from .numbers import clamp


@triton.jit
def is_on_map(x, size, BORDER: tl.constexpr):
    """Whether a point depends on a pixel of an axis of `size` pixels, or on the zeros around it."""
    beyond = 0.0 if BORDER == "reject" or BORDER == "nearest" else 1.0
    return (x >= -beyond) & (x <= (size - 1.0) + beyond)


@triton.jit
def neighbours(x, cell, size):
    """The two adjacent pixels that a point on the map depends on, with RoIAlign's border rule.

    They are given as the first one, the weight of the second, and whether there is a second. Beyond the edge, the map
    keeps its edge value.
    """
    has_next = (cell >= 0.0) & (cell < size - 1.0)
    return clamp(cell, 0.0, size - 1.0), tl.where(has_next, clamp(x - cell, 0.0, 1.0), 0.0), has_next


@triton.jit
def bilinear(x, cell, pixel, size, BORDER: tl.constexpr):
    """The weight of `pixel` at coordinate `x`, and its derivative from the right. All values are float64.

    `cell` is the integer at or below `x`. The caller gives it because rounding may have lifted `x` to the next integer.
    """
    if BORDER == "nearest":
        below = tl.floor(x)
        weight = tl.where(pixel == tl.where(x - below >= 0.5, below + 1.0, below), 1.0, 0.0)
        slope = 0.0 * weight
    elif BORDER == "reject":
        # The floor and the ceiling. At an integer, both are the same pixel, and the derivative cancels.
        below, above = tl.floor(x), tl.ceil(x)
        weight = tl.where(pixel == below, 1.0 - (x - below), 0.0) + tl.where(pixel == above, x - below, 0.0)
        slope = tl.where(pixel == above, 1.0, 0.0) - tl.where(pixel == below, 1.0, 0.0)
    else:
        below, fraction, has_next = cell, clamp(x - cell, 0.0, 1.0), cell == cell
        if BORDER == "replicate":
            below, fraction, has_next = neighbours(x, cell, size)
        weight = tl.where(pixel == below, 1.0 - fraction, 0.0) + tl.where(pixel == below + 1.0, fraction, 0.0)
        slope = tl.where(pixel == below + 1.0, 1.0, 0.0) - tl.where(pixel == below, 1.0, 0.0)
        slope = tl.where(has_next, slope, 0.0)
    inside = is_on_map(x, size, BORDER)
    # Both are float64, whatever the types of the constants above.
    return tl.where(inside, weight, 0.0 * pixel), tl.where(inside, slope, 0.0 * pixel)


@triton.jit
def on_map(x, size):
    """The coordinates of the map's own values at points on the map: beyond the edge, it keeps its edge value."""
    return clamp(x, 0.0, size - 1.0)


@triton.jit
def weight_beside(pixel, nearest, rest):
    """The weight of `pixel` in a point of :func:`on_map`, as in :func:`bilinear`. The point is given by its nearest
    pixel and the rest of its coordinate, at most half a pixel: float32 would lose digits of a small 1 - |distance|."""
    step = pixel - nearest
    weight = tl.where(tl.abs(step) == 1.0, tl.maximum(step * rest, 0.0), 0.0)
    return tl.where(step == 0.0, 1.0 - tl.abs(rest), weight)
