"""detectron2's overlaps and non-maximum suppression of rotated boxes."""

from __future__ import annotations

import torch
from torch import Tensor

from ..ops.rotated_iou import rotated_iou
from ..ops.rotated_nms import rotated_nms
from ..torch.checks import check_array, check_boxes
from ._calls import peer


@peer(boxes="boxes1", others="boxes2")
def pairwise_iou_rotated(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """`detectron2.layers.pairwise_iou_rotated`, which is also differentiable with respect to the boxes.

    Concretely, it is :func:`roialign.rotated_iou` ``[N, M]`` of rows (centre x, centre y, width, height, angle in
    degrees, counter-clockwise). Unlike in detectron2, boxes with an area of less than 1e-14 are not skipped, and the
    result is never more than 1.

    Examples
    --------
    >>> import torch
    >>> from roialign.compat.detectron2 import pairwise_iou_rotated
    >>> pairwise_iou_rotated(torch.tensor([[3.0, 3.0, 4.0, 2.0, 0.0]]), torch.tensor([[3.0, 3.0, 2.0, 4.0, 90.0]]))
    tensor([[1.]])
    """
    first, second = _in_radians(boxes1, "boxes1"), _in_radians(boxes2, "boxes2")
    dtype = torch.promote_types(boxes1.dtype, boxes2.dtype)
    overlaps = rotated_iou(first, second)
    return overlaps.to(dtype) if dtype.is_floating_point else overlaps


@peer(threshold="iou_threshold")
def nms_rotated(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """`detectron2.layers.nms_rotated`: the indices of the boxes that are kept, best score first.

    Concretely, it is :func:`roialign.rotated_nms` of rows (centre x, centre y, width, height, angle in degrees,
    counter-clockwise). A box is removed if its overlap is more than the threshold; on the CPU, detectron2 also removes
    it if they are equal.

    Examples
    --------
    >>> import torch
    >>> from roialign.compat.detectron2 import nms_rotated
    >>> boxes = torch.tensor([[9.0, 9.0, 8.0, 4.0, 0.0], [9.0, 9.0, 8.0, 4.0, 5.0], [9.0, 9.0, 8.0, 4.0, 90.0]])
    >>> nms_rotated(boxes, torch.tensor([0.5, 0.75, 0.25]), 0.5)
    tensor([1, 2])
    """
    return rotated_nms(_in_radians(boxes, "boxes"), scores, iou_threshold)


@peer(groups="idxs", threshold="iou_threshold")
def batched_nms_rotated(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """`detectron2.layers.batched_nms_rotated`: :func:`nms_rotated` within each class.

    Concretely, boxes whose numbers in `idxs` differ do not suppress each other. Their coordinates are not moved apart,
    as in detectron2, which rounds them.

    Examples
    --------
    >>> import torch
    >>> from roialign.compat.detectron2 import batched_nms_rotated
    >>> boxes = torch.tensor([[9.0, 9.0, 8.0, 4.0, 0.0], [9.0, 9.0, 8.0, 4.0, 5.0]])
    >>> batched_nms_rotated(boxes, torch.tensor([0.5, 0.75]), torch.tensor([0, 1]), 0.5)
    tensor([1, 0])
    """
    return rotated_nms(_in_radians(boxes, "boxes"), scores, iou_threshold, idxs)


def _in_radians(boxes: Tensor, name: str) -> Tensor:
    check_boxes(check_array(boxes, name, None), 5, name, "N")
    return in_radians(boxes)


def in_radians(rows: Tensor) -> Tensor:
    """Rows in float64, so that a quarter turn is one, with the angle in the last column in radians."""
    wide = rows.double()
    return torch.cat([wide[:, :-1], torch.deg2rad(wide[:, -1:])], dim=1)
