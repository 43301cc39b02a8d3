"""Validation of the values of RoIs, as rows of numbers, with errors that name the row."""

from __future__ import annotations

import math

import numpy as np

from ._typing import Array
from ._validate import LARGEST_COORDINATE

#: The suffix of an argument's name if it is a list of arrays, one per image, so that rows are counted over all images.
OF_LIST = "[]"
#: The columns of a row of RoIs, by the number of values that describe a box.
ROW_OF = {4: "(image, x1, y1, x2, y2)", 5: "(image, centre x, centre y, width, height, angle)"}


def check_rows(rows: Array, images: int, invalid: str | None, name: str) -> Array:
    """Return float64 rows (image, box). If `invalid` is "zero", invalid rows are marked with image -1."""
    # The usual call, with one image and ordinary coordinates, takes two reductions only, since most calls are small.
    if np.vdot(rows, rows) <= LARGEST_COORDINATE**2 and np.count_nonzero(rows[:, 0]) == 0 and images > 0:
        return rows
    image = rows[:, 0]
    valid = (image >= 0) & (image < images) & (image == np.rint(image))
    valid &= (np.abs(rows[:, 1:]) <= LARGEST_COORDINATE).all(axis=1)  # NaN fails every comparison
    if valid.all():
        return rows
    if invalid != "zero":
        _raise_for_row(rows, int(np.argmin(valid)), images, name)
    return np.where(valid[:, None], rows, np.array([-1.0, *[0.0] * (rows.shape[1] - 1)]))


def check_offset(offset: Array, invalid: str | None) -> Array:
    """Which rows of bin offsets are finite. Raises an error for the others unless `invalid` is "zero"."""
    finite: Array = np.logical_and.reduce(np.abs(offset.astype(np.float64)) <= LARGEST_COORDINATE, axis=(1, 2, 3))
    if invalid != "zero" and not finite.all():
        raise ValueError(f"offset[{int(np.argmin(finite))}]: expected finite numbers up to {LARGEST_COORDINATE:g}")
    return finite


def check_offset_rows(rows: Array, offset: Array, invalid: str | None) -> tuple[Array, Array]:
    """Return rows and bin offsets as float64. If the offsets of a row are not finite, its image becomes -1."""
    finite = check_offset(offset, invalid)
    wide = np.where(finite[:, None, None, None], offset, 0.0).astype(np.float64)
    if finite.all():
        return rows, wide
    image = np.where(finite, rows[:, 0], -1.0)
    return np.column_stack([image, rows[:, 1:]]), wide


def columns_of(name: str, numbers: int = 4) -> tuple[int, ...]:
    """The columns of x1, y1, x2, y2 as the user gave them. The `boxes` of crop_and_resize are in TensorFlow's order."""
    return (1, 0, 3, 2) if name == "boxes" else tuple(range(numbers))


def _raise_for_row(rows: Array, row: int, images: int, name: str) -> None:
    image = rows[row, 0].item()
    coordinates = rows[row, 1:][list(columns_of(name, rows.shape[1] - 1))].tolist()
    place = f"{name}[{row}]"
    if name.endswith(OF_LIST):
        first = int(np.argmax(rows[:, 0] == image))  # the first row of this image, since rows are ordered by image
        place = f"{name.removesuffix(OF_LIST)}[{int(image)}][{row - first}]"
    if not (0 <= image < images and image == math.floor(image)):
        index = int(image) if math.isfinite(image) and image == math.floor(image) else image
        raise ValueError(f"{place}: expected an integer batch index 0 <= index < {images}, got {index}")
    note = f" (values above {LARGEST_COORDINATE:g} count as infinite)" if np.isfinite(coordinates).all() else ""
    raise ValueError(f"{place}: expected finite coordinates, got {tuple(coordinates)}{note}")
