"""Step 4: interpolate the map at a point, one axis at a time."""

from __future__ import annotations

import math

from .._spec import Border

Neighbours = list[tuple[int, float]]
"""The pixels that a point depends on, as ``(index, weight)`` pairs. Empty if there are none."""


def bilinear(x: float, size: int, border: Border, *, cell: int | None = None, derivative: int = 0) -> Neighbours:
    """The weights of the pixels at coordinate `x` of an axis with `size` pixels, or their derivative in `x`.

    Pixel centres have integer coordinates. `cell` is the integer at or below `x`. It is given if the caller knows on
    which side of an integer the point lies. In two dimensions, the weight is the product of the weights of both axes.

    At an integer, where the weights have a kink, the derivative is the one from the right.
    """
    if border in ("reject", "nearest"):
        if not 0 <= x <= size - 1:
            return []
        if border == "nearest":
            below = math.floor(x)
            return [(below + 1 if x - below >= 0.5 else below, 1.0 if derivative == 0 else 0.0)]
        # crop_and_resize uses the floor and the ceiling. At an integer, both are the same pixel and the derivative is
        # zero.
        below, above = math.floor(x), math.ceil(x)
        return _pair(below, above, x - below, derivative)

    if not -1 <= x <= size:
        return []
    below = math.floor(x) if cell is None else cell
    fraction = min(max(x - below, 0.0), 1.0)
    if border == "zero":
        return [(index, value) for index, value in _pair(below, below + 1, fraction, derivative) if 0 <= index < size]
    if below < 0 or below >= size - 1:
        edge = 0 if below < 0 else size - 1
        return [(edge, 1.0 if derivative == 0 else 0.0)]
    return _pair(below, below + 1, fraction, derivative)


def _pair(below: int, above: int, fraction: float, derivative: int) -> Neighbours:
    if derivative == 0:
        return [(below, 1.0 - fraction), (above, fraction)]
    return [(below, -1.0), (above, 1.0)] if derivative == 1 else []
