"""The separable family in standard ONNX operators, for `torch.onnx.export`.

Where ONNX's RoiAlign computes what is asked, it is that operator. Elsewhere a `Scan` visits the RoIs one by one, slices
the part of the map that a RoI touches, and multiplies it by the taps of both axes. The steps are those of the
reference, in float64, on whole axes at once.

An exported graph cannot raise: a row that is not valid has the answer zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch._higher_order_ops.scan import scan
from torch.nn import functional

from .. import _validate
from .._spec import BORDER_OF_RULE, SeparableSpec

#: RoiAlign's modes, as how we describe them: the offset of a coordinate, and the shortest length of a RoI.
COORDINATE_MODES = {(0.5, -math.inf): "half_pixel", (0.0, 1.0): "output_half_pixel"}
#: The operator set in which RoiAlign has its coordinate modes.
ROI_ALIGN_VERSION = 16


def forward(
    spec: SeparableSpec,
    features: Sequence[Tensor],
    scales: Sequence[float],
    rows: Tensor,
    levels: Tensor | None,
    output_size: tuple[int, int],
) -> Tensor:
    """``[K, C, PH, PW]`` from ``[N, C, H, W]`` levels and float64 rows ``[K, 5]`` (image, x1, y1, x2, y2)."""
    if spec.rule == "random":
        raise ValueError("sampling: expected 'grid' or 'exact' in an ONNX export, whose graph draws no points; got 'random'")
    valid = _valid_rows(rows, features[0].shape[0])
    rows = torch.where(valid[:, None], rows, 0.0).detach()
    if len(features) == 1:
        pooled = _pool(spec, features[0].detach(), scales[0], rows, output_size)
    else:
        assert levels is not None
        pooled = features[0].new_zeros(rows.shape[0], features[0].shape[1], *output_size)
        for index, (feature, scale) in enumerate(zip(features, scales, strict=True)):
            (members,) = torch.nonzero(levels == index, as_tuple=True)
            part = _pool(spec, feature.detach(), scale, rows[members], output_size)
            pooled = pooled.index_put((members,), part)
    return torch.where(valid[:, None, None, None], pooled, 0.0)


def _valid_rows(rows: Tensor, images: int) -> Tensor:
    image = rows[:, 0]
    in_range = (image >= 0) & (image < images) & (image == image.round())
    # A tensor: the exporter would turn the bare number into a float32.
    largest = torch.tensor(_validate.LARGEST_COORDINATE, dtype=torch.float64)
    return in_range & (rows[:, 1:].abs() <= largest).all(1)  # false for NaN


def _pool(spec: SeparableSpec, feature: Tensor, scale: float, rows: Tensor, output_size: tuple[int, int]) -> Tensor:
    # Half types are widened: nothing accumulates in half precision, and runtimes on the CPU lack their RoiAlign.
    wide = feature.to(torch.promote_types(feature.dtype, torch.float32))
    pool = _roi_align if is_roi_align(spec, scale) else _contract_each
    return pool(spec, wide, scale, rows, output_size).to(feature.dtype)


def is_roi_align(spec: SeparableSpec, scale: float) -> bool:
    """Whether ONNX's RoiAlign computes this: regular points, as many along both axes.

    Its runtimes map boxes in float32. That moves a point by a rounding error, but with adaptive sampling it can change
    the number of points, unless the scale is a power of two and the product exact.
    """
    ratio_y, ratio_x = spec.sampling_ratio
    return (
        spec.rule == "grid"
        and ratio_y == ratio_x
        and (spec.offset, spec.minimum_length) in COORDINATE_MODES
        and (ratio_y > 0 or math.frexp(scale)[0] == 0.5)
    )


def _roi_align(
    spec: SeparableSpec, feature: Tensor, scale: float, rows: Tensor, output_size: tuple[int, int]
) -> Tensor:
    return torch.onnx.ops.symbolic(
        "RoiAlign",
        (feature, rows[:, 1:].to(feature.dtype), rows[:, 0].to(torch.int64)),
        {
            "mode": "avg",
            "output_height": output_size[0],
            "output_width": output_size[1],
            "sampling_ratio": spec.sampling_ratio[0],
            "spatial_scale": scale,
            "coordinate_transformation_mode": COORDINATE_MODES[spec.offset, spec.minimum_length],
        },
        dtype=feature.dtype,
        shape=(rows.shape[0], feature.shape[1], *output_size),
        version=ROI_ALIGN_VERSION,
    )


class _Axis(NamedTuple):
    """One axis of the operator: how it is sampled, and the size of the map along it."""

    spec: SeparableSpec
    bins: int
    sampling_ratio: int
    size: int


def _contract_each(
    spec: SeparableSpec, feature: Tensor, scale: float, rows: Tensor, output_size: tuple[int, int]
) -> Tensor:
    """out[k] = Wy . F . Wx^T, RoI by RoI, on the part of the map that the RoI touches."""
    # Runtimes refuse a Scan over nothing: one empty RoI more, taken away at the end.
    rows = functional.pad(rows, (0, 0, 0, 1))
    height, width = feature.shape[2:]
    along_y = _Axis(spec, output_size[0], spec.sampling_ratio[0], height)
    along_x = _Axis(spec, output_size[1], spec.sampling_ratio[1], width)
    start_y, length_y = map_boxes(along_y, rows[:, 2], rows[:, 4], scale)
    start_x, length_x = map_boxes(along_x, rows[:, 1], rows[:, 3], scale)
    first_y, count_y = footprint(along_y, start_y, length_y)
    first_x, count_x = footprint(along_x, start_x, length_x)
    corner = (rows[:, 0].to(torch.int64) * height + first_y) * width + first_x
    place = torch.stack([start_y, length_y, start_x, length_x], 1)
    extent = torch.stack([first_y, count_y, first_x, count_x, corner], 1)
    pixels = feature.permute(0, 2, 3, 1).reshape(-1, feature.shape[1])

    def each(carried: Tensor, roi: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        place, extent = roi
        offset_y, offset_x = torch.arange(_count(extent[1])), torch.arange(_count(extent[3]))
        taps_y, reached_y = taps(along_y, place[0], place[1], extent[0] + offset_y)
        taps_x, reached_x = taps(along_x, place[2], place[3], extent[2] + offset_x)
        part = functional.embedding(extent[4] + offset_y[:, None] * width + offset_x, pixels)  # [h, w, C]
        columns = torch.matmul(taps_x.to(part.dtype), part)  # [h, PW, C]
        pooled = (taps_y.to(part.dtype) @ columns.flatten(1)).unflatten(1, columns.shape[1:])  # [PH, PW, C]
        if spec.fill:
            pooled = torch.where((reached_y[:, None] & reached_x)[..., None], pooled, spec.fill)
        return carried.clone(), pooled

    # The operator wants something carried from one RoI to the next; nothing is.
    _, pooled = scan(each, rows.new_zeros(1), (place, extent))
    return pooled[:-1].permute(0, 3, 1, 2)


def _count(count: Tensor) -> int:
    number = int(count.item())
    torch._check(number >= 1)
    return number


def map_boxes(axis: _Axis, lower: Tensor, upper: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Step 1: the start and the length of every RoI in feature coordinates."""
    factor = axis.size - 1.0 if axis.spec.normalised_boxes else scale
    start = lower * factor - axis.spec.offset
    length = (upper * factor - axis.spec.offset) - start
    return start, length if math.isinf(axis.spec.minimum_length) else length.clamp(min=axis.spec.minimum_length)


