"""The values of RoIs on the host, as rows of numbers: what makes a row valid, and the errors that name it."""

from __future__ import annotations

import math

import numpy as np

from ._typing import Array
from ._validate import LARGEST_COORDINATE

#: What the name of an argument ends in where it is a list of one array per image, and the rows are those of all images.
OF_LIST = "[]"
#: How the rows of RoIs read, by how many numbers describe a box.
ROW_OF = {4: "(image, x1, y1, x2, y2)", 5: "(image, centre x, centre y, width, height, angle)"}


def check_rows(rows: Array, images: int, invalid: str | None, name: str) -> Array:
    """Float64 rows (image, box), those that are not valid marked as RoIs without an image if `invalid` is "zero"."""
    # One image and ordinary coordinates, the usual call, take two reductions: most calls are small.
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
    """Which rows of bin offsets are finite: all, unless those that are not shall be zero."""
    finite: Array = np.logical_and.reduce(np.abs(offset.astype(np.float64)) <= LARGEST_COORDINATE, axis=(1, 2, 3))
    if invalid != "zero" and not finite.all():
        raise ValueError(f"offset[{int(np.argmin(finite))}]: expected finite numbers up to {LARGEST_COORDINATE:g}")
    return finite


def check_offset_rows(rows: Array, offset: Array, invalid: str | None) -> tuple[Array, Array]:
    """Rows and bin offsets in float64; a row whose offsets are not finite is a RoI without an image."""
    finite = check_offset(offset, invalid)
    wide = np.where(finite[:, None, None, None], offset, 0.0).astype(np.float64)
    if finite.all():
        return rows, wide
    image = np.where(finite, rows[:, 0], -1.0)
    return np.column_stack([image, rows[:, 1:]]), wide


def columns_of(name: str, numbers: int = 4) -> tuple[int, ...]:
    """Where the user of an argument gives x1, y1, x2, y2: crop_and_resize's `boxes` are in TensorFlow's order."""
    return (1, 0, 3, 2) if name == "boxes" else tuple(range(numbers))


def _raise_for_row(rows: Array, row: int, images: int, name: str) -> None:
    image = rows[row, 0].item()
    coordinates = rows[row, 1:][list(columns_of(name, rows.shape[1] - 1))].tolist()
    place = f"{name}[{row}]"
    if name.endswith(OF_LIST):
        first = int(np.argmax(rows[:, 0] == image))  # of its image: one follows the other
        place = f"{name.removesuffix(OF_LIST)}[{int(image)}][{row - first}]"
    if not (0 <= image < images and image == math.floor(image)):
        index = int(image) if math.isfinite(image) and image == math.floor(image) else image
        raise ValueError(f"{place}: expected an integer batch index 0 <= index < {images}, got {index}")
    note = f" (more than {LARGEST_COORDINATE:g} counts as infinite)" if np.isfinite(coordinates).all() else ""
    raise ValueError(f"{place}: expected finite coordinates, got {tuple(coordinates)}{note}")
