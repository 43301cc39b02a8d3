"""Pairs of rotated boxes: the options of the functions that compare them, and validation of their values."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from . import _validate
from ._typing import AnyArray, Array, FloatArray

#: The numbers of a rotated box: (centre x, centre y, width, height, angle).
NUMBERS = 5
#: A cosine or sine below this size counts as zero. So boxes at multiples of a quarter turn, which have no exact angle
#: in radians, are parallel, and their sides can coincide.
NEGLIGIBLE = 1e-15
#: The backends that compare rotated boxes in main memory.
BACKENDS = ("cpu", "reference")


class Comparison(NamedTuple):
    """Which boxes are compared, and how they are given."""

    paired: bool = False
    """Compare each box with the other one of the same row, instead of with all others."""
    clockwise: bool = False
    """Whether positive angles are clockwise on the screen."""
    invalid: str | None = None
    """What to do with an invalid box: "raise" or "zero"."""
    backend: str | None = None

    def check_shapes(self, boxes: Any, others: Any) -> None:
        """Check the shapes of two arrays of boxes, of any framework."""
        for given, name, count in ((boxes, "boxes", "L"), (others, "others", "L" if self.paired else "M")):
            if len(given.shape) != 2 or given.shape[1] != NUMBERS:
                raise ValueError(f"{name}: expected shape [{count}, {NUMBERS}], got {tuple(given.shape)}")
        if self.paired and boxes.shape[0] != others.shape[0]:
            raise ValueError(
                f"others: expected one row per row of boxes ({boxes.shape[0]}) with paired=True, got {others.shape[0]}"
            )

    def check_grad_output(self, grad_output: Any, boxes: Any, others: Any) -> None:
        shape = self.output_shape(boxes, others)
        if tuple(grad_output.shape) != shape:
            raise ValueError(f"grad_output: expected shape {shape}, got {tuple(grad_output.shape)}")

    def output_shape(self, boxes: Any, others: Any) -> tuple[int, ...]:
        return (boxes.shape[0],) if self.paired else (boxes.shape[0], others.shape[0])


def shares_inside(boxes: AnyArray, others: AnyArray, overlaps: AnyArray, *, paired: bool = False) -> AnyArray:
    """The share of the area of each rotated box that lies in each of the others. 0 if it has no area.

    `overlaps` are their intersections over union, ``[L, M]``, or ``[L]`` if each box is paired with one of the others.
    """
    areas, other_areas = boxes[:, 2] * boxes[:, 3], others[:, 2] * others[:, 3]
    if not paired:
        areas = areas[:, None]
    intersections = overlaps / (1 + overlaps) * (areas + other_areas)
    shares: AnyArray = intersections / (areas + (areas == 0))  # a box without area has no intersection
    return shares


def checked_comparison(
    paired: object = False, clockwise: object = False, invalid: str | None = None, backend: str | None = None
) -> Comparison:
    """Check the options that do not depend on an array."""
    if invalid is not None:
        _validate.check_choice(invalid, "invalid", ("raise", "zero"))
    if backend is not None:
        _validate.check_choice(backend, "backend", BACKENDS)
    flags = _validate.check_bool(paired, "paired"), _validate.check_bool(clockwise, "clockwise")
    return Comparison(*flags, invalid, backend)


def checked_boxes(boxes: Array, name: str, comparison: Comparison) -> FloatArray:
    """Return float64 boxes whose angles are clockwise on the screen, from x towards y.

    An invalid box raises an error, or becomes an empty one at the origin.
    """
    table = np.array(boxes, dtype=np.float64, order="C")
    valid = (np.abs(table) <= _validate.LARGEST_COORDINATE).all(axis=1)  # NaN fails every comparison
    valid &= (table[:, 2:4] >= 0).all(axis=1)
    if not valid.all():
        if comparison.invalid != "zero":
            _raise_for_box(table, int(np.argmin(valid)), name)
        table[~valid] = 0
    if not comparison.clockwise:
        np.negative(table[:, 4], out=table[:, 4])
    return table


def gradients_as_given(
    gradients: tuple[FloatArray, FloatArray], comparison: Comparison
) -> tuple[FloatArray, FloatArray]:
    """Gradients of the numbers that :func:`checked_boxes` returns, as those of the boxes that it was given."""
    if not comparison.clockwise:
        for gradient in gradients:
            np.negative(gradient[:, 4], out=gradient[:, 4])
    return gradients


def check_scores(scores: FloatArray) -> None:
    """Check that no score is NaN, which has no place in an order."""
    if np.isnan(scores).any():
        raise ValueError(f"scores[{int(np.argmax(np.isnan(scores)))}]: expected a number, got nan")


def check_threshold(threshold: object) -> float:
    number = _validate.check_number(threshold, "threshold")
    if not 0 <= number <= 1:
        raise ValueError(f"threshold: expected a number from 0 to 1, got {threshold!r}")
    return number


def _raise_for_box(boxes: FloatArray, row: int, name: str) -> None:
    numbers = boxes[row].tolist()
    if np.isfinite(numbers).all() and (np.abs(numbers) <= _validate.LARGEST_COORDINATE).all():
        raise ValueError(f"{name}[{row}]: expected a width and a height of at least 0, got {tuple(numbers[2:4])}")
    note = f" (values above {_validate.LARGEST_COORDINATE:g} count as infinite)" if np.isfinite(numbers).all() else ""
    raise ValueError(f"{name}[{row}]: expected finite numbers, got {tuple(numbers)}{note}")
