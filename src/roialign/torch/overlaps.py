"""Intersection over union and non-maximum suppression of rotated boxes, for tensors. They are custom ops."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._rotated_boxes import NUMBERS, Pairing, check_scores, checked_boxes
from ..reference import rotated_iou as core
from . import checks
from .cpu.host import array_of


def rotated_iou(boxes: object, others: object, pairing: Pairing) -> Tensor:
    """Compute :func:`roialign.rotated_iou`."""
    first, second = _checked_tensors(boxes, others, pairing)
    answer: Tensor = _iou(first, second, *_flat(pairing))
    return answer


def rotated_iou_backward(grad_output: object, boxes: object, others: object, pairing: Pairing) -> tuple[Tensor, Tensor]:
    """Compute :func:`roialign.rotated_iou_backward`."""
    first, second = _checked_tensors(boxes, others, pairing)
    gradient = checks.check_array(grad_output, "grad_output")
    shape = pairing.answer_shape(first, second)
    if tuple(gradient.shape) != shape:
        raise ValueError(f"grad_output: expected shape {shape}, got {tuple(gradient.shape)}")
    checks.check_real(gradient, "grad_output")
    checks.check_device(gradient, first.device, "grad_output")
    grads: tuple[Tensor, Tensor] = _iou_backward(gradient, first, second, *_flat(pairing))
    return grads


def rotated_nms(boxes: object, scores: object, threshold: float, groups: object, clockwise: bool) -> Tensor:
    """Compute :func:`roialign.rotated_nms`."""
    tensor = checks.check_array(boxes, "boxes")
    checks.check_boxes(tensor, NUMBERS, "boxes")
    values = checks.check_array(scores, "scores")
    if values.shape != tensor.shape[:1]:
        raise ValueError(f"scores: expected shape [{tensor.shape[0]}], one per row of boxes, got {tuple(values.shape)}")
    checks.check_real(values, "scores")
    checks.check_device(values, tensor.device, "scores")
    of_groups = None
    if groups is not None:
        of_groups = checks.check_indices(groups, tensor.shape[0], "groups", "boxes")
        checks.check_device(of_groups, tensor.device, "groups")
    answer: Tensor = _nms(tensor, values, of_groups, threshold, clockwise)
    return answer


def _checked_tensors(boxes: object, others: object, pairing: Pairing) -> tuple[Tensor, Tensor]:
    first, second = checks.check_array(boxes, "boxes"), checks.check_array(others, "others")
    pairing.check_shapes(first, second)
    checks.check_real(first, "boxes")
    checks.check_real(second, "others")
    checks.check_device(second, first.device, "others")
    return first, second


def _flat(pairing: Pairing) -> tuple[bool, bool, str]:
    return pairing.paired, pairing.clockwise, pairing.invalid or "raise"


@torch.library.custom_op("roialign::rotated_iou", mutates_args=())
def _iou(boxes: Tensor, others: Tensor, paired: bool, clockwise: bool, invalid: str) -> Tensor:
    pairing = Pairing(paired, clockwise, invalid)
    answer = core.rotated_iou(*_tables(boxes, others, pairing), paired)
    return torch.from_numpy(answer).to(_answer_dtype(boxes, others))


@torch.library.custom_op("roialign::rotated_iou_backward", mutates_args=())
def _iou_backward(
    grad_output: Tensor, boxes: Tensor, others: Tensor, paired: bool, clockwise: bool, invalid: str
) -> tuple[Tensor, Tensor]:
    pairing = Pairing(paired, clockwise, invalid)
    weights = array_of(grad_output).astype(np.float64)
    grads = core.rotated_iou_backward(weights, *_tables(boxes, others, pairing), paired)
    for grad in grads:
        if not clockwise:
            grad[:, 4] *= -1
    first, second = map(torch.from_numpy, grads)
    return first.to(checks.gradient_dtype(boxes)), second.to(checks.gradient_dtype(others))


@torch.library.custom_op("roialign::rotated_nms", mutates_args=())
def _nms(boxes: Tensor, scores: Tensor, groups: Tensor | None, threshold: float, clockwise: bool) -> Tensor:
    values = array_of(scores).astype(np.float64)
    check_scores(values)
    table = checked_boxes(array_of(boxes), "boxes", Pairing(clockwise=clockwise))
    of_groups = np.zeros(len(table), np.int64) if groups is None else array_of(groups).astype(np.int64)
    return torch.from_numpy(core.rotated_nms(table, values, threshold, of_groups))


@_iou.register_fake
def _iou_outline(boxes: Tensor, others: Tensor, paired: bool, clockwise: bool, invalid: str) -> Tensor:
    shape = Pairing(paired, clockwise, invalid).answer_shape(boxes, others)
    return boxes.new_empty(shape, dtype=_answer_dtype(boxes, others))


@_iou_backward.register_fake
def _backward_outline(
    grad_output: Tensor, boxes: Tensor, others: Tensor, paired: bool, clockwise: bool, invalid: str
) -> tuple[Tensor, Tensor]:
    del grad_output, paired, clockwise, invalid
    first, second = (given.new_empty(given.shape, dtype=checks.gradient_dtype(given)) for given in (boxes, others))
    return first, second


@_nms.register_fake
def _nms_outline(boxes: Tensor, scores: Tensor, groups: Tensor | None, threshold: float, clockwise: bool) -> Tensor:
    del scores, groups, threshold, clockwise
    return boxes.new_empty(torch.library.get_ctx().new_dynamic_size(), dtype=torch.int64)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    del output
    boxes, others, *ctx.setting = inputs
    ctx.save_for_backward(boxes, others)


def _gradient(ctx: Any, grad_output: Tensor) -> tuple[Any, ...]:
    return *_iou_backward(grad_output, *ctx.saved_tensors, *ctx.setting), None, None, None


_iou.register_autograd(_gradient, setup_context=_keep)


def _tables(boxes: Tensor, others: Tensor, pairing: Pairing) -> tuple[Any, Any]:
    return checked_boxes(array_of(boxes), "boxes", pairing), checked_boxes(array_of(others), "others", pairing)


def _answer_dtype(boxes: Tensor, others: Tensor) -> torch.dtype:
    return torch.promote_types(checks.gradient_dtype(boxes), checks.gradient_dtype(others))