def footprint(axis: _Axis, start: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """The first pixel that each RoI may touch, and how many it may: at least one, the nearest."""
    last = axis.size - 1.0
    ends = start, start + length
    first = torch.minimum(*ends).floor().clamp(0.0, last)
    beyond = (torch.maximum(*ends).floor() + 1.0).clamp(0.0, last) + 1.0
    return first.to(torch.int64), (beyond - first).to(torch.int64)


def taps(axis: _Axis, start: Tensor, length: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """The ``[bins, pixels]`` weights of one RoI on those pixels, and which bins reach the map."""
    pixels = pixels.to(torch.float64)
    if axis.spec.rule in ("exact", "prroi"):
        weights = _piece_weights(axis, start, length, pixels)
        return weights, (weights != 0).any(1)
    bins, points, share = sample_points(axis, start, length)
    weights, inside = bilinear(axis, points, pixels)
    members = bins == torch.arange(axis.bins, dtype=torch.float64)[:, None]
    return aggregate_mean(members, weights, share), (members & inside).any(1)


def bin_grid(axis: _Axis, length: Tensor) -> tuple[Tensor, Tensor]:
    """Step 2: where every bin starts, as a distance from the start of the RoI, and how long a bin is."""
    bin_length = length / axis.bins
    return torch.arange(axis.bins, dtype=torch.float64) * bin_length, bin_length


def sample_points(axis: _Axis, start: Tensor, length: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Step 3: the points that may touch the map: each one's bin and coordinate, and its share of the bin."""
    if axis.spec.rule == "crop":
        bins = torch.arange(axis.bins, dtype=torch.float64)
        points = start + (bins * (length / (axis.bins - 1)) if axis.bins > 1 else 0.5 * length[None])
        return bins, points, torch.ones_like(start)
    _, bin_length = bin_grid(axis, length)
    if axis.sampling_ratio > 0:
        count = torch.full_like(start, axis.sampling_ratio)
        index = torch.arange(axis.bins * axis.sampling_ratio, dtype=torch.float64)
    else:
        count = bin_length.ceil().clamp(min=0.0)
        index = _touching(axis, start, bin_length, count)
    divisor = count.clamp(min=1.0)
    bins = (index / divisor).floor()
    points = (start + bins * bin_length) + (index - bins * divisor + 0.5) * bin_length / divisor
    # A RoI without points has the index of one all the same: no bin takes it.
    return torch.where(index < axis.bins * count, bins, -1.0), points, 1.0 / divisor


def _touching(axis: _Axis, start: Tensor, bin_length: Tensor, count: Tensor) -> Tensor:
    """The indices, over all bins, of the adaptive points that may lie on the map: no more than 2 * (size + 4)."""
    points_per_pixel = torch.where(bin_length > 0, count / torch.where(bin_length > 0, bin_length, 1.0), 0.0)
    total = axis.bins * count
    first = ((-1.0 - start) * points_per_pixel - 2.0).floor().clamp(min=0.0).minimum(total)
    beyond = ((axis.size - start) * points_per_pixel + 2.0).ceil().clamp(min=0.0).minimum(total)
    return first + torch.arange(_count((beyond - first).clamp(min=1.0).to(torch.int64)), dtype=torch.float64)


def bilinear(axis: _Axis, points: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Step 4: the weight of every pixel at every point, ``[points, pixels]``, and which points are on the map."""
    last = axis.size - 1.0
    if BORDER_OF_RULE[axis.spec.rule] == "reject":
        inside = (points >= 0.0) & (points <= last)
    else:
        inside = (points >= -1.0) & (points <= last + 1.0)
    distance = points.clamp(0.0, last)[:, None] - pixels
    return torch.where(inside[:, None], (1.0 - distance.abs()).clamp(min=0.0), 0.0), inside


def aggregate_mean(members: Tensor, weights: Tensor, share: Tensor) -> Tensor:
    """Step 5: the mean over the points of every bin; `members` says which these are."""
    return (members.to(torch.float64) @ weights) * share


def _piece_weights(axis: _Axis, start: Tensor, length: Tensor, pixels: Tensor) -> Tensor:
    """The mean of every pixel's weight over every bin, ``[bins, pixels]``.

    A pixel's weight rises over the cell before it and falls over the one after it. On a cell it is linear, so the
    integral is the length of what the bin covers of the cell times the weight in the middle of that.
    """
    bin_starts, bin_length = bin_grid(axis, length)
    ends = bin_starts[:, None], (bin_starts + bin_length)[:, None]
    low, high = torch.minimum(*ends), torch.maximum(*ends)
    # Distances from the start of the RoI: exact for a box near the integer, whatever its size.
    centre = pixels - start
    before_low, before_high = torch.maximum(low, centre - 1.0), torch.minimum(high, centre)
    after_low, after_high = torch.maximum(low, centre), torch.minimum(high, centre + 1.0)
    rising = 0.5 * (before_low + before_high) - (centre - 1.0)
    falling = (centre + 1.0) - 0.5 * (after_low + after_high)
    replicates = BORDER_OF_RULE[axis.spec.rule] == "replicate"
    if replicates:
        rising = torch.where(pixels == 0.0, 1.0, rising)
        falling = torch.where(pixels == axis.size - 1.0, 1.0, falling)
    covered = (before_high - before_low).clamp(min=0.0) * rising + (after_high - after_low).clamp(min=0.0) * falling
    mean = covered / torch.where(bin_length == 0.0, 1.0, bin_length.abs())
    if not replicates:
        return mean  # a RoI of no area is zero
    at_start, _ = bilinear(axis, start[None], pixels)
    return torch.where(bin_length == 0.0, at_start, mean)
