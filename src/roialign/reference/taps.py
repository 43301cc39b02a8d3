"""The taps of one axis: the weight of each pixel in each bin as a dense matrix, and its derivatives in the RoI."""

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
    """The ``[bins, size]`` matrix W: ``W @ column`` are the bins of a RoI for a column of `size` pixels.

    `derivative` is the order in (start, length): (1, 0) gives dW/dstart, and (1, 1) the mixed second derivative. A
    point is at x = start + position * length, so each order in `length` gives a factor `position`.
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
    """The part of the derivative of an exact bin that comes from the kinks and jumps of the weights at integers.

    The mean over a bin is the integral over u in [0, 1] of w(start + position(u) * length). Its derivatives are the
    integrals of the derivatives of w. At a jump of w, the first derivative is a Dirac delta and the second is the
    derivative of that delta. At a kink of w, the second derivative is a delta. A delta at x contributes
    1 / |bin length|.

    An integer at the upper end of the bin counts and one at its lower end does not, which gives the derivative from the
    right.
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
