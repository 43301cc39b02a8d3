"""Functions of rotated boxes ``[L, 5]``: angle conventions, corners, upright hulls, minimal rectangles, scaling, flips.

In :mod:`roialign.detection`, a rotated box is a row (centre x, centre y, width, height, angle). Lengths are in pixels,
where the top left corner of the image is (0, 0) and the centre of its first pixel is (0.5, 0.5). The angle is in
radians, from the x axis to the side `width`. It is positive clockwise on the screen, where y points down. So the
corners are the centre plus or minus ``0.5 * width * (cos(angle), sin(angle))``, plus or minus
``0.5 * height * (-sin(angle), cos(angle))``. Pass ``clockwise=True`` to the operators, as in
:func:`roialign.roi_align_rotated`.

The same rectangle has many such rows: a quarter turn swaps the sides, and half a turn changes nothing. A convention
chooses one of them. These are mmrotate's:

======== ======================= ===================================================================================
name     angle                   sides
======== ======================= ===================================================================================
`le90`   ``[-pi/2, pi/2)``       width >= height
`le135`  ``[-pi/4, 3 pi/4)``     width >= height
`oc`     ``(0, pi/2]``           either may be longer. OpenCV's ``minAreaRect`` from version 4.5.1 on, in degrees
======== ======================= ===================================================================================

A square has two rows in `le90` and `le135`, a quarter turn apart; both are accepted. The datasets and detectors of this
package use `le90`. detectron2's boxes have degrees, counter-clockwise, of any size: see :func:`from_detectron2`.

References
----------
Zhou et al., "MMRotate: A Rotated Object Detection Benchmark using PyTorch", ACM Multimedia 2022,
https://arxiv.org/abs/2204.13317
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ..files.rectangles import minimal_rectangle

#: The lowest angle of the conventions whose width is the longer side.
LOWEST_ANGLE = {"le90": -math.pi / 2, "le135": -math.pi / 4}
#: The names of the angle conventions.
CONVENTIONS = ("le90", "oc", "le135")


def to_convention(boxes: Tensor, convention: str = "le90") -> Tensor:
    """The same rectangles ``[..., 5]`` as rows of an angle convention. They may be rows of any other one.

    Parameters
    ----------
    boxes : Tensor ``[..., 5]``
        Rotated boxes with any angles in radians, clockwise.
    convention : "le90" (default), "oc" or "le135"
        See :mod:`roialign.detection.rotated_boxes`.

    Raises
    ------
    ValueError
        If `boxes` has another shape, or `convention` another value.

    Examples
    --------
    >>> import torch
    >>> from roialign.detection.rotated_boxes import to_convention
    >>> standing = torch.tensor([[50.0, 50.0, 10.0, 40.0, 0.5]])
    >>> [[round(value, 4) for value in to_convention(standing, name)[0].tolist()] for name in ("le90", "oc", "le135")]
    [[50.0, 50.0, 40.0, 10.0, -1.0708], [50.0, 50.0, 10.0, 40.0, 0.5], [50.0, 50.0, 40.0, 10.0, 2.0708]]
    """
    _check_boxes(boxes)
    if convention not in CONVENTIONS:
        raise ValueError(f"convention: expected one of {', '.join(CONVENTIONS)}, got {convention!r}")
    centre, (width, height, angle) = boxes[..., :2], boxes[..., 2:].unbind(-1)
    angle = torch.fmod(angle, 2 * math.pi)  # of a large angle, rounding would leave more than a turn
    if convention == "oc":
        negative, turns = _wrapped(-angle, -math.pi / 2, math.pi / 2)
        angle, swapped = -negative, turns.remainder(2) == 1
    else:
        swapped = width < height
        angle, _ = _wrapped(torch.where(swapped, angle + math.pi / 2, angle), LOWEST_ANGLE[convention], math.pi)
    sides = torch.where(swapped, height, width), torch.where(swapped, width, height)
    return torch.cat([centre, torch.stack([*sides, angle], dim=-1)], dim=-1)


def _check_boxes(boxes: Tensor) -> None:
    if boxes.ndim == 0 or boxes.shape[-1] != 5:
        raise ValueError(f"boxes: expected shape [..., 5], got {list(boxes.shape)}")


def _wrapped(angle: Tensor, lowest: float, period: float) -> tuple[Tensor, Tensor]:
    """Angles in ``[lowest, lowest + period)``, and the number of periods taken off. An angle in the range is kept."""
    turns = torch.floor((angle - lowest) / period)
    angle = angle - period * turns
    below = angle < lowest  # by rounding
    angle, turns = torch.where(below, angle + period, angle), turns - below.to(turns)
    above = angle >= lowest + period
    return torch.where(above, angle - period, angle), turns + above.to(turns)


def from_detectron2(boxes: Tensor) -> Tensor:
    """Rows of `le90` for detectron2's rotated boxes ``[..., 5]``, whose angle is in degrees and counter-clockwise."""
    return to_convention(torch.cat([boxes[..., :4], -torch.deg2rad(boxes[..., 4:])], dim=-1))


