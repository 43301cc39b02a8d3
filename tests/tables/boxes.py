"""Boxes of every kind, drawn for a map of a given size."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Interval = tuple[float, float]
Draw = Callable[[np.random.Generator, int], Interval]


def inside(rng: np.random.Generator, size: int) -> Interval:
    low, high = np.sort(rng.uniform(0, max(size - 1, 0.5), 2))
    return float(low), float(high)


def small(rng: np.random.Generator, size: int) -> Interval:
    """A few pixels long, anywhere on the map."""
    low = rng.uniform(-1, size - 1)
    return float(low), float(low + rng.uniform(1, 4))


def border(rng: np.random.Generator, size: int) -> Interval:
    """Across one end of the map or both."""
    low = rng.uniform(-3, -0.2) if rng.random() < 0.6 else rng.uniform(0, size - 0.5)
    return float(low), float(rng.uniform(size - 0.9, size + 3))


def off_map(rng: np.random.Generator, size: int) -> Interval:
    low = rng.uniform(size + 0.1, size + 9) if rng.random() < 0.5 else rng.uniform(-19, -10)
    return float(low), float(low + rng.uniform(0, 8))


def tiny(rng: np.random.Generator, size: int) -> Interval:
    low = rng.uniform(-1.2, size + 0.2)
    return float(low), float(low + 10.0 ** rng.uniform(-12, -1))


def tiny_across_pixel(rng: np.random.Generator, size: int) -> Interval:
    """So small that a kink or a jump of the weights fills it."""
    pixel, length = float(rng.integers(-1, size + 1)), 10.0 ** rng.uniform(-8, -1)
    low = pixel - length * rng.uniform(0.1, 0.9)
    return float(low), float(low + length)


def point(rng: np.random.Generator, size: int) -> Interval:
    x = float(rng.uniform(-0.9, size - 0.1))
    return x, x


def point_on_pixel(rng: np.random.Generator, size: int) -> Interval:
    x = float(rng.integers(-1, size + 1))
    return x, x


def inverted(rng: np.random.Generator, size: int) -> Interval:
    low, high = np.sort(rng.uniform(-2, size + 1, 2))
    return float(high), float(low)


def integer(rng: np.random.Generator, size: int) -> Interval:
    """Ends on pixel centres, where the weights have their kinks."""
    low, high = np.sort(rng.integers(0, size, 2))
    return float(low), float(high)


def edges(rng: np.random.Generator, size: int) -> Interval:
    """Ends where the border rules change: -1, 0, size - 1, size, and half-way."""
    low, high = rng.choice([-1.0, -0.5, 0.0, size - 1.0, size - 0.5, float(size)], 2)
    return float(low), float(high)


def covering(rng: np.random.Generator, size: int) -> Interval:
    return float(rng.uniform(-4, -1)), float(size + rng.uniform(1, 4))


def large(rng: np.random.Generator, size: int) -> Interval:
    """Thousands of times the map."""
    return float(rng.uniform(-1, 0) * 1e3 * size), float(rng.uniform(0.1, 1) * 1e4 * size)


def huge(rng: np.random.Generator, size: int) -> Interval:
    """Whatever the map."""
    del size
    return float(rng.uniform(-1e9, 0)), float(rng.uniform(0, 1e9))


#: What each kind does along y and along x.
KINDS: dict[str, tuple[Draw, Draw]] = {
    "inside": (inside, inside),
    "border": (border, border),
    "border along x": (inside, border),
    "off the map": (off_map, inside),
    "off the map along x": (border, off_map),
    "tiny": (tiny, tiny),
    "tiny along y": (tiny, inside),
    "tiny across a pixel": (tiny_across_pixel, tiny_across_pixel),
    "a point": (point, point),
    "a point on a pixel": (point_on_pixel, point_on_pixel),
    "a line": (point, inside),
    "inverted": (inverted, inverted),
    "inverted along x": (inside, inverted),
    "integer": (integer, integer),
    "edges": (edges, edges),
    "covering": (covering, covering),
    "large": (large, large),
    "huge": (huge, huge),
    "small": (small, small),
}

#: Kinds whose operator is smooth around almost every draw, and whose numbers are of ordinary size.
SMOOTH_KINDS = ("inside", "border", "border along x", "inverted", "inverted along x", "covering")


def draw_box(kind: str, rng: np.random.Generator, height: int, width: int) -> tuple[float, float, float, float]:
    """``(x1, y1, x2, y2)`` in feature coordinates."""
    along_y, along_x = KINDS[kind]
    (y1, y2), (x1, x2) = along_y(rng, height), along_x(rng, width)
    return x1, y1, x2, y2
