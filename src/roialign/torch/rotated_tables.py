"""Tables of rotated boxes as tensors: the pairs that may overlap are found, and the formulas applied to them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from .._rotated_boxes import Comparison, checked_boxes
from .._validate import LARGEST_COORDINATE
from . import checks
from .cpu.host import array_of
from .rotated_pairs import gradients_of_pairs, half_hulls, overlap_of_pairs

#: The number of pairs whose hulls are compared at a time.
COMPARED = 1 << 20


def rotated_iou(boxes: Tensor, others: Tensor, comparison: Comparison) -> Tensor:
    """Compute :func:`roialign.rotated_iou`."""
    first, second = _tables(boxes, others, comparison)
    dtype = torch.promote_types(checks.gradient_dtype(boxes), checks.gradient_dtype(others))
    return _overlaps(first, second, comparison.paired, dtype)


def rotated_iou_backward(
    grad_output: Tensor, boxes: Tensor, others: Tensor, comparison: Comparison
) -> tuple[Tensor, Tensor]:
    """Compute :func:`roialign.rotated_iou_backward`."""
    first, second = _tables(boxes, others, comparison)
    grad_boxes, grad_others = _gradients(grad_output, first, second, comparison.paired)
    return _given(grad_boxes, boxes, comparison), _given(grad_others, others, comparison)


def plain_rotated_iou(boxes: Tensor, others: Tensor, comparison: Comparison, dense: bool) -> Tensor:
    """Compute :func:`roialign.rotated_iou` with operators that torch differentiates and batches, in float64.

    Invalid boxes have 0, so the caller checks them. If `dense`, no values are read, and all pairs are computed at once.
    """
    first, second = _tables(boxes, others, comparison._replace(invalid="zero"))
    if not dense:
        return _overlaps(first, second, comparison.paired, torch.float64)
    return overlap_of_pairs(first if comparison.paired else first[:, None], second)


def plain_rotated_iou_backward(
    grad_output: Tensor, boxes: Tensor, others: Tensor, comparison: Comparison, dense: bool
) -> tuple[Tensor, Tensor]:
    """Compute :func:`roialign.rotated_iou_backward` in the same way."""
    first, second = _tables(boxes, others, comparison._replace(invalid="zero"))
    if not dense:
        grad_boxes, grad_others = _gradients(grad_output, first, second, comparison.paired)
    else:
        weights = grad_output.double()[..., None]
        of_boxes, of_others = gradients_of_pairs(first if comparison.paired else first[:, None], second)
        grad_boxes, grad_others = weights * of_boxes, weights * of_others
        if not comparison.paired:
            grad_boxes, grad_others = grad_boxes.sum(dim=1), grad_others.sum(dim=0)
    return _given(grad_boxes, boxes, comparison), _given(grad_others, others, comparison)


def _tables(boxes: Tensor, others: Tensor, comparison: Comparison) -> tuple[Tensor, Tensor]:
    return _table_of(boxes, "boxes", comparison), _table_of(others, "others", comparison)


def _table_of(boxes: Tensor, name: str, comparison: Comparison) -> Tensor:
    """Return float64 boxes whose angles are clockwise on the screen, like `_rotated_boxes.checked_boxes`.

    Values are only read if an invalid one is an error, so a CUDA device need not be waited for.
    """
    table = boxes.double()
    largest = torch.tensor(LARGEST_COORDINATE, dtype=torch.float64)  # the ONNX exporter writes numbers as float32
    valid = (table.abs() <= largest).all(dim=1) & (table[:, 2:4] >= 0).all(dim=1)
    if comparison.invalid == "raise" and not bool(valid.all()):
        checked_boxes(array_of(boxes.cpu()), name, comparison)
    return _turned(torch.where(valid[:, None], table, 0.0), comparison)


def _turned(boxes: Tensor, comparison: Comparison) -> Tensor:
    """Change the direction of angles, or of their gradients, if they are counter-clockwise."""
    return boxes if comparison.clockwise else torch.cat([boxes[:, :4], -boxes[:, 4:]], dim=1)


def _given(gradient: Tensor, boxes: Tensor, comparison: Comparison) -> Tensor:
    """The gradient of a table as that of the boxes it was made from."""
    return _turned(gradient, comparison).to(checks.gradient_dtype(boxes))


def _overlaps(boxes: Tensor, others: Tensor, paired: bool, dtype: torch.dtype) -> Tensor:
    matrix = boxes.new_zeros(len(boxes) if paired else (len(boxes), len(others)), dtype=dtype)
    for rows, columns in _near_pairs(boxes, others, paired):
        overlaps = overlap_of_pairs(boxes[rows], others[columns])
        matrix.index_put_((rows,) if paired else (rows, columns), overlaps.to(dtype))
    return matrix


def _gradients(grad_output: Tensor, boxes: Tensor, others: Tensor, paired: bool) -> tuple[Tensor, Tensor]:
    grad_boxes, grad_others = torch.zeros_like(boxes), torch.zeros_like(others)
    for rows, columns in _near_pairs(boxes, others, paired):
        weights = grad_output[rows if paired else (rows, columns)].double()[:, None]
        of_boxes, of_others = gradients_of_pairs(boxes[rows], others[columns])
        grad_boxes = grad_boxes + _sums(weights * of_boxes, rows, len(boxes))
        grad_others = grad_others + _sums(weights * of_others, columns, len(others))
    return grad_boxes, grad_others


def _near_pairs(boxes: Tensor, others: Tensor, paired: bool) -> Iterator[tuple[Tensor, Tensor]]:
    """The rows of boxes whose upright hulls overlap, in order, a number of rows at a time."""
    first, second = boxes.detach(), others.detach()
    hulls, other_hulls = half_hulls(first), half_hulls(second)
    step = COMPARED if paired else max(COMPARED // max(len(second), 1), 1)
    for start in range(0, len(first), step):
        rows = slice(start, start + step)
        centre, hull = first[rows, :2], hulls[rows]
        if paired:
            near = ((centre - second[rows, :2]).abs() < hull + other_hulls[rows]).all(dim=1).nonzero()[:, 0] + start
            yield near, near
        else:
            near = ((centre[:, None] - second[:, :2]).abs() < hull[:, None] + other_hulls).all(dim=2).nonzero()
            yield near[:, 0] + start, near[:, 1]


def _sums(values: Tensor, places: Tensor, count: int) -> Tensor:
    """The sum of the rows of each place, in their order: without atomics, so that it has the same bits every time."""
    order = places.argsort(stable=True)
    own, member, sizes = torch.unique_consecutive(places[order], return_inverse=True, return_counts=True)
    rank = torch.arange(len(order), device=order.device) - (sizes.cumsum(0) - sizes)[member]
    width = int(sizes.max()) if len(sizes) else 0
    members = values.new_zeros(len(own), width, values.shape[1]).index_put((member, rank), values[order])
    return values.new_zeros(count, values.shape[1]).index_put((own,), members.sum(dim=1))
