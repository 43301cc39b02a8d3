"""Conversion of RoIs, in any of their three structures, to one table of rows, and of gradients back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .._rows import check_coordinates, is_of_framework, no_coordinates, no_images
from . import checks
from .cpu.host import array_of
from .wiring.tracing import is_traced, is_transformed

Restore = Callable[[Tensor], Any]


def rows_of(
    rois: object, features: Tensor, batch_indices: object, name: str, numbers: int = 4
) -> tuple[Tensor, Restore]:
    """Convert RoIs to ``[K, 5]`` rows (image, x1, y1, x2, y2), or ``[K, 6]`` rows of rotated boxes.

    Also returns a function that converts gradients of the rows to the structure of the RoIs as given. Rows that are
    made here are float64, so that neither image indices nor coordinates are rounded.
    """
    if isinstance(rois, (list, tuple)):
        return _rows_of_list(rois, features, batch_indices, name, numbers)
    boxes = checks.check_array(rois, name)
    checks.check_device(boxes, features.device, name)
    if batch_indices is None:
        if len(boxes.shape) == 2 and boxes.shape[1] == numbers:
            raise no_images(name, numbers, tuple(boxes.shape))
        checks.check_boxes(boxes, numbers + 1, name)
        return boxes, _same
    checks.check_boxes(boxes, numbers, name)
    indices = checks.check_indices(batch_indices, boxes.shape[0], "batch_indices", name)
    checks.check_device(indices, features.device, "batch_indices")
    rows = torch.cat((indices.unsqueeze(1).double(), boxes.double()), dim=1)
    return rows, lambda gradient: _like(gradient[:, 1:], boxes)


def rows_of_points(x: object, y: object, features: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """Convert points to boxes of zero size on image 0. Also returns the broadcast shape of the coordinates."""
    points = []
    for value, name in ((x, "x"), (y, "y")):
        point = checks.check_array(value, name) if is_of_framework(value) else _point_of_numbers(value, name, features)
        checks.check_real(point, name)
        checks.check_device(point, features.device, name)
        if point.is_cpu and not (is_traced(point) or is_transformed()):
            check_coordinates(array_of(point.resolve_neg()), name)
        points.append(point.double())
    try:
        x_of_all, y_of_all = torch.broadcast_tensors(*points)  # type: ignore[no-untyped-call]
    except RuntimeError:
        shapes = [tuple(point.shape) for point in points]
        raise ValueError(f"y: expected a shape that broadcasts with x, {shapes[0]}, got {shapes[1]}") from None
    flat_x, flat_y = x_of_all.reshape(-1), y_of_all.reshape(-1)
    rows = torch.stack([torch.zeros_like(flat_x), flat_x, flat_y, flat_x, flat_y], dim=1)
    return rows, x_of_all.shape


def _point_of_numbers(value: object, name: str, features: Tensor) -> Tensor:
    """Convert numbers. torch's default dtype would round them."""
    if isinstance(value, (list, tuple)) and any(getattr(entry, "requires_grad", False) for entry in value):
        raise TypeError(
            f"{name}: expected a tensor or numbers, got a {type(value).__name__} with a tensor that requires a "
            f"gradient, which it would not get; use torch.stack({name})"
        )
    try:
        point = torch.as_tensor(value, device=features.device)
        if point.is_floating_point():
            point = torch.as_tensor(value, dtype=torch.float64, device=features.device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise no_coordinates(value, name) from error
    return point


def _rows_of_list(
    rois: Sequence[object], features: Tensor, batch_indices: object, name: str, numbers: int
) -> tuple[Tensor, Restore]:
    if batch_indices is not None:
        raise ValueError("batch_indices: expected None if boxes are given as a list, one item per image")
    if rois and len(rois) != features.shape[0]:
        raise ValueError(f"{name}: expected one tensor of boxes per image ({features.shape[0]}), got {len(rois)}")
    per_image = [checks.check_array(boxes, f"{name}[{index}]") for index, boxes in enumerate(rois)]
    for index, boxes in enumerate(per_image):
        checks.check_boxes(boxes, numbers, f"{name}[{index}]")
        checks.check_device(boxes, features.device, f"{name}[{index}]")
    if per_image:
        rows = rows_of_images(per_image)
    else:
        rows = torch.zeros((0, numbers + 1), dtype=torch.float64, device=features.device)

    def restore(gradient: Tensor) -> list[Tensor]:
        pieces = torch.split(gradient, [boxes.shape[0] for boxes in per_image]) if per_image else ()
        return [_like(piece[:, 1:], boxes) for piece, boxes in zip(pieces, per_image, strict=True)]

    return rows, restore


def rows_of_images(boxes: Sequence[Tensor]) -> Tensor:
    """Join the boxes of at least one image to rows, float64."""
    pad = torch.nn.functional.pad
    return torch.cat([pad(part.double(), (1, 0), value=float(image)) for image, part in enumerate(boxes)])


def _same(gradient: Tensor) -> Tensor:
    return gradient


def _like(gradient: Tensor, boxes: Tensor) -> Tensor:
    return gradient.to(boxes.dtype) if boxes.is_floating_point() else gradient


def with_axes_swapped(boxes: Tensor) -> Tensor:
    """Convert boxes between TensorFlow's order (y1, x1, y2, x2) and (x1, y1, x2, y2)."""
    first, second, third, fourth = boxes.unbind(1)  # copying a list of columns to a GPU would synchronise
    return torch.stack([second, first, fourth, third], dim=1)
