"""The taps of one axis: what each pixel weighs in each bin, as a dense matrix, and how that moves with the RoI."""

from __future__ import annotations

import numpy as np

from .._spec import BORDER_OF_RULE, Border, Rule
from .._typing import FloatArray
from .aggregate import aggregate_mean
from .bilinear import bilinear
from .bin_grid import bin_ends
from .sample_points import cells_between, sample_points


def taps(
    size: int,
    start: float,
    length: float,
    bins: int,
    sampling_ratio: int = 0,
    rule: Rule = "grid",
    *,
    derivative: tuple[int, int] = (0, 0),
    seed: int = 0,
    axis: int = 0,
    row: int = 0,
) -> FloatArray:
    """The ``[bins, size]`` matrix W with ``W @ column`` = the bins of a RoI over a map's column of `size` pixels.

    `derivative` is the order in (start, length): (1, 0) gives dW/dstart, (1, 1) the mixed second derivative. A point
    lies at x = start + position * length, so each order in `length` brings a factor `position`.
    """
    order_start, order_length = derivative
    border = BORDER_OF_RULE[rule]
    matrix = np.zeros((bins, size))
    for bin_index in range(bins):
        points = sample_points(
            size, start, length, bins, bin_index, sampling_ratio, rule, seed=seed, axis=axis, row=row
        )
        matrix[bin_index] = aggregate_mean(
            (
                (
                    point.share * point.position**order_length,
                    bilinear(point.x, size, border, cell=point.cell, derivative=order_start + order_length),
                )
                for point in points
            ),
            size,
        )
        if rule in ("exact", "prroi") and order_start + order_length > 0:
            matrix[bin_index] += _singular_part(size, start, length, bins, bin_index, border, derivative)
    return matrix


def _singular_part(
    size: int, start: float, length: float, bins: int, bin_index: int, border: Border, derivative: tuple[int, int]
) -> FloatArray:
    """What an exact bin's derivative gains from the integers inside it, where the weights have kinks and jumps.

    The mean over a bin is the integral over u in [0, 1] of w(start + position(u) * length). Its derivatives are those
    of w under the integral; where w jumps, the first is a Dirac delta and the second that delta's derivative, and
    where w has a kink, the second is a delta. A delta at x contributes 1 / |bin length|.

    An integer at the bin's upper end counts and one at its lower end does not: the derivative is the one to the right.
    """
    row = np.zeros(size)
    order_start, order_length = derivative
    bin_length = length / bins
    if bin_length == 0 or (border == "zero" and length < 0):
        return row
    low, high = bin_ends(length, bins, bin_index)
    first, last = cells_between(size, start + low, start + high)
    for integer in range(first, last + 1):
        distance = integer - start
        if not low < distance <= high:
            continue
        position = distance / length
        before, after = integer - 1, integer
        jumps, kinks = np.zeros(size), np.zeros(size)
        for sign, cell in ((-1.0, before), (1.0, after)):
            for index, value in bilinear(float(integer), size, border, cell=cell) if -1 <= cell < size else ():
                jumps[index] += sign * value
            slopes = bilinear(float(integer), size, border, cell=cell, derivative=1) if -1 <= cell < size else ()
            for index, value in slopes:
                kinks[index] += sign * value
        if order_start + order_length == 1:
            row += jumps * position**order_length / abs(bin_length)
        else:
            row += kinks * position**order_length / abs(bin_length)
            if order_length > 0:
                row -= jumps * order_length * position ** (order_length - 1) / length / abs(bin_length)
    return row
