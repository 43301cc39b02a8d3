"""The taps of one axis in operators that torch exports to ONNX: the steps of the reference, in float64, on whole axes.

`map_boxes` and `footprint` process all RoIs at once. The other functions process one RoI, inside the loop over RoIs.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..._spec import BORDER_OF_RULE, SeparableSpec


class Axis(NamedTuple):
    """How one axis is divided into bins and sampled."""

    spec: SeparableSpec
    bins: int
    sampling_ratio: int


class Place(NamedTuple):
    """The position of one axis of a RoI, or of many, in feature coordinates on a map of `size` pixels, in float64."""

    start: Tensor
    length: Tensor
    size: Tensor


def count_of(count: Tensor) -> int:
    """Convert a positive count to a number, so that it can be used as a size."""
    number = int(count.item())
    torch._check(number >= 1)  # type: ignore[no-untyped-call]
    return number


def map_boxes(axis: Axis, lower: Tensor, upper: Tensor, scale: Tensor, size: Tensor) -> Place:
    """Step 1: the start and the length of each RoI in feature coordinates."""
    spec = axis.spec
    factor = size - 1.0 if spec.normalised_boxes else scale
    start = lower * factor - spec.offset
    length = (upper * factor - spec.offset) - start
    return Place(start, length if math.isinf(spec.minimum_length) else length.clamp(min=spec.minimum_length), size)


def footprint(place: Place) -> tuple[Tensor, Tensor]:
    """The first pixel and the number of pixels that each RoI may touch: at least one, the nearest."""
    ends = place.start, place.start + place.length
    last = place.size - 1.0
    first = torch.minimum(*ends).floor().clamp(min=0.0).minimum(last)
    final = (torch.maximum(*ends).floor() + 1.0).clamp(min=0.0).minimum(last)
    return first, final - first + 1.0


def taps(axis: Axis, place: Place, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """The ``[bins, pixels]`` weights of one RoI on the given pixels, and which bins have points on the map."""
    pixels = pixels.to(torch.float64)
    if axis.spec.rule in ("exact", "prroi"):
        weights = _piece_weights(axis, place, pixels)
        return weights, (weights != 0).any(1)
    bins, points, share = sample_points(axis, place)
    weights, inside = bilinear(axis, place, points, pixels)
    members = bins == torch.arange(axis.bins, dtype=torch.float64)[:, None]
    return aggregate_mean(members, weights, share), (members & inside).any(1)


def bin_grid(axis: Axis, length: Tensor) -> tuple[Tensor, Tensor]:
    """Step 2: the start of each bin, as a distance from the start of the RoI, and the length of a bin."""
    bin_length = length / axis.bins
    return torch.arange(axis.bins, dtype=torch.float64) * bin_length, bin_length


def sample_points(axis: Axis, place: Place) -> tuple[Tensor, Tensor, Tensor]:
    """Step 3: the points that may touch the map, with their bins, coordinates and shares of the bins."""
    start, length, _ = place
    if axis.spec.rule != "grid":
        bins = torch.arange(axis.bins, dtype=torch.float64)
        return bins, _single_point(axis, place, bins), torch.ones_like(start)
    _, bin_length = bin_grid(axis, length)
    if axis.sampling_ratio > 0:
        count = torch.full_like(start, axis.sampling_ratio)
        index = torch.arange(axis.bins * axis.sampling_ratio, dtype=torch.float64)
    else:
        count = bin_length.ceil().clamp(min=0.0)
        index = _touching(axis, place, bin_length, count)
    divisor = count.clamp(min=1.0)
    bins = (index / divisor).floor()
    points = (start + bins * bin_length) + (index - bins * divisor + 0.5) * bin_length / divisor
    # A RoI without points still has one index, which belongs to no bin.
    return torch.where(index < axis.bins * count, bins, -1.0), points, 1.0 / divisor


def _single_point(axis: Axis, place: Place, bins: Tensor) -> Tensor:
    """The coordinate of the point of every bin, for rules with one point per bin."""
    if axis.spec.rule in ("crop", "nearest"):
        return place.start + (bins * (place.length / (axis.bins - 1)) if axis.bins > 1 else 0.5 * place.length[None])
    raise NotImplementedError(f"ONNX export: the rule {axis.spec.rule!r} has no points")


def _touching(axis: Axis, place: Place, bin_length: Tensor, count: Tensor) -> Tensor:
    """The indices, over all bins, of the adaptive points that may lie on the map: at most 2 * (size + 4)."""
    points_per_pixel = torch.where(bin_length > 0, count / torch.where(bin_length > 0, bin_length, 1.0), 0.0)
    total = axis.bins * count
    first = ((-1.0 - place.start) * points_per_pixel - 2.0).floor().clamp(min=0.0).minimum(total)
    beyond = ((place.size - place.start) * points_per_pixel + 2.0).ceil().clamp(min=0.0).minimum(total)
    return first + torch.arange(count_of((beyond - first).clamp(min=1.0).to(torch.int64)), dtype=torch.float64)


def bilinear(axis: Axis, place: Place, points: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Step 4: the weight of every pixel at every point, ``[points, pixels]``, and which points are on the map."""
    last, border = place.size - 1.0, BORDER_OF_RULE[axis.spec.rule]
    if border in ("reject", "nearest"):
        inside = (points >= 0.0) & (points <= last)
    else:
        inside = (points >= -1.0) & (points <= last + 1.0)
    points = points.clamp(min=0.0).minimum(last)
    if border == "nearest":
        below = points.floor()
        points = torch.where(points - below >= 0.5, below + 1.0, below)
    distance = points[:, None] - pixels
    return torch.where(inside[:, None], (1.0 - distance.abs()).clamp(min=0.0), 0.0), inside


def aggregate_mean(members: Tensor, weights: Tensor, share: Tensor) -> Tensor:
    """Step 5: the mean over the points of every bin. `members` tells which points belong to each bin."""
    return (members.to(torch.float64) @ weights) * share


def _piece_weights(axis: Axis, place: Place, pixels: Tensor) -> Tensor:
    """The mean of every pixel's weight over every bin, ``[bins, pixels]``.

    The weight of a pixel rises over the cell before it and falls over the cell after it. It is linear on each cell, so
    its integral over the covered part of a cell is the length of that part times the weight at its middle.
    """
    bin_starts, bin_length = bin_grid(axis, place.length)
    ends = bin_starts[:, None], (bin_starts + bin_length)[:, None]
    low, high = torch.minimum(*ends), torch.maximum(*ends)
    # Distances from the start of the RoI are exact for a box near the integer, whatever its size.
    centre = pixels - place.start
    before_low, before_high = torch.maximum(low, centre - 1.0), torch.minimum(high, centre)
    after_low, after_high = torch.maximum(low, centre), torch.minimum(high, centre + 1.0)
    rising = 0.5 * (before_low + before_high) - (centre - 1.0)
    falling = (centre + 1.0) - 0.5 * (after_low + after_high)
    replicates = BORDER_OF_RULE[axis.spec.rule] == "replicate"
    if replicates:
        rising = torch.where(pixels == 0.0, 1.0, rising)
        falling = torch.where(pixels == place.size - 1.0, 1.0, falling)
    covered = (before_high - before_low).clamp(min=0.0) * rising + (after_high - after_low).clamp(min=0.0) * falling
    mean = covered / torch.where(bin_length == 0.0, 1.0, bin_length.abs())
    if not replicates:
        return mean  # the result of a RoI without area is zero
    at_start, _ = bilinear(axis, place, place.start[None], pixels)
    return torch.where(bin_length == 0.0, at_start, mean)
