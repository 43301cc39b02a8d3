"""Validation of the values of RoIs, as rows of numbers, with errors that name the row."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ._text import cut
from ._typing import Array
from ._validate import LARGEST_COORDINATE

#: The suffix of an argument's name if it is a list of arrays, one per image, so that rows are counted over all images.
OF_LIST = "[]"
#: The end of an error, for functions that have this argument.
OR_WITH_INDICES = ", or together with batch_indices"
#: Between the names of two arguments, if the images of the RoIs come from the second one.
IMAGES_FROM = " with images from "
#: The columns of a row of RoIs, by the number of values that describe a box.
ROW_OF = {4: "(image, x1, y1, x2, y2)", 5: "(image, centre x, centre y, width, height, angle)"}


def check_rows(rows: Array, images: int, invalid: str | None, name: str, indices: Array | None = None) -> Array:
    """Return float64 rows (image, box). If `invalid` is "zero", invalid rows are marked with image -1.

    `indices` are the images of the rows as the user gave them, if float64 may have rounded them.
    """
    # The usual call, with one image and ordinary coordinates, takes two reductions only, since most calls are small.
    if np.vdot(rows, rows) <= LARGEST_COORDINATE**2 and np.count_nonzero(rows[:, 0]) == 0 and images > 0:
        return rows
    image = rows[:, 0]
    valid = (image >= 0) & (image < images) & (image == np.rint(image))
    valid &= (np.abs(rows[:, 1:]) <= LARGEST_COORDINATE).all(axis=1)  # NaN fails every comparison
    if valid.all():
        return rows
    if invalid != "zero":
        row = int(np.argmin(valid))
        _raise_for_row(rows, row, images, name, rows[row, 0] if indices is None else indices[row])
    return np.where(valid[:, None], rows, np.array([-1.0, *[0.0] * (rows.shape[1] - 1)]))


def no_images(name: str, numbers: int, shape: tuple[int, ...]) -> ValueError:
    """The error about boxes that do not say which images they are on."""
    return ValueError(
        f"{name}: expected shape [K, {numbers + 1}] with rows {ROW_OF[numbers]}, got {shape}; "
        f"give boxes of shape [K, {numbers}] as a list with one item per image{OR_WITH_INDICES}"
    )


def check_offset(offset: Array, invalid: str | None) -> Array:
    """Which rows of bin offsets are finite. Raises an error for the others unless `invalid` is "zero"."""
    wide = offset.astype(np.float64)
    is_finite = np.abs(wide) <= LARGEST_COORDINATE
    finite: Array = np.logical_and.reduce(is_finite, axis=(1, 2, 3))
    if invalid != "zero" and not finite.all():
        row = int(np.argmin(finite))
        got = wide[row][~is_finite[row]][0]
        raise ValueError(f"offset[{row}]: expected finite numbers up to {LARGEST_COORDINATE:g}, got {got}")
    return finite


def check_offset_rows(rows: Array, offset: Array, invalid: str | None) -> tuple[Array, Array]:
    """Return rows and bin offsets as float64. If the offsets of a row are not finite, its image becomes -1."""
    finite = check_offset(offset, invalid)
    wide = np.where(finite[:, None, None, None], offset, 0.0).astype(np.float64)
    if finite.all():
        return rows, wide
    image = np.where(finite, rows[:, 0], -1.0)
    return np.column_stack([image, rows[:, 1:]]), wide


def check_coordinates(coordinates: Array, name: str) -> Array:
    """Return coordinates as float64, after checking that all are finite."""
    wide = coordinates.astype(np.float64)
    finite = np.abs(wide) <= LARGEST_COORDINATE
    if not finite.all():
        index = np.unravel_index(int(np.argmin(finite)), finite.shape)
        place = f"[{', '.join(map(str, index))}]" if index else ""
        raise ValueError(f"{name}{place}: expected a finite coordinate, got {wide[index]}")
    return wide


def is_of_framework(value: object) -> bool:
    """Whether a value is an array of any framework: all of them can exchange their memory."""
    return hasattr(value, "__dlpack__")


def no_coordinates(value: object, name: str) -> TypeError:
    """The error about a value that cannot be converted to an array of coordinates."""
    return TypeError(f"{name}: expected real coordinates, as an array or as numbers, got {cut(repr(value), 100)}")


def columns_of(name: str, numbers: int = 4) -> tuple[int, ...]:
    """The columns of x1, y1, x2, y2 as the user gave them. The `boxes` of crop_and_resize are in TensorFlow's order."""
    return (1, 0, 3, 2) if name == "boxes" else tuple(range(numbers))


def _raise_for_row(rows: Array, row: int, images: int, name: str, image_as_given: Any) -> None:
    image, (name, _, indices_name) = image_as_given.item(), name.partition(IMAGES_FROM)
    coordinates = rows[row, 1:][list(columns_of(name, rows.shape[1] - 1))].tolist()
    place = f"{name}[{row}]"
    if name.endswith(OF_LIST):
        first = int(np.argmax(rows[:, 0] == image))  # the first row of this image, since rows are ordered by image
        place = f"{name.removesuffix(OF_LIST)}[{int(image)}][{row - first}]"
    if not (0 <= image < images and image == math.floor(image)):
        index = int(image) if math.isfinite(image) and image == math.floor(image) else image
        if indices_name:
            place = f"{indices_name}[{row}]"
        raise ValueError(f"{place}: expected an integer batch index 0 <= index < {images}, got {index}")
    note = f" (values above {LARGEST_COORDINATE:g} count as infinite)" if np.isfinite(coordinates).all() else ""
    raise ValueError(f"{place}: expected finite coordinates, got {tuple(coordinates)}{note}")
