"""Exact bins in rational arithmetic: closed forms from the primitive of the weights, of no use in floating point."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


class PixelWeight:
    """What pixel `pixel` of `size` weighs at x: linear between the integers -1 .. size, zero beyond.

    Replicated border: the integers -1 and size have the values of the outermost pixels. Zero border: they have none.
    Values and slopes are limits from the right.
    """

    def __init__(self, size: int, pixel: int, replicated: bool) -> None:
        self.size = size
        owners = [min(max(node, 0), size - 1) if replicated else node for node in range(-1, size + 1)]
        self.nodes = [Fraction(owner == pixel) for owner in owners]

    def cell(self, x: Fraction) -> int | None:
        """The cell ``[k, k + 1)`` that x lies in; None beyond the map."""
        cell = math.floor(x)
        return cell if -1 <= cell < self.size else None

    def value(self, x: Fraction) -> Fraction:
        cell = self.cell(x)
        return Fraction(0) if cell is None else self.nodes[cell + 1] + self.slope(x) * (x - cell)

    def slope(self, x: Fraction) -> Fraction:
        cell = self.cell(x)
        return Fraction(0) if cell is None else self.nodes[cell + 2] - self.nodes[cell + 1]

    def primitive(self, x: Fraction) -> Fraction:
        """The integral from -1 to x."""
        total = Fraction(0)
        for cell in range(-1, self.size):
            end = min(max(x, Fraction(cell)), Fraction(cell + 1))
            middle = (cell + end) / 2
            total += (end - cell) * (
                self.nodes[cell + 1] + (self.nodes[cell + 2] - self.nodes[cell + 1]) * (middle - cell)
            )
        return total


def mean_over_bin(
    weight: PixelWeight, start: Fraction, length: Fraction, bins: int, bin_index: int, derivative: tuple[int, int]
) -> Fraction:
    """The mean of the weight over a bin, or its derivative of that order in (start, length), from the right.

    With the bin's ends a and b, D = b - a and the primitive P, the mean is (P(b) - P(a)) / D. Differentiating that
    quotient once and twice, with da/dlength = i / bins and db/dlength = (i + 1) / bins, gives the rest.
    """
    a_length, b_length, d_length = Fraction(bin_index, bins), Fraction(bin_index + 1, bins), Fraction(1, bins)
    a, b = start + length * a_length, start + length * b_length
    if length == 0:
        position = (a_length + b_length) / 2
        return [weight.value(start), weight.slope(start) * position ** derivative[1], Fraction(0)][sum(derivative)]
    width = b - a
    mean = (weight.primitive(b) - weight.primitive(a)) / width
    mean_start = (weight.value(b) - weight.value(a)) / width
    flow = weight.value(b) * b_length - weight.value(a) * a_length
    mean_length = (flow - mean * d_length) / width
    flow_length = weight.slope(b) * b_length**2 - weight.slope(a) * a_length**2
    flow_start = weight.slope(b) * b_length - weight.slope(a) * a_length
    return {
        (0, 0): mean,
        (1, 0): mean_start,
        (0, 1): mean_length,
        (2, 0): (weight.slope(b) - weight.slope(a)) / width,
        (1, 1): (flow_start - mean_start * d_length) / width,
        (0, 2): (flow_length - flow * d_length / width - mean_length * d_length + mean * d_length**2 / width) / width,
    }[derivative]


def exact_taps(
    size: int, start: float, length: float, bins: int, derivative: tuple[int, int] = (0, 0), *, replicated: bool = True
) -> Array:
    """The dense ``[bins, size]`` matrix of exact sampling (zero border: of Precise RoI Pooling), correctly rounded."""
    rows = [
        [
            float(
                mean_over_bin(
                    PixelWeight(size, pixel, replicated), Fraction(start), Fraction(length), bins, index, derivative
                )
            )
            for pixel in range(size)
        ]
        for index in range(bins)
    ]
    return np.array(rows)