def to_detectron2(boxes: Tensor) -> Tensor:
    """detectron2's form of rotated boxes ``[..., 5]``: the same sides, with degrees, counter-clockwise."""
    _check_boxes(boxes)
    return torch.cat([boxes[..., :4], -torch.rad2deg(boxes[..., 4:])], dim=-1)


def from_upright(boxes: Tensor) -> Tensor:
    """Rotated boxes ``[..., 5]`` for upright boxes ``[..., 4]`` (x1, y1, x2, y2)."""
    sides = boxes[..., 2:] - boxes[..., :2]
    angle = torch.zeros_like(boxes[..., :1])
    return to_convention(torch.cat([boxes[..., :2] + 0.5 * sides, sides, angle], dim=-1))


def from_polygons(polygons: Tensor) -> Tensor:
    """The rotated boxes ``[L, 5]`` of least area around polygons ``[L, P, 2]`` of P points (x, y).

    See :func:`roialign.files.rectangles.minimal_rectangle`. They are computed in float64, on the CPU, and have the
    dtype of the polygons; float64 for integers.

    Raises
    ------
    ValueError
        If `polygons` has another shape, or a number that is not finite.
    """
    if polygons.ndim != 3 or polygons.shape[1] == 0 or polygons.shape[2] != 2:
        raise ValueError(f"polygons: expected shape [L, P, 2] with at least one point, got {list(polygons.shape)}")
    points = polygons.detach().cpu().double().numpy()
    finite = np.isfinite(points).all(axis=(1, 2))
    if not finite.all():
        raise ValueError(f"polygons[{int(np.argmin(finite))}]: expected finite numbers")
    rows = np.array([minimal_rectangle(polygon) for polygon in points], dtype=np.float64).reshape(-1, 5)
    dtype = polygons.dtype if polygons.is_floating_point() else torch.float64
    return torch.from_numpy(rows).to(polygons.device, dtype)


def corners(boxes: Tensor) -> Tensor:
    """The corners ``[..., 4, 2]`` (x, y) of rotated boxes ``[..., 5]``.

    They go clockwise on the screen, from the one that is at the top left if the angle is 0.
    """
    along, across = _half_sides(boxes)
    signs = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    return torch.stack([boxes[..., :2] + u * along + v * across for u, v in signs], dim=-2)


def hulls(boxes: Tensor) -> Tensor:
    """The upright hulls ``[..., 4]`` (x1, y1, x2, y2) of rotated boxes ``[..., 5]``. They are not clipped."""
    along, across = _half_sides(boxes)
    half = along.abs() + across.abs()
    return torch.cat([boxes[..., :2] - half, boxes[..., :2] + half], dim=-1)


def _half_sides(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """The vectors ``[..., 2]`` from the centre to the middle of the side at the end of the width, and of the height."""
    _check_boxes(boxes)
    width, height, angle = boxes[..., 2:].unbind(-1)
    cosine, sine = angle.cos(), angle.sin()
    along = 0.5 * width[..., None] * torch.stack([cosine, sine], dim=-1)
    return along, 0.5 * height[..., None] * torch.stack([-sine, cosine], dim=-1)


def scaled(boxes: Tensor, x: float, y: float) -> Tensor:
    """Rotated boxes ``[..., 5]`` on an image whose sides are `x` and `y` times as long, as rows of `le90`.

    With two different factors, a rectangle becomes a parallelogram. The result has its centre, the lengths of its
    sides, and the direction of its longer side. detectron2's `RotatedBoxes.scale` has the direction of the height.
    """
    boxes = to_convention(boxes)
    width, height, angle = boxes[..., 2:].unbind(-1)
    cosine, sine = angle.cos(), angle.sin()
    sides = width * torch.hypot(x * cosine, y * sine), height * torch.hypot(x * sine, y * cosine)
    turned = torch.stack([x * boxes[..., 0], y * boxes[..., 1], *sides, torch.atan2(y * sine, x * cosine)], dim=-1)
    return to_convention(turned)


def flipped(boxes: Tensor, size: tuple[float, float], *, vertically: bool = False) -> Tensor:
    """Rotated boxes ``[..., 5]`` on an image of `size` (height, width) that is mirrored, as rows of `le90`.

    The image is mirrored left to right, or top to bottom with ``vertically=True``.
    """
    _check_boxes(boxes)
    x, y, width, height, angle = boxes.unbind(-1)
    x, y = (x, size[0] - y) if vertically else (size[1] - x, y)
    return to_convention(torch.stack([x, y, width, height, -angle], dim=-1))
