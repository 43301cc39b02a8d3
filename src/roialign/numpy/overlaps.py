"""Intersection over union and non-maximum suppression of rotated boxes, for NumPy arrays."""

from __future__ import annotations

import numpy as np

from .._rotated_boxes import NUMBERS, Comparison, check_scores, checked_boxes, gradients_as_given
from .._typing import Array, FloatArray
from .backends import backend_for
from .checks import check_array, check_boxes, check_indices, check_real
from .rois import gradient_dtype


def rotated_iou(boxes: object, others: object, comparison: Comparison) -> Array:
    """Compute :func:`roialign.rotated_iou`."""
    first, second = _checked_arrays(boxes, others, comparison)
    dtype = np.promote_types(gradient_dtype(first.dtype), gradient_dtype(second.dtype))
    core = backend_for("rotated", comparison.backend)
    overlaps: Array = core.rotated_iou(*_tables(first, second, comparison), comparison.paired, dtype)
    return overlaps


def rotated_iou_backward(
    grad_output: object, boxes: object, others: object, comparison: Comparison
) -> tuple[Array, Array]:
    """Compute :func:`roialign.rotated_iou_backward`."""
    first, second = _checked_arrays(boxes, others, comparison)
    gradient = check_array(grad_output, "grad_output")
    comparison.check_grad_output(gradient, first, second)
    check_real(gradient, "grad_output")
    core = backend_for("rotated", comparison.backend)
    grads = core.rotated_iou_backward(gradient, *_tables(first, second, comparison), comparison.paired)
    grad_boxes, grad_others = gradients_as_given(grads, comparison)
    return grad_boxes.astype(gradient_dtype(first.dtype)), grad_others.astype(gradient_dtype(second.dtype))


def rotated_nms(boxes: object, scores: object, threshold: float, groups: object, comparison: Comparison) -> Array:
    """Compute :func:`roialign.rotated_nms`."""
    array = check_array(boxes, "boxes")
    check_boxes(array, NUMBERS, "boxes", "L")
    values = check_array(scores, "scores")
    if values.shape != array.shape[:1]:
        raise ValueError(f"scores: expected shape [{len(array)}], one per row of boxes, got {values.shape}")
    check_real(values, "scores")
    if groups is None:
        groups = np.zeros(len(array), dtype=np.int64)
    members = check_indices(groups, len(array), "groups", "boxes").astype(np.int64)
    order = values.astype(np.float64)
    check_scores(order)
    core = backend_for("rotated", comparison.backend)
    kept: Array = core.rotated_nms(checked_boxes(array, "boxes", comparison), order, threshold, members)
    return kept


def _checked_arrays(boxes: object, others: object, comparison: Comparison) -> tuple[Array, Array]:
    first, second = check_array(boxes, "boxes"), check_array(others, "others")
    comparison.check_shapes(first, second)
    check_real(first, "boxes")
    check_real(second, "others")
    return first, second


def _tables(boxes: Array, others: Array, comparison: Comparison) -> tuple[FloatArray, FloatArray]:
    return checked_boxes(boxes, "boxes", comparison), checked_boxes(others, "others", comparison)
