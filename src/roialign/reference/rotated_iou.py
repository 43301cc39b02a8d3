"""Intersection over union of rotated boxes: the intersection as a polygon, for one pair at a time.

A box is (centre x, centre y, width, height, angle), with the angle in radians from x towards y, so clockwise on the
screen. All polygons are in the frame of the first box of a pair: its centre is the origin, and its sides are parallel
to the axes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .._rotated_boxes import NEGLIGIBLE
from .._typing import Array, FloatArray

#: The sides of a box in the order of its corners: the axis that a side is at right angles to, and the direction.
SIDES = ((1, -1), (0, 1), (1, 1), (0, -1))
FLOAT64 = np.dtype(np.float64)


class Edge(NamedTuple):
    """An edge of a polygon, by its first point. Its last point is the first one of the next edge."""

    start: FloatArray
    sides: tuple[tuple[int, int], ...]
    """The sides of boxes that it lies on: (0 for the first box and 1 for the second, index of the side). There are two
    where sides of both boxes coincide."""


def rotated_iou(boxes: FloatArray, others: FloatArray, paired: bool = False, dtype: np.dtype[Any] = FLOAT64) -> Array:
    """Intersection over union ``[L, M]``, or ``[L]`` if `paired`. It is 0 if both boxes are empty."""
    overlaps = np.zeros(len(boxes) if paired else (len(boxes), len(others)))
    for row, column in _close_pairs(boxes, others, paired):
        box, other = boxes[row], others[column]
        area = _area(_intersection(box, other))
        overlaps[row if paired else (row, column)] = _ratio(area, box, other)
    return overlaps.astype(dtype)


def rotated_iou_backward(
    grad_output: Array, boxes: FloatArray, others: FloatArray, paired: bool = False
) -> tuple[FloatArray, FloatArray]:
    """The gradients of ``sum(grad_output * rotated_iou(boxes, others, paired))`` in both sets of boxes.

    Where sides of two boxes coincide, a derivative is the mean of the derivatives from both directions. It is 0 where
    the boxes only touch.
    """
    grad_boxes, grad_others = np.zeros(boxes.shape), np.zeros(others.shape)
    for row, column in _close_pairs(boxes, others, paired):
        grad_box, grad_other = _pair_gradients(boxes[row], others[column])
        weight = grad_output[row if paired else (row, column)]
        grad_boxes[row] += weight * grad_box
        grad_others[column] += weight * grad_other
    return grad_boxes, grad_others


def rotated_nms(boxes: FloatArray, scores: FloatArray, threshold: float, groups: Array) -> Array:
    """The indices of the boxes that are kept, best score first: see :func:`roialign.rotated_nms`."""
    kept: list[int] = []
    for index in np.argsort(-scores, kind="stable").tolist():
        rivals = [rival for rival in kept if groups[rival] == groups[index]]
        if not (rotated_iou(boxes[rivals], boxes[[index]]) > threshold).any():
            kept.append(index)
    return np.array(kept, dtype=np.int64)


def _close_pairs(boxes: FloatArray, others: FloatArray, paired: bool) -> Sequence[tuple[int, int]]:
    """The pairs whose upright hulls overlap."""
    if paired:
        apart = np.abs(boxes[:, :2] - others[:, :2]) > _half_hulls(boxes) + _half_hulls(others)
        rows = np.flatnonzero(~apart.any(axis=1)).tolist()
        return list(zip(rows, rows, strict=True))
    distance = np.abs(boxes[:, None, :2] - others[:, :2])
    apart = distance > _half_hulls(boxes)[:, None] + _half_hulls(others)
    return [(int(row), int(column)) for row, column in np.argwhere(~apart.any(axis=2))]


def _half_hulls(boxes: FloatArray) -> FloatArray:
    """Half of the width and height of the upright hull of each box, ``[L, 2]``."""
    width, height = boxes[:, 2], boxes[:, 3]
    cosine, sine = np.abs(np.array([_axes(angle)[0] for angle in boxes[:, 4]]).reshape(-1, 2).T)
    return np.column_stack([width * cosine + height * sine, width * sine + height * cosine]) / 2


def _axes(angle: float) -> FloatArray:
    """The directions of the width and the height, as rows."""
    return _without_negligible(math.cos(angle), math.sin(angle))


def _turned(box: FloatArray, other: FloatArray) -> FloatArray:
    """The directions of the second box in the frame of the first. The difference of large angles would be rounded."""
    (cosine, sine), (other_cosine, other_sine) = _axes(box[4])[0], _axes(other[4])[0]
    return _without_negligible(cosine * other_cosine + sine * other_sine, cosine * other_sine - sine * other_cosine)


def _without_negligible(cosine: float, sine: float) -> FloatArray:
    if abs(sine) < NEGLIGIBLE:
        cosine, sine = math.copysign(1.0, cosine), 0.0
    elif abs(cosine) < NEGLIGIBLE:
        cosine, sine = 0.0, math.copysign(1.0, sine)
    return np.array([[cosine, sine], [-sine, cosine]])


def _offset(box: FloatArray, other: FloatArray) -> FloatArray:
    """The centre of the second box in the frame of the first."""
    offset: FloatArray = _axes(box[4]) @ (other[:2] - box[:2])
    return offset


def _intersection(box: FloatArray, other: FloatArray) -> list[Edge]:
    """Clip the second box by each side of the first (Sutherland and Hodgman). No edges if nothing is left."""
    half_width, half_height = other[2] / 2, other[3] / 2
    ends = [(-half_width, -half_height), (half_width, -half_height), (half_width, half_height)]
    corners = np.array([*ends, (-half_width, half_height)]) @ _turned(box, other) + _offset(box, other)
    polygon = [Edge(corner, ((1, side),)) for side, corner in enumerate(corners)]
    for side, (axis, sign) in enumerate(SIDES):
        polygon = _clip(polygon, axis, sign, box[2 + axis] / 2, (0, side))
    return polygon


def _clip(polygon: Sequence[Edge], axis: int, sign: int, half: float, side: tuple[int, int]) -> list[Edge]:
    """The part of a convex polygon where ``sign * point[axis] <= half``."""
    clipped: list[Edge] = []
    for index, (start, sides) in enumerate(polygon):
        end = polygon[(index + 1) % len(polygon)].start
        beyond_start, beyond_end = sign * start[axis] - half, sign * end[axis] - half
        if beyond_start == beyond_end == 0:
            sides = (*sides, side)
        if beyond_start <= 0:
            clipped.append(Edge(start, sides))
        if beyond_start <= 0 < beyond_end or beyond_end <= 0 < beyond_start:
            crossing = start + (end - start) * (beyond_start / (beyond_start - beyond_end))
            crossing[axis] = sign * half
            clipped.append(Edge(crossing, (side,) if beyond_start <= 0 else sides))
    return clipped


def _area(polygon: Sequence[Edge]) -> float:
    """The area of a convex polygon whose points go from x towards y."""
    if not polygon:
        return 0.0
    spokes = np.array([edge.start for edge in polygon]) - polygon[0].start
    x, y = spokes.T
    return max(0.0, float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2)


def _ratio(intersection: float, box: FloatArray, other: FloatArray) -> float:
    area, other_area = box[2] * box[3], other[2] * other[3]
    shared = min(intersection, area, other_area)
    union = area + other_area - shared
    return float(shared / union) if union > 0 else 0.0


def _pair_gradients(box: FloatArray, other: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The gradients of the intersection over union of one pair in both boxes."""
    polygon = _intersection(box, other)
    shared = min(_area(polygon), box[2] * box[3], other[2] * other[3])
    if shared == 0:
        return np.zeros(5), np.zeros(5)
    union = box[2] * box[3] + other[2] * other[3] - shared
    of_shared = _area_gradients(polygon, box, other)
    of_areas = [np.array([0, 0, given[3], given[2], 0]) for given in (box, other)]
    first, second = (
        ((union + shared) * part - shared * area) / union**2 for part, area in zip(of_shared, of_areas, strict=True)
    )
    return first, second


def _area_gradients(polygon: Sequence[Edge], box: FloatArray, other: FloatArray) -> FloatArray:
    """The gradients ``[2, 5]`` of the area of an intersection in both boxes.

    If the boundary of a region moves, its area grows by the integral of the outward velocity over the boundary. A
    number of a box moves the edges that lie on the box: a centre moves all, a width the two at its ends, and an angle
    moves each point at right angles to its line to the centre.
    """
    centres = np.array([[0.0, 0.0], _offset(box, other)])
    gradients = np.zeros((2, 5))
    for index, (start, sides) in enumerate(polygon):
        end = polygon[(index + 1) % len(polygon)].start
        step, middle = end - start, (start + end) / 2
        for owner, side in sides:
            axis, _ = SIDES[side]
            part = gradients[owner] * 0
            part[:2] = step[1], -step[0]
            part[2 + axis] = math.hypot(*step) / 2
            part[4] = -np.dot(middle - centres[owner], step)
            gradients[owner] += part / len(sides)
    gradients[:, :2] = gradients[:, :2] @ _axes(box[4])
    return gradients
