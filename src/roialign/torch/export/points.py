"""The points of the bins of a RoI, in operators that torch exports to ONNX: the steps of the reference, in float64.

`map_frames` processes all RoIs at once. The other functions process one RoI, inside the loop over RoIs. All bins have
the same number of points here, the largest number of any bin. Surplus points are marked.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..._spec import PointwiseSpec
from .taps import count_of

Pair = tuple[int, int]


class Frame(NamedTuple):
    """A RoI on the map: the start and length on its own axes, and their position and direction, in float64."""

    start_y: Tensor
    length_y: Tensor
    start_x: Tensor
    length_x: Tensor
    cosine: Tensor
    sine: Tensor
    centre_y: Tensor
    centre_x: Tensor

    def place(self, along_y: Tensor, along_x: Tensor) -> tuple[Tensor, Tensor]:
        """Map a point on the RoI's own axes to the map."""
        y = along_y * self.cosine - along_x * self.sine + self.centre_y
        return y, along_y * self.sine + along_x * self.cosine + self.centre_x

    def map_along(self, height: Tensor, width: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """The ranges of the RoI's own axes, y and x, that the map and a margin of one pixel cover."""
        low, one = -torch.ones_like(height), torch.ones(1, dtype=torch.float64)
        y = torch.stack([low, low, height, height]).flatten() * one - self.centre_y
        x = torch.stack([low, width, low, width]).flatten() * one - self.centre_x
        along_y, along_x = y * self.cosine + x * self.sine, x * self.cosine - y * self.sine
        return (along_y.min(), along_y.max()), (along_x.min(), along_x.max())


class AxisPoints(NamedTuple):
    """The points of every bin along one of the RoI's own axes."""

    places: Tensor
    """``[PH, PW, n]``: the position of each point."""
    counts: Tensor
    """``[PH, PW, n]``: whether the point exists."""
    total: Tensor
    """``[PH, PW]``: the number of points of the bin, including those that cannot touch the map."""


def map_frames(spec: PointwiseSpec, boxes: Tensor, scale: Tensor) -> Frame:
    """Step 1: map the geometry of each RoI to its frame on the map."""
    zero = torch.zeros_like(scale)
    if spec.mapping == "rotated":
        centre_x, centre_y, width, height, angle = boxes.unbind(1)
        width, height = (_at_least(side * scale, spec.minimum_length) for side in (width, height))
        turn = -angle if spec.clockwise else angle
        places = (centre_y * scale - spec.offset, centre_x * scale - spec.offset)
        return Frame(-height / 2, height, -width / 2, width, turn.cos(), turn.sin(), *places)
    x1, y1, x2, y2 = boxes.unbind(1)
    along_y, along_x = _map_axis(spec, y1, y2, scale), _map_axis(spec, x1, x2, scale)
    return Frame(*along_y, *along_x, zero + 1.0, zero, zero, zero)


def _map_axis(spec: PointwiseSpec, lower: Tensor, upper: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    if spec.mapping == "rounded":
        start, end = (_round_away(bound * scale) for bound in (lower, upper))
        return start, (end - start + spec.extra_pixels).clamp(min=1.0)
    if spec.mapping not in ("box", "inclusive"):
        raise NotImplementedError(f"ONNX export: the mapping {spec.mapping!r} has no frame")
    beyond = 1.0 if spec.mapping == "inclusive" else 0.0
    start = lower * scale - spec.offset
    return start, _at_least(((upper + beyond) * scale - spec.offset) - start, spec.minimum_length)


def _at_least(length: Tensor, minimum: float) -> Tensor:
    return length if math.isinf(minimum) else length.clamp(min=minimum)


def _round_away(x: Tensor) -> Tensor:
    """Round half away from zero. Adding 0.5 would round the largest number below 0.5 to 1."""
    size = x.abs()
    below = size.floor()
    return x.sign() * torch.where(size - below >= 0.5, below + 1.0, below)


def axis_points(
    spec: PointwiseSpec, axis: int, bins: Pair, start: Tensor, length: Tensor, size: Tensor, part: tuple[Tensor, Tensor]
) -> AxisPoints:
    """Steps 2 and 3 along one axis of a RoI. `start` ``[PH, PW]`` is the start of the RoI for each bin.

    `size` is the number of pixels of the map, and `part` is the range of the axis that lies on the map.
    """
    index = torch.arange(bins[axis], dtype=torch.float64)
    index = index[:, None] if axis == 0 else index
    bin_length = length / bins[axis]
    low = start + index * bin_length
    if spec.rule == "pixels":
        return _pixels(spec, start, index, bin_length, size)
    if spec.rule == "lattice":
        return _lattice(torch.minimum(low, low + bin_length), torch.maximum(low, low + bin_length), size)
    if spec.rule != "grid":
        raise NotImplementedError(f"ONNX export: the rule {spec.rule!r} has no points")
    ratio = spec.sampling_ratio[axis]
    count = torch.full_like(bin_length, ratio) if ratio > 0 else bin_length.ceil().clamp(min=0.0)
    divisor = count.clamp(min=1.0)
    if ratio > 0:
        first, beyond = torch.zeros_like(low), torch.full_like(low, ratio)
    else:
        per_unit = torch.where(count > 0, count / torch.where(count > 0, bin_length, 1.0), 0.0)
        first = ((part[0] - low) * per_unit - 4.0).floor().clamp(min=0.0).minimum(count)
        beyond = ((part[1] - low) * per_unit + 4.0).ceil().clamp(min=0.0).minimum(count)
    number = first[..., None] + _up_to(beyond - first)
    places = low[..., None] + (number + 0.5) * bin_length / divisor
    return AxisPoints(places, number < beyond[..., None], torch.zeros_like(low) + count)


def _up_to(counts: Tensor) -> Tensor:
    return torch.arange(count_of(counts.max().clamp(min=1.0).to(torch.int64)), dtype=torch.float64)


def _pixels(spec: PointwiseSpec, start: Tensor, index: Tensor, bin_length: Tensor, size: Tensor) -> AxisPoints:
    """The whole pixels from the floor to the ceiling of a bin, relative to the pixel in which the RoI starts."""
    whole = start.floor()
    last = size - spec.unused_border
    first = (((start - whole) + index * bin_length).floor() + whole).clamp(min=0.0).minimum(last)
    beyond = (((start - whole) + (index + 1.0) * bin_length).ceil() + whole).clamp(min=0.0).minimum(last)
    number = first[..., None] + _up_to(beyond - first)
    return AxisPoints(number, number < beyond[..., None], (beyond - first).clamp(min=0.0))


def _lattice(low: Tensor, high: Tensor, size: Tensor) -> AxisPoints:
    """The two ends of a bin, and the pixels of the map between them."""
    first = (low.floor() + 1.0).clamp(min=0.0).minimum(size)
    beyond = high.ceil().clamp(min=0.0).minimum(size)
    number = first[..., None] + _up_to(beyond - first)
    places = torch.cat([low[..., None], number, high[..., None]], -1)
    ends = torch.ones_like(low, dtype=torch.bool)[..., None]
    counts = torch.cat([ends, number < beyond[..., None], ends], -1)
    return AxisPoints(places, counts, counts.to(torch.float64).sum(-1))


def bilinear(y: Tensor, x: Tensor, height: Tensor, width: Tensor) -> tuple[list[tuple[Tensor, Tensor, Tensor]], Tensor]:
    """Step 4: (row, column, weight) of the four pixels of every point, and which points are on the map."""
    inside = (y >= -1.0) & (y <= height) & (x >= -1.0) & (x <= width)
    sides = [_sides(place, size) for place, size in ((y, height), (x, width))]
    return [(row, column, along_y * along_x) for row, along_y in sides[0] for column, along_x in sides[1]], inside


def _sides(place: Tensor, size: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    within = place.clamp(min=0.0).minimum(size - 1.0)
    below = within.floor()
    fraction = within - below
    return (below, 1.0 - fraction), ((below + 1.0).minimum(size - 1.0), fraction)
