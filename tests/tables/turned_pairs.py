"""Pairs of rotated boxes for tests, and their overlap in rational arithmetic.

Angles have a rational cosine and sine: those of a right triangle whose sides are integers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Point = tuple[Fraction, Fraction]

#: (adjacent, opposite, hypotenuse): among them no turn, quarter turns, and angles in all quadrants.
TRIANGLES = (
    [(1, 0, 1), (0, 1, 1), (-1, 0, 1), (0, -1, 1), (3, 4, 5), (4, -3, 5), (-5, 12, 13), (-8, -15, 17), (20, 21, 29)]
    # Nearly parallel to the axes.
    + [(n * n - 1, 2 * n, n * n + 1) for n in (100, 10_000)]
)


class ExactBox(NamedTuple):
    """A box whose angle is that of a triangle, from x towards y."""

    x: Fraction
    y: Fraction
    width: Fraction
    height: Fraction
    triangle: tuple[int, int, int]

    def row(self) -> list[float]:
        adjacent, opposite, _ = self.triangle
        return [float(self.x), float(self.y), float(self.width), float(self.height), math.atan2(opposite, adjacent)]

    def corners(self) -> list[Point]:
        adjacent, opposite, hypotenuse = self.triangle
        cosine, sine = Fraction(adjacent, hypotenuse), Fraction(opposite, hypotenuse)
        halves = [(sx * self.width / 2, sy * self.height / 2) for sx, sy in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
        return [(self.x + u * cosine - v * sine, self.y + u * sine + v * cosine) for u, v in halves]


def exact_overlap(box: ExactBox, other: ExactBox) -> Fraction:
    """Intersection over union: the corners of one box are clipped by the lines through the sides of the other."""
    polygon, sides = box.corners(), other.corners()
    for index, start in enumerate(sides):
        polygon = _left_of(polygon, start, sides[(index + 1) % 4])
    shared = _area(polygon)
    union = box.width * box.height + other.width * other.height - shared
    return shared / union if union else Fraction(0)


def _left_of(polygon: Sequence[Point], start: Point, end: Point) -> list[Point]:
    def side(point: Point) -> Fraction:
        return (end[0] - start[0]) * (point[1] - start[1]) - (end[1] - start[1]) * (point[0] - start[0])

    clipped: list[Point] = []
    for index, point in enumerate(polygon):
        following = polygon[(index + 1) % len(polygon)]
        here, there = side(point), side(following)
        if here >= 0:
            clipped.append(point)
        if here * there < 0:
            part = here / (here - there)
            clipped.append((point[0] + part * (following[0] - point[0]), point[1] + part * (following[1] - point[1])))
    return clipped


def _area(polygon: Sequence[Point]) -> Fraction:
    pairs = zip(polygon, [*polygon[1:], *polygon[:1]], strict=True)
    return sum((a[0] * b[1] - a[1] * b[0] for a, b in pairs), Fraction(0)) / 2


def exact_pairs(count: int, scale: Fraction = Fraction(1), far: Fraction = Fraction(0)) -> list[list[ExactBox]]:
    """Random pairs whose numbers are floats. `scale` multiplies the lengths, and `far` is the distance to the origin.

    Sizes and positions are multiples of a quarter, so many boxes touch, share corners or contain each other.
    """
    rng = np.random.default_rng(count)
    pairs = []
    for _ in range(count):
        numbers = [[Fraction(int(n), 4) for n in rng.integers(1, 24, 4)] for _ in range(2)]
        triangles = [TRIANGLES[int(index)] for index in rng.integers(0, len(TRIANGLES), 2)]
        if rng.random() < 0.3:
            triangles[1] = triangles[0]
        boxes = [
            ExactBox(*(_float(far + scale * n) for n in place), *(_float(scale * n) for n in size), triangle)
            for (*place, w, h), triangle in zip(numbers, triangles, strict=True)
            for size in [(w, h)]
        ]
        pairs.append(boxes)
    return pairs


def _float(number: Fraction) -> Fraction:
    """The number that float64 has for it, which is what the operators are given."""
    return Fraction(float(number))


def rows_of(pairs: Sequence[Sequence[ExactBox]]) -> tuple[Array, Array]:
    first, second = (np.array([pair[index].row() for pair in pairs]) for index in range(2))
    return first, second


def random_boxes(count: int, seed: int, low: float = 0.3, high: float = 4.0, extent: float = 6.0) -> Array:
    """Boxes at random places, with sides of random magnitudes from `low` to `high`."""
    rng = np.random.default_rng(seed)
    sides = np.exp(rng.uniform(math.log(low), math.log(high), (count, 2)))
    return np.column_stack([rng.uniform(0, extent, (count, 2)), sides, rng.uniform(-7, 7, count)])


def lattice_boxes(count: int, seed: int) -> Array:
    """Boxes with integer numbers and quarter turns: sides coincide, touch and are equal; some are empty."""
    rng = np.random.default_rng(seed)
    turns = rng.integers(-2, 3, count) * (math.pi / 2)
    return np.column_stack([rng.integers(0, 4, (count, 2)), rng.integers(0, 4, (count, 2)), turns]).astype(float)


def diamonds(count: int, seed: int) -> Array:
    """Squares on their corners, whose corners lie on the sides of lattice boxes."""
    rng = np.random.default_rng(seed)
    side = 2 * math.sqrt(2)
    return np.column_stack([rng.integers(0, 4, (count, 2)), np.full((count, 2), side), np.full(count, math.pi / 4)])
