"""Intersection over union and non-maximum suppression of rotated boxes, for tensors.

They are custom ops, so that they can be traced. A custom op loses the tangents of forward mode, and has no derivatives
within the transforms of torch.func. There, and for second derivatives, the formula in torch's operators is used.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .._rotated_boxes import NUMBERS, Comparison
from . import checks, rotated_tables
from .backends import backend_for
from .wiring.batching import in_member, member_of_zeros, no_results
from .wiring.kept import keep_tensors, kept_tensors
from .wiring.primitive import check_not_for_onnx
from .wiring.tracing import is_in_memory, is_traced, is_transformed, moves_forward


def rotated_iou(boxes: object, others: object, comparison: Comparison) -> Tensor:
    """Compute :func:`roialign.rotated_iou`."""
    first, second = _checked_tensors(boxes, others, comparison)
    if torch.onnx.is_in_onnx_export():
        dtype = torch.promote_types(checks.gradient_dtype(first), checks.gradient_dtype(second))
        return rotated_tables.plain_rotated_iou(first, second, comparison, dense=True).to(dtype)
    if not _needs_formula():
        overlaps: Tensor = _iou(first, second, *_flat(comparison))
        return overlaps
    checked = _iou(first.detach(), second.detach(), *_flat(comparison))  # raises errors about values
    return rotated_tables.plain_rotated_iou(first, second, comparison, dense=is_transformed()).to(checked.dtype)


def rotated_iou_backward(
    grad_output: object, boxes: object, others: object, comparison: Comparison
) -> tuple[Tensor, Tensor]:
    """Compute :func:`roialign.rotated_iou_backward`."""
    first, second = _checked_tensors(boxes, others, comparison)
    gradient = checks.check_array(grad_output, "grad_output", "boxes")
    comparison.check_grad_output(gradient, first, second)
    checks.check_real(gradient, "grad_output")
    checks.check_device(gradient, first.device, "grad_output", "boxes")
    if _needs_formula():
        _iou(first.detach(), second.detach(), *_flat(comparison))
        dense = is_transformed()
        return rotated_tables.plain_rotated_iou_backward(gradient, first, second, comparison, dense=dense)
    grad_boxes, grad_others = _iou_backward(gradient, first, second, *_flat(comparison))
    return grad_boxes, grad_others


def rotated_nms(boxes: object, scores: object, threshold: float, groups: object, comparison: Comparison) -> Tensor:
    """Compute :func:`roialign.rotated_nms`."""
    tensor = checks.check_array(boxes, "boxes", "scores")
    checks.check_boxes(tensor, NUMBERS, "boxes", "L")
    values = checks.check_array(scores, "scores", "boxes")
    if values.shape != tensor.shape[:1]:
        raise ValueError(f"scores: expected shape [{tensor.shape[0]}], one per row of boxes, got {tuple(values.shape)}")
    checks.check_real(values, "scores")
    checks.check_device(values, tensor.device, "scores", "boxes")
    members = None
    if groups is not None:
        members = checks.check_indices(groups, tensor.shape[0], "groups", "boxes", "boxes")
        checks.check_device(members, tensor.device, "groups", "boxes")
    kept: Tensor = _nms(tensor, values, members, threshold, comparison.clockwise, comparison.backend or "")
    return kept


def _needs_formula() -> bool:
    """Whether derivatives are needed that a custom op does not have: forward mode, or a transform of torch.func."""
    return not torch.compiler.is_compiling() and (moves_forward() or is_transformed())


def _checked_tensors(boxes: object, others: object, comparison: Comparison) -> tuple[Tensor, Tensor]:
    first, second = checks.check_array(boxes, "boxes", "others"), checks.check_array(others, "others", "boxes")
    comparison.check_shapes(first, second)
    checks.check_format(first, "boxes")
    checks.check_format(second, "others")
    checks.check_real(first, "boxes")
    checks.check_real(second, "others")
    checks.check_device(second, first.device, "others", "boxes")
    if comparison.backend is not None and first.is_cuda:
        raise ValueError(f"backend: {comparison.backend!r} needs tensors on the CPU, got boxes on {first.device}")
    return first, second


Setting = tuple[bool, bool, str, str]


def _flat(comparison: Comparison) -> Setting:
    """The comparison in the types of a custom op's schema."""
    return comparison.paired, comparison.clockwise, comparison.invalid or "", comparison.backend or ""


def _comparison(paired: bool, clockwise: bool, invalid: str, backend: str) -> Comparison:
    return Comparison(paired, clockwise, invalid or None, backend or None)


@torch.library.custom_op("roialign::rotated_iou", mutates_args=())
def _iou(boxes: Tensor, others: Tensor, paired: bool, clockwise: bool, invalid: str, backend: str) -> Tensor:
    comparison = _comparison(paired, clockwise, invalid, backend)
    overlaps: Tensor = _backend(boxes, comparison).rotated_iou(*_in_memory(boxes, others), comparison)
    return overlaps


