"""Intersection over union and non-maximum suppression of rotated boxes, for JAX arrays, computed on the host."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from .. import _core_rotated
from .._rotated_boxes import NUMBERS, Comparison, check_scores, checked_boxes, gradients_as_given
from . import checks, varying
from .backends import check_backend
from .dtypes import common_dtype, gradient_dtype


def rotated_iou(boxes: object, others: object, comparison: Comparison) -> Array:
    """Compute :func:`roialign.rotated_iou`."""
    first, second = _checked_arrays(boxes, others, comparison)
    return _iou(first, second, comparison)


def rotated_iou_backward(
    grad_output: object, boxes: object, others: object, comparison: Comparison
) -> tuple[Array, Array]:
    """Compute :func:`roialign.rotated_iou_backward`."""
    first, second = _checked_arrays(boxes, others, comparison)
    gradient = checks.check_array(grad_output, "grad_output")
    comparison.check_grad_output(gradient, first, second)
    checks.check_real(gradient, "grad_output")
    return _gradients(gradient, first, second, comparison)


def rotated_nms(boxes: object, scores: object, threshold: float, groups: object, comparison: Comparison) -> Array:
    """Compute :func:`roialign.rotated_nms`. The size of its result depends on values, so it cannot be traced."""
    check_backend(comparison.backend)
    array = checks.check_array(boxes, "boxes")
    checks.check_boxes(array, NUMBERS, "boxes", "L")
    values = checks.check_array(scores, "scores")
    if values.shape != array.shape[:1]:
        raise ValueError(f"scores: expected shape [{array.shape[0]}], one per row of boxes, got {values.shape}")
    checks.check_real(values, "scores")
    members = jnp.zeros(array.shape[0], jnp.int32) if groups is None else groups
    members = checks.check_indices(members, array.shape[0], "groups", "boxes")
    if not checks.is_concrete(array, values, members):
        raise TypeError(
            "boxes: expected an array with values, got one that JAX traces; the number of boxes that rotated_nms "
            "keeps depends on them, so it cannot be part of jax.jit"
        )
    order = np.asarray(values).astype(np.float64)
    check_scores(order)
    table = checked_boxes(np.asarray(array), "boxes", comparison)
    return jnp.asarray(_core_rotated.rotated_nms(table, order, threshold, np.asarray(members).astype(np.int64)))


def _checked_arrays(boxes: object, others: object, comparison: Comparison) -> tuple[Array, Array]:
    check_backend(comparison.backend)
    first, second = checks.check_array(boxes, "boxes"), checks.check_array(others, "others")
    comparison.check_shapes(first, second)
    checks.check_real(first, "boxes")
    checks.check_real(second, "others")
    if checks.is_concrete(first, second):
        checked_boxes(np.asarray(first), "boxes", comparison)
        checked_boxes(np.asarray(second), "others", comparison)
    first, second = varying.alike([first, second])
    return first, second


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _iou(boxes: Array, others: Array, comparison: Comparison) -> Array:
    dtype = common_dtype(gradient_dtype(boxes), gradient_dtype(others))
    shape = boxes.shape[:1] if comparison.paired else (boxes.shape[0], others.shape[0])
    outline = jax.ShapeDtypeStruct(shape, dtype)
    compute = partial(_iou_on_host, comparison=comparison, dtype=dtype)
    overlaps: Array = jax.pure_callback(compute, outline, boxes, others, vmap_method="sequential")
    return varying.varying_as([overlaps], [boxes, others])[0]


def _iou_forward(boxes: Array, others: Array, comparison: Comparison) -> tuple[Array, tuple[Array, Array]]:
    return _iou(boxes, others, comparison), (boxes, others)


def _iou_backward(comparison: Comparison, kept: tuple[Array, Array], gradient: Array) -> tuple[Any, Any]:
    grad_boxes, grad_others = (
        grad if jnp.issubdtype(given.dtype, jnp.floating) else np.zeros(given.shape, jax.dtypes.float0)
        for grad, given in zip(_gradients(gradient, *kept, comparison), kept, strict=True)
    )
    return grad_boxes, grad_others


_iou.defvjp(_iou_forward, _iou_backward)


def _gradients(gradient: Array, boxes: Array, others: Array, comparison: Comparison) -> tuple[Array, Array]:
    outlines = tuple(jax.ShapeDtypeStruct(given.shape, gradient_dtype(given)) for given in (boxes, others))
    compute = partial(_gradients_on_host, comparison=comparison, dtypes=[outline.dtype for outline in outlines])
    found = jax.pure_callback(compute, outlines, gradient, boxes, others, vmap_method="sequential")
    grad_boxes, grad_others = varying.varying_as(found, [gradient, boxes, others])
    return grad_boxes, grad_others


def _iou_on_host(boxes: Any, others: Any, comparison: Comparison, dtype: Any) -> Any:
    return _core_rotated.rotated_iou(*_tables(boxes, others, comparison), comparison.paired, np.dtype(dtype))


def _gradients_on_host(gradient: Any, boxes: Any, others: Any, comparison: Comparison, dtypes: Any) -> Any:
    tables = _tables(boxes, others, comparison)
    found = _core_rotated.rotated_iou_backward(np.asarray(gradient), *tables, comparison.paired)
    grads = gradients_as_given(found, comparison)
    return tuple(grad.astype(dtype) for grad, dtype in zip(grads, dtypes, strict=True))


def _tables(boxes: Any, others: Any, comparison: Comparison) -> tuple[Any, Any]:
    return (
        checked_boxes(np.asarray(boxes), "boxes", comparison),
        checked_boxes(np.asarray(others), "others", comparison),
    )
