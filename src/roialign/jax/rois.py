"""Conversion of RoIs, in any of their three structures, to one table of rows, and of gradients back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from .._rows import (
    IMAGES_FROM,
    OF_LIST,
    check_coordinates,
    check_rows,
    is_of_framework,
    no_coordinates,
    no_images,
)
from .._typing import FloatArray
from . import checks
from .dtypes import common_dtype, float_dtype, joined, like, wide

Restore = Callable[[Array], Any]
#: The number of images whose indices float32 can hold.
MOST_IMAGES = 1 << 24


def exceeds_float32(images: int) -> bool:
    """Whether there are more images than float32 can count. A number that JAX does not know yet is taken as small."""
    return isinstance(images, int) and images > MOST_IMAGES


def rows_of(
    rois: object, images: int, batch_indices: object, name: str, indices_name: str, numbers: int, invalid: str | None
) -> tuple[Array, FloatArray | None, Restore]:
    """Convert RoIs to ``[K, 5]`` rows (image, x1, y1, x2, y2), or ``[K, 6]`` rows of rotated boxes.

    Also returns the values of the rows after they have been checked, or None if JAX traces them (the core checks them
    then), and a function that converts gradients of the rows to the structure of the RoIs as given.
    """
    indices = None
    if isinstance(rois, (list, tuple)):
        rows, restore = _rows_of_list(rois, images, batch_indices, name, numbers)
        name += OF_LIST
    elif batch_indices is None:
        rows, restore = _rows_as_given(checks.check_array(rois, name), name, numbers)
    else:
        boxes = checks.check_array(rois, name)
        checks.check_boxes(boxes, numbers, name)
        indices = checks.check_indices(batch_indices, boxes.shape[0], "batch_indices", name)
        rows, restore = _with_images(indices, boxes)
        name = f"{name}{IMAGES_FROM}{indices_name}"
    if rows.dtype == jnp.float32 and exceeds_float32(images):
        raise ValueError(
            f"features: expected at most {MOST_IMAGES} images, whose indices float32 can hold, got {images}; "
            "use jax_enable_x64, and boxes of float64"
        )
    checked = None
    if checks.is_concrete(rows):
        given = None if indices is None else np.asarray(indices)
        checked = check_rows(np.asarray(rows).astype(np.float64), images, invalid, name, given)
    return wide(rows), checked, restore


def rows_of_points(x: object, y: object, features: Array) -> tuple[Array, tuple[int, ...]]:
    """Convert points to boxes of zero size on image 0. Also returns the broadcast shape of the coordinates."""
    del features
    points = []
    for value, name in ((x, "x"), (y, "y")):
        point = checks.check_array(value, name) if is_of_framework(value) else _point_of_numbers(value, name)
        checks.check_real(point, name)
        if checks.is_concrete(point):
            check_coordinates(np.asarray(point).astype(np.float64), name)
        points.append(point.astype(common_dtype(point.dtype, float_dtype())))
    try:
        xs, ys = jnp.broadcast_arrays(*points)
    except ValueError:
        shapes = [point.shape for point in points]
        raise ValueError(f"y: expected a shape that broadcasts with x, {shapes[0]}, got {shapes[1]}") from None
    flat_x, flat_y = xs.reshape(-1), ys.reshape(-1)
    columns = [column[:, None] for column in (jnp.zeros_like(flat_x), flat_x, flat_y, flat_x, flat_y)]
    return joined(columns, axis=1), xs.shape


def with_axes_swapped(boxes: Array) -> Array:
    """Convert boxes between TensorFlow's order (y1, x1, y2, x2) and (x1, y1, x2, y2)."""
    return boxes[:, jnp.array([1, 0, 3, 2])]


def _point_of_numbers(value: object, name: str) -> Array:
    try:
        return jnp.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise no_coordinates(value, name) from error


def _rows_as_given(rows: Array, name: str, numbers: int) -> tuple[Array, Restore]:
    if rows.ndim == 2 and rows.shape[1] == numbers:
        raise no_images(name, numbers, rows.shape)
    checks.check_boxes(rows, numbers + 1, name)
    return rows, lambda gradient: like(gradient, rows)


def _with_images(indices: Array, boxes: Array) -> tuple[Array, Restore]:
    values = wide(boxes)
    rows = joined([wide(indices)[:, None], values], axis=1)
    return rows, lambda gradient: like(gradient[:, 1:], boxes)


def _rows_of_list(
    rois: Sequence[object], images: int, batch_indices: object, name: str, numbers: int
) -> tuple[Array, Restore]:
    if batch_indices is not None:
        raise ValueError("batch_indices: expected None if boxes are given as a list, one item per image")
    if rois and len(rois) != images:
        raise ValueError(f"{name}: expected one array of boxes per image ({images}), got {len(rois)}")
    per_image = [checks.check_array(boxes, f"{name}[{index}]") for index, boxes in enumerate(rois)]
    for index, boxes in enumerate(per_image):
        checks.check_boxes(boxes, numbers, f"{name}[{index}]")
    rows = [jnp.pad(wide(boxes), ((0, 0), (1, 0)), constant_values=index) for index, boxes in enumerate(per_image)]
    ends = np.cumsum([boxes.shape[0] for boxes in per_image])[:-1]

    def restore(gradient: Array) -> list[Array]:
        parts = jnp.split(gradient, ends) if per_image else []
        return [like(part[:, 1:], boxes) for part, boxes in zip(parts, per_image, strict=True)]

    return joined(rows) if rows else jnp.zeros((0, numbers + 1)), restore
