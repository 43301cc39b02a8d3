"""The smallest rotated rectangle around points."""

from __future__ import annotations

import math

import numpy as np

from .._typing import Array

RotatedBox = tuple[float, float, float, float, float]

#: The number of edges whose rectangles are computed at once, so that memory grows with the number of points only.
EDGES_AT_ONCE = 64


def minimal_rectangle(points: Array) -> RotatedBox:
    """Find the rectangle of least area around points ``[P, 2]``, as (centre x, centre y, width, height, angle).

    The angle is in radians, from the x axis to the side `width`, positive clockwise on the screen, where y points down.
    It is in [-pi/2, pi/2), and the width is at least the height: mmrotate's `le90`. Points on one line give a height
    of 0, and a single point gives sides of 0.

    One side of the smallest rectangle lies on an edge of the convex hull [1]_, so the rectangle of every edge is
    tried. This needs fewer lines than a dependency on a geometry library would, for the few vertices that a hull has.

    References
    ----------
    .. [1] Freeman and Shapira, "Determining the minimum-area encasing rectangle for an arbitrary closed curve",
       Communications of the ACM 18(7), 1975, https://doi.org/10.1145/360881.360919
    """
    points = np.asarray(points, dtype=np.float64)
    middle = 0.5 * (points.min(axis=0) + points.max(axis=0))  # numbers near 0 lose the fewest digits
    hull = convex_hull(points - middle)
    edges = np.roll(hull, -1, axis=0) - hull
    lengths = np.hypot(edges[:, 0], edges[:, 1])
    if not (lengths > 0).any():
        return float(middle[0]), float(middle[1]), 0.0, 0.0, 0.0
    along = edges[lengths > 0] / lengths[lengths > 0, None]
    least, best = math.inf, (0.0, 0.0, 0.0, 0.0, 0.0)
    for start in range(0, len(along), EDGES_AT_ONCE):
        u = along[start : start + EDGES_AT_ONCE]
        v = np.stack([-u[:, 1], u[:, 0]], axis=1)
        low, high = (np.stack([bound(hull @ axis.T, axis=0) for axis in (u, v)], axis=1) for bound in (np.min, np.max))
        sides = high - low
        which = int(np.argmin(sides.prod(axis=1)))
        area = float(sides[which].prod())
        if area < least:
            centre = 0.5 * (low + high)[which] @ np.stack([u[which], v[which]]) + middle
            least, best = area, (*centre.tolist(), *sides[which].tolist(), math.atan2(u[which, 1], u[which, 0]))
    return long_edge(*best)


def long_edge(
    x: float, y: float, width: float, height: float, angle: float
) -> tuple[float, float, float, float, float]:
    """Rewrite a rectangle with the longer side as its width, and its angle in [-pi/2, pi/2)."""
    if width < height:
        width, height, angle = height, width, angle + math.pi / 2
    while angle >= math.pi / 2:
        angle -= math.pi
    while angle < -math.pi / 2:
        angle += math.pi
    return x, y, width, height, angle


def corners(box: RotatedBox) -> list[tuple[float, float]]:
    """Return the corners (x, y), clockwise on the screen. For an angle of 0, the first is at the top left."""
    x, y, width, height, angle = box
    u, v = 0.5 * width * math.cos(angle), 0.5 * width * math.sin(angle)
    s, t = -0.5 * height * math.sin(angle), 0.5 * height * math.cos(angle)
    return [(x + i * u + j * s, y + i * v + j * t) for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1))]


def convex_hull(points: Array) -> Array:
    """Return the vertices ``[V, 2]`` of the convex hull of points ``[P, 2]``, in order, without points on its edges.

    This is Andrew's monotone chain algorithm [1]_.

    References
    ----------
    .. [1] Andrew, "Another efficient algorithm for convex hulls in two dimensions", Information Processing Letters
       9(5), 1979, https://doi.org/10.1016/0020-0190(79)90072-3
    """
    ordered = sorted({(float(x), float(y)) for x, y in points})
    if len(ordered) < 3:
        return np.array(ordered).reshape(-1, 2)
    return np.array(_chain(ordered)[:-1] + _chain(ordered[::-1])[:-1])


def _chain(ordered: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return one half of the hull: the chain that only turns in one direction."""
    chain: list[tuple[float, float]] = []
    for x, y in ordered:
        while len(chain) > 1:
            (x0, y0), (x1, y1) = chain[-2:]
            if (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0) > 0:
                break
            chain.pop()
        chain.append((x, y))
    return chain
