"""mmcv's overlaps and non-maximum suppression of rotated boxes."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from .. import _validate
from .._rotated_boxes import shares_inside
from ..ops.rotated_iou import rotated_iou
from ..ops.rotated_nms import rotated_nms
from ..torch.checks import check_array
from ._calls import peer


@peer(boxes="bboxes1", others="bboxes2", paired="aligned")
def box_iou_rotated(
    bboxes1: Tensor,
    bboxes2: Tensor,
    mode: Literal["iou", "iof"] = "iou",
    aligned: bool = False,
    clockwise: bool = True,
) -> Tensor:
    """`mmcv.ops.box_iou_rotated`, which is also differentiable with respect to the boxes.

    Concretely, it is ``roialign.rotated_iou(bboxes1, bboxes2, paired=aligned, clockwise=clockwise)``, ``[N, M]`` or
    ``[N]``. With ``mode="iof"``, the intersection is divided by the area of the box of `bboxes1`. Boxes are rows
    (centre x, centre y, width, height, angle in radians). Unlike in mmcv, boxes with an area of less than 1e-14 are
    not skipped.

    Examples
    --------
    >>> import torch
    >>> from roialign.compat.mmcv import box_iou_rotated
    >>> small, large = torch.tensor([[3.0, 3.0, 2.0, 1.0, 0.5]]), torch.tensor([[3.0, 3.0, 4.0, 4.0, 0.2]])
    >>> box_iou_rotated(small, large), box_iou_rotated(small, large, mode="iof")
    (tensor([[0.1250]]), tensor([[1.]]))
    """
    _validate.check_choice(mode, "mode", ("iou", "iof"))
    if mode == "iou":
        return rotated_iou(bboxes1, bboxes2, paired=aligned, clockwise=clockwise)
    dtype = torch.promote_types(check_array(bboxes1, "bboxes1", "bboxes2").dtype, check_array(bboxes2, "bboxes2").dtype)
    first, second = bboxes1.double(), bboxes2.double()
    overlaps = rotated_iou(first, second, paired=aligned, clockwise=clockwise)
    return shares_inside(first, second, overlaps, paired=aligned).to(dtype)


@peer(boxes="dets", groups="labels", threshold="iou_threshold")
def nms_rotated(
    dets: Tensor, scores: Tensor, iou_threshold: float, labels: Tensor | None = None, clockwise: bool = True
) -> tuple[Tensor, Tensor | None]:
    """`mmcv.ops.nms_rotated`: returns rows (box, score) ``[K, 6]`` and their indices, best score first.

    Concretely, the indices are ``roialign.rotated_nms(dets, scores, iou_threshold, labels, clockwise=clockwise)``. They
    are None if there are no boxes. Labels are respected on every device (mmcv ignores them on the CPU), and a box is
    removed if its overlap is more than the threshold (on the CPU, mmcv also removes it if they are equal).

    Examples
    --------
    >>> import torch
    >>> from roialign.compat.mmcv import nms_rotated
    >>> dets = torch.tensor([[9.0, 9.0, 8.0, 4.0, 0.0], [9.0, 9.0, 8.0, 4.0, 0.1]])
    >>> nms_rotated(dets, torch.tensor([0.5, 0.75]), 0.5)
    (tensor([[9.0000, 9.0000, 8.0000, 4.0000, 0.1000, 0.7500]]), tensor([1]))
    """
    if check_array(dets, "dets", "scores").shape[0] == 0:
        return dets, None
    kept = rotated_nms(dets, scores, iou_threshold, labels, clockwise=clockwise)
    return torch.cat([dets[kept], scores[kept].reshape(-1, 1)], dim=1), kept


@peer(boxes="box1", others="box2")
def diff_iou_rotated_2d(box1: Tensor, box2: Tensor) -> Tensor:
    """`mmcv.ops.diff_iou_rotated_2d`: the intersection over union ``[B, N]`` of boxes ``[B, N, 5]``.

    Concretely, it is ``roialign.rotated_iou`` of each pair, with angles in radians, clockwise on the screen. Unlike in
    mmcv, no small number is added to denominators, so it is exact, also where edges nearly coincide.

    Examples
    --------
    >>> import torch
    >>> from roialign.compat.mmcv import diff_iou_rotated_2d
    >>> boxes = torch.tensor([[[3.0, 3.0, 4.0, 2.0, 0.5]]])
    >>> diff_iou_rotated_2d(boxes, boxes)
    tensor([[1.]])
    """
    for boxes, name in ((box1, "box1"), (box2, "box2")):
        if check_array(boxes, name, None).dim() != 3 or boxes.shape[2] != 5:
            raise ValueError(f"{name}: expected shape [B, N, 5], got {tuple(boxes.shape)}")
    if box1.shape != box2.shape:
        raise ValueError(f"box2: expected the shape of box1, {tuple(box1.shape)}, got {tuple(box2.shape)}")
    overlaps = rotated_iou(box1.flatten(0, 1), box2.flatten(0, 1), paired=True, clockwise=True)
    return overlaps.reshape(box1.shape[:2])
