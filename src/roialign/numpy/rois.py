"""Conversion of RoIs, in any of their three structures, to one table of rows, and of gradients back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._rows import IMAGES_FROM, OF_LIST, check_coordinates, check_rows, is_of_framework, no_coordinates, no_images
from .._typing import Array
from .checks import check_array, check_boxes, check_indices, is_real


@dataclass(frozen=True, slots=True)
class Rois:
    """RoIs in the form that every backend takes, and a function that converts gradients back."""

    rows: Array
    """``[K, 5]`` float64 rows (image, x1, y1, x2, y2), or ``[K, 6]`` with the five numbers of a rotated box. Image -1
    marks a row whose result is zero."""
    restore: Callable[[Array], Any]
    """Convert gradients (rows without an image) to the structure and dtype of the RoIs as given."""


def rows_of(
    rois: object,
    images: int,
    batch_indices: object = None,
    invalid: str | None = None,
    name: str = "rois",
    indices_name: str = "batch_indices",
    numbers: int = 4,
) -> Rois:
    """Convert ``[K, 5]`` rows, one ``[L, 4]`` array per image, or ``[K, 4]`` boxes with `batch_indices`.

    `numbers` is the number of values that describe a box: 4, or 5 for rotated boxes.
    """
    indices = None
    if isinstance(rois, (list, tuple)):
        rows, restore = _rows_of_list(rois, images, batch_indices, name, numbers)
        name += OF_LIST
    else:
        rows, restore = _rows_of_array(check_array(rois, name), batch_indices, name, numbers)
        if isinstance(batch_indices, np.ndarray):
            name, indices = f"{name}{IMAGES_FROM}{indices_name}", batch_indices
    return Rois(check_rows(rows, images, invalid, name, indices), restore)


def rows_of_points(x: object, y: object, features: Array) -> tuple[Array, tuple[int, ...]]:
    """Convert points to boxes of zero size on image 0. Also returns the broadcast shape of the coordinates."""
    del features
    xs, ys = (_check_coordinates(value, name) for value, name in ((x, "x"), (y, "y")))
    try:
        xs, ys = np.broadcast_arrays(xs, ys)
    except ValueError:
        raise ValueError(f"y: expected a shape that broadcasts with x, {np.shape(xs)}, got {np.shape(ys)}") from None
    return np.column_stack([np.zeros(xs.size), *([xs.ravel(), ys.ravel()] * 2)]), xs.shape


def _check_coordinates(value: object, name: str) -> Array:
    if is_of_framework(value):
        array = check_array(value, name)
    else:
        try:
            array = np.asarray(value)
        except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError: of a tensor within a list
            raise no_coordinates(value, name) from error
    if not is_real(array.dtype):
        raise TypeError(f"{name}: expected real coordinates, got dtype {array.dtype}")
    return check_coordinates(array, name)


def _rows_of_array(
    boxes: Array, batch_indices: object, name: str, numbers: int
) -> tuple[Array, Callable[[Array], Any]]:
    dtype = gradient_dtype(boxes.dtype)
    if batch_indices is None:
        if boxes.ndim == 2 and boxes.shape[1] == numbers:
            raise no_images(name, numbers, boxes.shape)
        check_boxes(boxes, numbers + 1, name)
        rows = np.ascontiguousarray(boxes, dtype=np.float64)
        return rows, lambda gradient: np.column_stack([np.zeros(len(gradient)), gradient]).astype(dtype)
    check_boxes(boxes, numbers, name)
    indices = check_indices(batch_indices, len(boxes), "batch_indices", name)
    rows = np.column_stack([indices.astype(np.float64), boxes.astype(np.float64)])
    return rows, lambda gradient: gradient.astype(dtype)


def _rows_of_list(
    rois: Sequence[object], images: int, batch_indices: object, name: str, numbers: int
) -> tuple[Array, Callable[[Array], Any]]:
    if batch_indices is not None:
        raise ValueError("batch_indices: expected None if boxes are given as a list, one item per image")
    if rois and len(rois) != images:
        raise ValueError(f"{name}: expected one array of boxes per image ({images}), got {len(rois)}")
    per_image = [check_array(boxes, f"{name}[{index}]") for index, boxes in enumerate(rois)]
    rows = [np.zeros((0, numbers + 1))]
    for index, boxes in enumerate(per_image):
        check_boxes(boxes, numbers, f"{name}[{index}]")
        rows.append(np.column_stack([np.full(len(boxes), float(index)), boxes.astype(np.float64)]))
    ends = np.cumsum([len(boxes) for boxes in per_image])[:-1]
    dtypes = [gradient_dtype(boxes.dtype) for boxes in per_image]

    def restore(gradient: Array) -> list[Array]:
        parts = np.split(gradient, ends) if per_image else []
        return [part.astype(dtype) for part, dtype in zip(parts, dtypes, strict=True)]

    return np.concatenate(rows), restore


def gradient_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype of a gradient with respect to values of `dtype`: float64 for integers."""
    return np.dtype(np.float64) if dtype.kind in "iu" else dtype


def with_axes_swapped(boxes: Array) -> Array:
    """Convert boxes between TensorFlow's order (y1, x1, y2, x2) and (x1, y1, x2, y2)."""
    swapped: Array = boxes[:, [1, 0, 3, 2]]
    return swapped
