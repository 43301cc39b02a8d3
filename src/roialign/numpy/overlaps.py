"""Intersection over union and non-maximum suppression of rotated boxes, for NumPy arrays."""

from __future__ import annotations

import numpy as np

from .._rotated_boxes import NUMBERS, Pairing, check_scores, checked_boxes
from .._typing import Array
from ..reference import rotated_iou as core
from .checks import check_array, check_boxes, check_indices, check_real
from .rois import gradient_dtype


def rotated_iou(boxes: object, others: object, pairing: Pairing) -> Array:
    """Compute :func:`roialign.rotated_iou`."""
    first, second = _checked_arrays(boxes, others, pairing)
    tables = checked_boxes(first, "boxes", pairing), checked_boxes(second, "others", pairing)
    dtype = np.promote_types(gradient_dtype(first.dtype), gradient_dtype(second.dtype))
    return core.rotated_iou(*tables, pairing.paired).astype(dtype)


def rotated_iou_backward(grad_output: object, boxes: object, others: object, pairing: Pairing) -> tuple[Array, Array]:
    """Compute :func:`roialign.rotated_iou_backward`."""
    first, second = _checked_arrays(boxes, others, pairing)
    tables = checked_boxes(first, "boxes", pairing), checked_boxes(second, "others", pairing)
    gradient = check_array(grad_output, "grad_output")
    shape = pairing.answer_shape(first, second)
    if gradient.shape != shape:
        raise ValueError(f"grad_output: expected shape {shape}, got {gradient.shape}")
    check_real(gradient, "grad_output")
    grads = core.rotated_iou_backward(gradient.astype(np.float64), *tables, pairing.paired)
    for grad in grads:
        if not pairing.clockwise:
            grad[:, 4] *= -1
    return grads[0].astype(gradient_dtype(first.dtype)), grads[1].astype(gradient_dtype(second.dtype))


def rotated_nms(boxes: object, scores: object, threshold: float, groups: object, clockwise: bool) -> Array:
    """Compute :func:`roialign.rotated_nms`."""
    array = check_array(boxes, "boxes")
    check_boxes(array, NUMBERS, "boxes")
    values = check_array(scores, "scores")
    if values.shape != array.shape[:1]:
        raise ValueError(f"scores: expected shape [{len(array)}], one per row of boxes, got {values.shape}")
    check_real(values, "scores")
    of_groups = (
        np.zeros(len(array), np.int64) if groups is None else check_indices(groups, len(array), "groups", "boxes")
    )
    order_of = values.astype(np.float64)
    check_scores(order_of)
    table = checked_boxes(array, "boxes", Pairing(clockwise=clockwise))
    return core.rotated_nms(table, order_of, threshold, of_groups.astype(np.int64))


def _checked_arrays(boxes: object, others: object, pairing: Pairing) -> tuple[Array, Array]:
    first, second = check_array(boxes, "boxes"), check_array(others, "others")
    pairing.check_shapes(first, second)
    check_real(first, "boxes")
    check_real(second, "others")
    return first, second