@torch.library.custom_op("roialign::rotated_iou_backward", mutates_args=())
def _iou_backward(
    grad_output: Tensor, boxes: Tensor, others: Tensor, paired: bool, clockwise: bool, invalid: str, backend: str
) -> tuple[Tensor, Tensor]:
    comparison = _comparison(paired, clockwise, invalid, backend)
    core, tensors = _backend(boxes, comparison), _in_memory(grad_output, boxes, others)
    grad_boxes, grad_others = core.rotated_iou_backward(*tensors, comparison)
    return grad_boxes, grad_others


@torch.library.custom_op("roialign::rotated_nms", mutates_args=())
def _nms(
    boxes: Tensor, scores: Tensor, groups: Tensor | None, threshold: float, clockwise: bool, backend: str
) -> Tensor:
    first, values = (tensor.cpu() for tensor in _in_memory(boxes, scores))
    members = None if groups is None else groups.cpu()
    comparison = Comparison(clockwise=clockwise, backend=backend or None)
    on_cpu = backend_for("rotated", first, "cpu")
    kept: Tensor = on_cpu.rotated_nms(first, values, members, threshold, comparison)
    return kept.to(boxes.device)


@_iou.register_fake
def _iou_outline(boxes: Tensor, others: Tensor, *setting: Any) -> Tensor:
    check_not_for_onnx("roialign::rotated_iou")
    shape = _comparison(*setting).output_shape(boxes, others)
    dtype = torch.promote_types(checks.gradient_dtype(boxes), checks.gradient_dtype(others))
    return boxes.new_empty(shape, dtype=dtype)


@_iou_backward.register_fake
def _backward_outline(grad_output: Tensor, boxes: Tensor, others: Tensor, *setting: Any) -> tuple[Tensor, Tensor]:
    del grad_output, setting
    return _like(boxes), _like(others)


@_nms.register_fake
def _nms_outline(boxes: Tensor, *others: Any) -> Tensor:
    del others
    if torch.onnx.is_in_onnx_export():
        raise NotImplementedError(
            "rotated_nms: ONNX has no such operator; export the model up to the boxes and scores, and call rotated_nms "
            "on its outputs"
        )
    return boxes.new_empty(torch.library.get_ctx().new_dynamic_size(), dtype=torch.int64)


def _like(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, dtype=checks.gradient_dtype(tensor), memory_format=torch.contiguous_format)


# Derivatives: each function keeps its tensors, which come first, and its setting.


def _keeping(count: int) -> Callable[[Any, tuple[Any, ...], Any], None]:
    def keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        del output
        keep_tensors(ctx, inputs[:count])
        ctx.setting = inputs[count:]

    return keep


def _gradient(ctx: Any, grad_output: Tensor) -> tuple[Any, ...]:
    return *_iou_backward(grad_output, *kept_tensors(ctx), *ctx.setting), *[None] * len(ctx.setting)


def _second_gradient(ctx: Any, *moved: Tensor) -> tuple[Any, ...]:
    comparison, tensors = _comparison(*ctx.setting), kept_tensors(ctx)
    dense = is_transformed() or is_traced(tensors[0])

    def gradients(grad_output: Tensor, boxes: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
        return rotated_tables.plain_rotated_iou_backward(grad_output, boxes, others, comparison, dense=dense)

    pull: Any = torch.func.vjp(gradients, *tensors)[1]
    return *pull(moved), *[None] * len(ctx.setting)


_iou.register_autograd(_gradient, setup_context=_keeping(2))
_iou_backward.register_autograd(_second_gradient, setup_context=_keeping(3))


# torch.vmap: one call for each member of the batch.


def _batched(operator: Any) -> Callable[..., Any]:
    def batch(info: Any, dims: Any, *arguments: Any) -> Any:
        def result_of(index: int) -> Any:
            own = [
                value if dim is None else value.select(dim, index) for value, dim in zip(arguments, dims, strict=True)
            ]
            return in_member(index, partial(operator, *own))

        if info.batch_size == 0:
            outputs = operator(*member_of_zeros(arguments, dims))
            if isinstance(outputs, Tensor):
                (empty,), (dim,) = no_results((outputs,))
                return empty, dim
            return no_results(outputs)
        results = [result_of(index) for index in range(info.batch_size)]
        if isinstance(results[0], Tensor):
            if operator is _nms:
                _check_counts(results)
            return torch.stack(results), 0
        return tuple([torch.stack(parts) for parts in zip(*results, strict=True)]), (0,) * len(results[0])

    return batch


def _check_counts(kept: list[Tensor]) -> None:
    counts = [len(rows) for rows in kept if isinstance(rows.shape[0], int)]  # traced calls have symbolic numbers
    if counts and min(counts) < max(counts):
        raise ValueError(
            "boxes: expected a batch of torch.vmap in which every member keeps the same number of boxes, got "
            f"from {min(counts)} to {max(counts)} kept boxes; call rotated_nms for each member"
        )


for _operator in (_iou, _iou_backward, _nms):
    _operator.register_vmap(_batched(_operator))


def _backend(boxes: Tensor, comparison: Comparison) -> Any:
    return backend_for("rotated", boxes, comparison.backend)


def _in_memory(*tensors: Tensor) -> list[Tensor]:
    """The tensors with all values in memory, with lazy negation and lazy zeros resolved."""
    return [tensor.detach() if is_in_memory(tensor) else tensor.detach().clone().resolve_neg() for tensor in tensors]
