"""The overlap of pairs of rotated boxes, and its gradient, as formulas of torch's operators.

The formulas are those of cpp/rotated/overlap.cpp, without branches. CUDA devices use them, and so do derivatives that
the compiled core lacks, because autograd differentiates them in any mode and to any order. Where two numbers are equal,
torch divides the gradient of their minimum evenly. This gives the mean of the derivatives from both directions, as in
the core.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .._rotated_boxes import NEGLIGIBLE

#: Shorter intervals count as points, because dividing by them could overflow. It is a number of float32, since torch's
#: ONNX exporter writes constants in this type.
SHORTEST = 1e-37


def overlap_of_pairs(boxes: Tensor, others: Tensor) -> Tensor:
    """The intersection over union of float64 boxes ``[..., 5]`` with angles from x towards y."""
    smaller, larger, _ = _by_size(boxes, others)
    frame = _frame_of(smaller, larger)
    return _quotient(_shared_area(frame, _parts_of(frame), smaller, larger), smaller, larger)[0]


def gradients_of_pairs(boxes: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """The derivatives of :func:`overlap_of_pairs` in both boxes."""
    smaller, larger, swap = _by_size(boxes, others)
    frame = _frame_of(smaller, larger)
    parts = _parts_of(frame)
    shared = _shared_area(frame, parts, smaller, larger)
    quotient, union = _quotient(shared, smaller, larger)
    of_quotients = []
    for moved, box in zip(_area_gradients(frame, parts), (smaller, larger), strict=True):
        nothing = torch.zeros_like(quotient)
        of_area = torch.stack([nothing, nothing, box[..., 3], box[..., 2], nothing], dim=-1)
        of_quotient = ((1 + quotient)[..., None] * moved - quotient[..., None] * of_area) / union[..., None]
        of_quotients.append(torch.where((shared > 0)[..., None], of_quotient, 0.0))
    first, second = of_quotients
    return torch.where(swap, second, first), torch.where(swap, first, second)


def half_hulls(boxes: Tensor) -> Tensor:
    """Half of the width and height of the upright hulls of boxes ``[L, 5]``."""
    cosine, sine = (part.abs() for part in _direction(boxes[:, 4]))
    width, height = boxes[:, 2], boxes[:, 3]
    return torch.stack([width * cosine + height * sine, width * sine + height * cosine], dim=1) / 2


class _Frame(NamedTuple):
    """The larger box of each pair in the frame of the smaller one: its centre is the origin, and its sides are parallel
    to the axes, at +-a and +-b."""

    a: Tensor
    b: Tensor
    axis: tuple[Tensor, Tensor]
    """The direction of the width of the smaller box."""
    turned: tuple[Tensor, Tensor]
    """The direction of the width of the larger box in the frame."""
    centre: Tensor
    """``[..., 2]``"""
    across: Tensor
    """Half of the width of the larger box as a vector ``[..., 2]``."""
    down: Tensor
    """Half of its height."""

    def edges(self) -> tuple[Tensor, Tensor]:
        """The first and last points ``[..., 4, 2]`` of the edges. Edges 0 and 2 have the larger box's width."""
        left, right = self.centre - self.across, self.centre + self.across
        corners = torch.stack([left - self.down, right - self.down, right + self.down, left + self.down], dim=-2)
        return corners, torch.roll(corners, -1, dims=-2)

    def is_apart(self) -> Tensor:
        """Whether a side of one of the boxes separates them."""
        half = torch.stack([self.a, self.b], dim=-1)
        apart = (self.centre.abs() >= half + self.across.abs() + self.down.abs()).any(dim=-1)
        for side in (self.across, self.down):
            distance, reach = (self.centre * side).sum(dim=-1).abs(), (side * side + half * side.abs()).sum(dim=-1)
            apart = apart | (distance >= reach)
        return apart


class _Parts(NamedTuple):
    """The part of each edge with ``|x| <= a``, all ``[..., 4]``, and how much of it is above b and so on."""

    edge_from: Tensor
    edge_to: Tensor
    """The x of both ends of the whole edge."""
    from_x: Tensor
    from_y: Tensor
    to_x: Tensor
    to_y: Tensor
    above: Tensor
    below: Tensor
    within: Tensor
    """Shares of the part, whose sum is 1. They are rough derivatives where the part is level."""
    is_level: Tensor


