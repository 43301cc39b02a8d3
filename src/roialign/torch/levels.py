"""Assignment of RoIs to levels, for tensors. It is a custom op, so that it can be traced and batched."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .._levels import Assignment, assign_levels, check_assignment, finite_boxes, level_numbers
from . import checks
from .cpu.host import array_of
from .wiring.batching import in_member
from .wiring.primitive import check_not_for_onnx


def fpn_levels(rois: Any, scales: Sequence[float], assignment: Assignment) -> Tensor:
    """Compute :func:`roialign.fpn_levels` for a tensor or a list of tensors."""
    if isinstance(rois, (list, tuple)):
        per_image = [checks.check_array(boxes, f"rois[{index}]") for index, boxes in enumerate(rois)]
        for index, boxes in enumerate(per_image):
            checks.check_boxes(boxes, 4, f"rois[{index}]")
            checks.check_device(boxes, per_image[0].device, f"rois[{index}]")
        table = torch.cat([boxes.double() for boxes in per_image])
    else:
        table = checks.check_array(rois, "rois")
        if len(table.shape) != 2 or table.shape[1] not in (4, 5):
            raise ValueError(f"rois: expected shape [K, 4] or [K, 5], got {tuple(table.shape)}")
        checks.check_boxes(table, table.shape[1], "rois")
    if torch.onnx.is_in_onnx_export():
        return assigned_levels(table.detach()[:, -4:], scales, assignment)
    levels: Tensor = _operator(table.detach()[:, -4:], list(scales), *map(float, assignment))
    return levels


@torch.library.custom_op("roialign::fpn_levels", mutates_args=())
def _operator(boxes: Tensor, scales: Sequence[float], canonical_size: float, canonical_level: float) -> Tensor:
    assignment = Assignment(canonical_size, canonical_level)
    if boxes.is_cuda:  # without reading values, which would synchronise with the device
        return assigned_levels(boxes, scales, assignment)
    return torch.from_numpy(assign_levels(finite_boxes(array_of(boxes)), scales, assignment))


@_operator.register_fake
def _outline(boxes: Tensor, scales: Sequence[float], canonical_size: float, canonical_level: float) -> Tensor:
    del scales, canonical_size, canonical_level
    check_not_for_onnx("roialign::fpn_levels")
    return boxes.new_empty(boxes.shape[0], dtype=torch.int64)


@_operator.register_vmap
def _batch(info: Any, dims: Any, boxes: Tensor, *parameters: Any) -> tuple[Tensor, int]:
    members = boxes.movedim(dims[0], 0)
    try:
        levels = _operator(members.flatten(0, 1), *parameters)
    except ValueError as error:
        of_all_rows = error
    else:
        return levels.reshape(info.batch_size, members.shape[1]), 0
    for index in range(info.batch_size):
        in_member(index, partial(_operator, members[index], *parameters))
    raise of_all_rows


def assigned_levels(boxes: Tensor, scales: Sequence[float], assignment: Assignment) -> Tensor:
    """The rule of :func:`roialign.fpn_levels` in standard operators, for ONNX export and for boxes on a GPU."""
    check_assignment(scales, assignment)
    size, level = assignment
    target = torch.floor(level + torch.log2(box_side(boxes) / size) + 1e-6)
    return levels_reached(target, level_numbers(scales[1:]))


def box_side(boxes: Tensor) -> Tensor:
    """The square root of the area of boxes ``[K, 4]`` or ``[K, 5]`` (rotated), in float64. 0 for an inverted box."""
    first, second, third, fourth, *angle = boxes.detach().double().unbind(1)
    area = third * fourth if angle else (third - first) * (fourth - second)
    return area.clamp(min=0).sqrt()


def levels_reached(target: Tensor, starts: Sequence[float]) -> Tensor:
    """The number of values in `starts`, which are increasing, that are at most each target. 0 for NaN."""
    reached = torch.zeros_like(target, dtype=torch.int64)
    for start in starts:  # one by one: copying a tensor of them to a GPU would synchronise
        reached = reached + (target >= start)
    return reached
