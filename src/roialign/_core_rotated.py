"""Pairs of rotated boxes by the compiled core, as arrays: the functions of :mod:`roialign.reference.rotated_iou`.

Boxes are float64 rows from :func:`roialign._rotated_boxes.checked_boxes`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from . import _core
from ._memory import empty
from ._typing import Array, FloatArray

#: The dtypes that the core reads and writes. Others are converted.
DTYPES = (np.dtype(np.float64), np.dtype(np.float32))
#: The number of results that are computed before they are converted to another dtype, so that they need little memory.
CONVERTED = 1 << 14


def rotated_iou(
    boxes: FloatArray,
    others: FloatArray,
    paired: bool = False,
    dtype: np.dtype[Any] = DTYPES[0],
    team: _core.Team | None = None,
) -> Array:
    """Intersection over union ``[L, M]``, or ``[L]`` if `paired`, computed in float64."""
    overlaps = empty((len(boxes),) if paired else (len(boxes), len(others)), dtype)
    if dtype in DTYPES:
        _core.rotated_iou(boxes, others, paired, overlaps, team)
    else:
        for rows, part in rotated_iou_parts(boxes, others, paired, team):
            overlaps[rows] = part
    return overlaps


def rotated_iou_parts(
    boxes: FloatArray, others: FloatArray, paired: bool, team: _core.Team | None = None
) -> Iterator[tuple[slice, FloatArray]]:
    """Blocks of rows, for a result of another dtype."""
    step = max(CONVERTED // max(1 if paired else len(others), 1), 1)
    for first in range(0, len(boxes), step):
        rows = slice(first, first + step)
        compared = others[rows] if paired else others
        part = np.empty(boxes[rows].shape[:1] if paired else (len(boxes[rows]), len(compared)))
        _core.rotated_iou(boxes[rows], compared, paired, part, team)
        yield rows, part


def rotated_iou_backward(
    grad_output: Array, boxes: FloatArray, others: FloatArray, paired: bool = False, team: _core.Team | None = None
) -> tuple[FloatArray, FloatArray]:
    """The gradients of ``sum(grad_output * rotated_iou(boxes, others, paired))`` in both sets of boxes."""
    weights = np.ascontiguousarray(grad_output, dtype=None if grad_output.dtype in DTYPES else np.float64)
    grad_boxes, grad_others = np.empty(boxes.shape), np.empty(others.shape)
    _core.rotated_iou_gradient(boxes, others, paired, weights, grad_boxes, grad_others, team)
    return grad_boxes, grad_others


def rotated_nms(
    boxes: FloatArray, scores: FloatArray, threshold: float, groups: Array, team: _core.Team | None = None
) -> Array:
    """The indices of the boxes that are kept, best score first."""
    return np.array(_core.rotated_nms(boxes, scores, groups, threshold, team), dtype=np.int64)