def _by_size(boxes: Tensor, others: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    boxes, others = torch.broadcast_tensors(boxes, others)  # type: ignore[no-untyped-call]
    swap = (others[..., 2] * others[..., 3] < boxes[..., 2] * boxes[..., 3])[..., None]
    return torch.where(swap, others, boxes), torch.where(swap, boxes, others), swap


def _frame_of(box: Tensor, other: Tensor) -> _Frame:
    x, y = other[..., 0] - box[..., 0], other[..., 1] - box[..., 1]
    axis, direction = _direction(box[..., 4]), _direction(other[..., 4])
    cosine = _without_negligible(axis[0] * direction[0] + axis[1] * direction[1])
    sine = _without_negligible(axis[0] * direction[1] - axis[1] * direction[0])
    half_width, half_height = other[..., 2] / 2, other[..., 3] / 2
    return _Frame(
        box[..., 2] / 2,
        box[..., 3] / 2,
        axis,
        (cosine, sine),
        torch.stack([axis[0] * x + axis[1] * y, axis[0] * y - axis[1] * x], dim=-1),
        torch.stack([half_width * cosine, half_width * sine], dim=-1),
        torch.stack([-half_height * sine, half_height * cosine], dim=-1),
    )


def _parts_of(frame: _Frame) -> _Parts:
    start, end = frame.edges()
    a, b = frame.a[..., None], frame.b[..., None]
    step = end - start
    run = torch.where(step[..., 0].abs() < SHORTEST, 1.0, step[..., 0])
    from_x, to_x = _clamp(start[..., 0], a), _clamp(end[..., 0], a)
    from_y = start[..., 1] + ((from_x - start[..., 0]) / run).clamp(0, 1) * step[..., 1]
    to_y = end[..., 1] - ((end[..., 0] - to_x) / run).clamp(0, 1) * step[..., 1]
    low, high = torch.minimum(from_y, to_y), torch.maximum(from_y, to_y)
    is_level = high - low < SHORTEST
    length = torch.where(is_level, 1.0, high - low)
    above = _positive(high - torch.maximum(low, b)) / length
    below = _positive(torch.minimum(high, -b) - low) / length
    within = _positive(torch.minimum(high, b) - torch.maximum(low, -b)) / length
    above = torch.where(is_level, _beyond(low, b), above)
    below = torch.where(is_level, _beyond(-low, b), below)
    within = torch.where(is_level, 1 - above - below, within)
    return _Parts(start[..., 0], end[..., 0], from_x, from_y, to_x, to_y, above, below, within, is_level)


def _shared_area(frame: _Frame, parts: _Parts, smaller: Tensor, larger: Tensor) -> Tensor:
    """The sum over edges of the integral of ``clamp(y, -b, b)`` from -a to a, 0 for boxes that are apart."""
    b = frame.b[..., None]
    middle = (_clamp(parts.from_y, b) + _clamp(parts.to_y, b)) / 2
    mean = torch.where(parts.is_level, middle, parts.within * middle + b * (parts.above - parts.below))
    area = -((parts.to_x - parts.from_x) * mean).sum(dim=-1)
    largest = torch.minimum(smaller[..., 2] * smaller[..., 3], larger[..., 2] * larger[..., 3])
    # Rounding errors that would make it negative or larger than a box are removed, without a kink.
    shared = area - (area - torch.minimum(area.clamp(min=0), largest)).detach()
    return torch.where(frame.is_apart(), 0.0, shared)


def _quotient(shared: Tensor, smaller: Tensor, larger: Tensor) -> tuple[Tensor, Tensor]:
    """Intersection over union, and the union, which is 1 for boxes that do not overlap."""
    union = smaller[..., 2] * smaller[..., 3] + larger[..., 2] * larger[..., 3] - shared
    union = torch.where(shared > 0, union, 1.0)
    return torch.where(shared > 0, shared / union, 0.0), union


def _area_gradients(frame: _Frame, parts: _Parts) -> tuple[Tensor, Tensor]:
    """The derivatives of the area of the intersection in the smaller and the larger box.

    If the boundary of a region moves, its area grows by the integral of the outward velocity over the boundary.
    """
    a, b = frame.a[..., None], frame.b[..., None]
    run = parts.to_x - parts.from_x
    frame_width = -(_chord(frame, -frame.a) + _chord(frame, frame.a)) / 2
    frame_height = -(run * (parts.above - parts.below)).sum(dim=-1) / 2

    rise = parts.to_y - parts.from_y
    slope = run / torch.where(rise.abs() < SHORTEST, 1.0, rise)
    first_y, last_y = _clamp(parts.from_y, b), _clamp(parts.to_y, b)
    first_x = parts.from_x + (first_y - parts.from_y) * slope
    last_x = parts.to_x + (last_y - parts.to_y) * slope
    is_upright = parts.edge_from == parts.edge_to
    # An edge on a side of the smaller box counts as half.
    weight = torch.where(is_upright, 1 - _beyond(parts.edge_from.abs(), a), (run != 0).to(run.dtype))
    weight = weight * torch.where(parts.is_level, parts.within, (parts.within > 0).to(run.dtype))
    step_x, step_y = weight * (last_x - first_x), weight * (last_y - first_y)
    middle_x = (first_x + last_x) / 2 - frame.centre[..., 0, None]
    middle_y = (first_y + last_y) / 2 - frame.centre[..., 1, None]
    shift_x, shift_y = step_y.sum(dim=-1), -step_x.sum(dim=-1)
    turn = -(middle_x * step_x + middle_y * step_y).sum(dim=-1)
    # The lengths of edges 0 and 1 along their directions, minus those of edges 2 and 3, which are the other way.
    along_x, along_y = step_x[..., :2] - step_x[..., 2:], step_y[..., :2] - step_y[..., 2:]
    cosine, sine = frame.turned
    height = (along_x[..., 0] * cosine + along_y[..., 0] * sine) / 2
    width = (along_y[..., 1] * cosine - along_x[..., 1] * sine) / 2
    x = frame.axis[0] * shift_x - frame.axis[1] * shift_y
    y = frame.axis[1] * shift_x + frame.axis[0] * shift_y
    # If both boxes move together, the area stays as it is.
    opposite = -(turn + shift_y * frame.centre[..., 0] - shift_x * frame.centre[..., 1])
    return (
        torch.stack([-x, -y, frame_width, frame_height, opposite], dim=-1),
        torch.stack([x, y, width, height, turn], dim=-1),
    )


def _chord(frame: _Frame, line: Tensor) -> Tensor:
    """The length of the line at an x inside the larger box, with a sign, as far as it is inside the smaller box."""
    start, end = frame.edges()
    x, b = line[..., None], frame.b[..., None]
    step = end - start
    run = torch.where(step[..., 0].abs() < SHORTEST, 1.0, step[..., 0])
    crossings = _beyond(end[..., 0], x) - _beyond(start[..., 0], x)
    y = start[..., 1] + ((x - start[..., 0]) / run).clamp(0, 1) * step[..., 1]
    return (crossings * _clamp(y, b)).sum(dim=-1)


def _beyond(values: Tensor, limit: Tensor) -> Tensor:
    """1 for values above a limit, 0 for those below, and a half on it."""
    return ((values - limit).sign() + 1) / 2


def _positive(values: Tensor) -> Tensor:
    """Values, or 0 for negative ones. Unlike torch.clamp, it has half of the slope at 0, as the other minima have."""
    return torch.maximum(values, torch.zeros_like(values))


def _clamp(values: Tensor, half: Tensor) -> Tensor:
    return torch.minimum(torch.maximum(values, -half), half)


def _direction(angle: Tensor) -> tuple[Tensor, Tensor]:
    return _without_negligible(angle.cos()), _without_negligible(angle.sin())


def _without_negligible(values: Tensor) -> Tensor:
    """Cosines or sines, with negligible ones replaced by zero. The gradient is that of the values."""
    return values - torch.where(values.abs() < NEGLIGIBLE, values, 0.0).detach()
