"""Pairs of rotated boxes as CPU tensors, by the compiled core or the reference."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ... import _core_rotated
from ..._rotated_boxes import Comparison, check_scores, checked_boxes, gradients_as_given
from ..._typing import FloatArray
from ...reference import rotated_iou as reference
from .. import checks
from .host import array_of
from .threads import team_for

#: NumPy's dtypes for those of results. NumPy has no bfloat16.
DTYPES = {torch.float64: np.float64, torch.float32: np.float32, torch.float16: np.float16}


def rotated_iou(boxes: Tensor, others: Tensor, comparison: Comparison) -> Tensor:
    """Compute :func:`roialign.rotated_iou`."""
    dtype = torch.promote_types(checks.gradient_dtype(boxes), checks.gradient_dtype(others))
    tables = _tables(boxes, others, comparison)
    if comparison.backend == "reference":
        return torch.from_numpy(reference.rotated_iou(*tables, comparison.paired)).to(dtype)
    shape = comparison.output_shape(boxes, others)
    threads = team_for(math.prod(shape))
    if dtype in DTYPES:
        numpy_dtype: Any = np.dtype(DTYPES[dtype])
        return torch.from_numpy(_core_rotated.rotated_iou(*tables, comparison.paired, numpy_dtype, threads))
    overlaps = torch.empty(shape, dtype=dtype)
    for rows, part in _core_rotated.rotated_iou_parts(*tables, comparison.paired, threads):
        overlaps[rows] = torch.from_numpy(part)
    return overlaps


def rotated_iou_backward(
    grad_output: Tensor, boxes: Tensor, others: Tensor, comparison: Comparison
) -> tuple[Tensor, Tensor]:
    """Compute :func:`roialign.rotated_iou_backward`."""
    weights, tables = array_of(grad_output), _tables(boxes, others, comparison)
    if comparison.backend == "reference":
        grads = reference.rotated_iou_backward(weights, *tables, comparison.paired)
    else:
        grads = _core_rotated.rotated_iou_backward(weights, *tables, comparison.paired, team_for(grad_output.numel()))
    grad_boxes, grad_others = map(torch.from_numpy, gradients_as_given(grads, comparison))
    return grad_boxes.to(checks.gradient_dtype(boxes)), grad_others.to(checks.gradient_dtype(others))


def rotated_nms(
    boxes: Tensor, scores: Tensor, groups: Tensor | None, threshold: float, comparison: Comparison
) -> Tensor:
    """Compute :func:`roialign.rotated_nms`."""
    order = array_of(scores).astype(np.float64)
    check_scores(order)
    table = checked_boxes(array_of(boxes), "boxes", comparison)
    members = np.zeros(len(table), dtype=np.int64) if groups is None else array_of(groups).astype(np.int64)
    if comparison.backend == "reference":
        return torch.from_numpy(reference.rotated_nms(table, order, threshold, members))
    return torch.from_numpy(_core_rotated.rotated_nms(table, order, threshold, members, team_for(len(table) ** 2)))


def _tables(boxes: Tensor, others: Tensor, comparison: Comparison) -> tuple[FloatArray, FloatArray]:
    return checked_boxes(array_of(boxes), "boxes", comparison), checked_boxes(array_of(others), "others", comparison)
