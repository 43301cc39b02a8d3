"""Intersection over union of rotated boxes."""

from __future__ import annotations

from typing import Any

from .. import _validate
from .._docstrings import parameters_of
from .._frameworks import framework_of
from .._recording import recordable
from .._rotated_boxes import checked_comparison
from .._typing import AnyArray, Backend, Invalid, NeedOverlaps


@recordable
def rotated_iou(
    boxes: AnyArray,
    others: AnyArray,
    *,
    paired: bool = False,
    clockwise: bool = False,
    invalid: Invalid | None = None,
    backend: Backend | None = None,
) -> AnyArray:
    """Intersection over union of rotated boxes.

    Concretely, ``out[i, j]`` is the area of the intersection of ``boxes[i]`` and ``others[j]``, divided by the area of
    their union. It is 0 if the union is empty. The area is exact up to rounding in float64: the intersection of two
    boxes is a polygon with at most eight corners.

    The result for equal boxes is exactly 1 on the CPU, and 1 up to rounding where torch's operators compute it: on a
    CUDA device, under transforms of `torch.func`, and in an ONNX model. Both hold for sides of at least 1e-150. With
    shorter sides, areas underflow, and the result can be less, down to 0.

    The result is differentiable with respect to both arguments. It has kinks where sides of two boxes lie on one line;
    there, each derivative is the mean of the derivatives from both directions, so it is 0 for equal boxes. The
    derivatives are 0 where boxes only touch. Angles that differ by less than 1e-15 from a multiple of a quarter turn
    count as equal to it.

    Parameters
    ----------
    boxes : array ``[L, 5]``
        Rows (centre x, centre y, width, height, angle). Positions and sizes have any common unit, such as pixels. The
        angle is in radians. Widths and heights are not negative.
    others : array ``[M, 5]``, or ``[L, 5]`` with `paired`
        Rows like those of `boxes`.
    paired : bool, default False
        If True, compare each box only with the other one in the same row.
    clockwise : bool, default False
        If True, positive angles are clockwise on the screen, where y points down, as in mmrotate. If False, they are
        counter-clockwise, as in detectron2.
    invalid : "raise" (default on the CPU) or "zero" (default on a CUDA device)
        What to do with a box that has a number that is not finite, or a negative width or height: raise an error, or
        return 0 for it.
    backend : "cpu" (default) or "reference"
        The compiled core, or the specification in NumPy and float64. Tensors on a CUDA device are compared there, by
        torch's operators.

    Returns
    -------
    array ``[L, M]``, or ``[L]`` with `paired`
        With the common dtype of `boxes` and `others`, where integers count as float64. The computation is in float64.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid. The message names the argument and the row, what was expected and what was given.

    Examples
    --------
    A square and itself, turned by 45 degrees, and a square beside it:

    >>> import math
    >>> import numpy as np
    >>> import roialign
    >>> square = np.array([[0.0, 0.0, 2.0, 2.0, 0.0]])
    >>> others = np.array([[0.0, 0.0, 2.0, 2.0, 0.0], [0.0, 0.0, 2.0, 2.0, math.pi / 4], [2.0, 0.0, 2.0, 2.0, 0.0]])
    >>> roialign.rotated_iou(square, others).round(4)
    array([[1.    , 0.7071, 0.    ]])

    References
    ----------
    Ma et al., "Arbitrary-Oriented Scene Text Detection via Rotation Proposals", IEEE TMM 2018,
    https://arxiv.org/abs/1703.01086 (as `box_iou_rotated` in detectron2 and mmcv); Zhou et al., "IoU Loss for 2D/3D
    Object Detection", 3DV 2019, https://arxiv.org/abs/1908.03851 (the derivative)
    """
    comparison = checked_comparison(paired, clockwise, invalid, backend)
    overlaps: AnyArray = framework_of(boxes, others).overlaps.rotated_iou(boxes, others, comparison)
    return overlaps


@recordable
@parameters_of(rotated_iou)
def rotated_iou_backward(
    grad_output: AnyArray,
    boxes: AnyArray,
    others: AnyArray,
    *,
    need: NeedOverlaps = ("boxes", "others"),
    paired: bool = False,
    clockwise: bool = False,
    invalid: Invalid | None = None,
    backend: Backend | None = None,
) -> tuple[AnyArray | Any, AnyArray | Any]:
    """The gradients of :func:`rotated_iou` with respect to both arrays of boxes.

    Concretely, with ``L = sum(grad_output * rotated_iou(boxes, others, ...))``, ``grad_boxes[i]`` holds the derivatives
    of L with respect to the centre x, centre y, width, height and angle of ``boxes[i]``, and ``grad_others`` those of
    `others`. :func:`rotated_iou` says what they are at kinks.

    Parameters
    ----------
    grad_output : array with the shape of the forward result
    boxes, others, paired, ... : as in :func:`rotated_iou`
    need : sequence of "boxes" and "others", default both
        Which gradients to return.

    Returns
    -------
    (grad_boxes, grad_others)
        Each has the shape and dtype of its argument; float64 for integers. A gradient that is not in `need` is None.

    Raises
    ------
    TypeError, ValueError
        As for :func:`rotated_iou`.

    Examples
    --------
    Two boxes of 2 x 2 that share half of their area: the overlap grows if the first one moves to the right.

    >>> import numpy as np
    >>> import roialign
    >>> first, second = np.array([[0.0, 0.0, 2.0, 2.0, 0.0]]), np.array([[1.0, 0.25, 2.0, 2.0, 0.0]])
    >>> grad_first, _ = roialign.rotated_iou_backward(np.ones(1), first, second, paired=True)
    >>> bool(grad_first[0, 0] > 0), bool(grad_first[0, 1] > 0)
    (True, True)
    """
    wanted = _validate.check_need(need, ("boxes", "others"))
    comparison = checked_comparison(paired, clockwise, invalid, backend)
    overlaps = framework_of(grad_output, boxes, others).overlaps
    grad_boxes, grad_others = overlaps.rotated_iou_backward(grad_output, boxes, others, comparison)
    return grad_boxes if "boxes" in wanted else None, grad_others if "others" in wanted else None
