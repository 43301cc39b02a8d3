"""The pointwise family in standard ONNX operators, for `torch.onnx.export`.

RoIPool is exported as ONNX's MaxRoiPool if that computes the same. Everything else is a `Scan` over the RoIs, which
gathers the four pixels of every point and reduces every bin.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..._derivatives import Inputs, Operator
from ..._spec import PointwiseSpec
from . import standard
from .points import AxisPoints, Frame, Pair, axis_points, bilinear, map_frames
from .scan import one_more, scan_rois
from .separable import LARGEST_FLOAT32, level_table, prepare

#: Lengths of RoIs up to this many pixels are tested for whether float32 gives the same bins as float64.
LONGEST = 1 << 16


def forward(call: Operator[PointwiseSpec], inputs: Inputs, output_size: Pair) -> Tensor:
    """``[K, C, PH, PW]``."""
    spec = call.spec
    numbers = spec.geometry() + (2 * math.prod(output_size) if call.has_offset else 0)
    ready = prepare(call, inputs, numbers)
    if len(ready.maps) == 1 and is_max_roi_pool(spec, call.scales[0], output_size, ready.maps[0].dtype):
        rows = ready.rows.clamp(-LARGEST_FLOAT32, LARGEST_FLOAT32).to(ready.maps[0].dtype)
        pooled = standard.max_roi_pool(ready.maps[0], rows, output_size, call.scales[0])
    else:
        pooled = _reduce_each(call, ready.maps, ready.rows, ready.levels, output_size)
    return torch.where(ready.valid[:, None, None, None], pooled, 0.0).to(inputs.features[0].dtype)


def is_max_roi_pool(spec: PointwiseSpec, scale: float, output_size: Pair, dtype: torch.dtype) -> bool:
    """Whether ONNX's MaxRoiPool computes the same result.

    Its runtimes compute in float32. The scale must be a power of two, so that corners are rounded in the same way, and
    the bins must be the same as in float64.
    """
    is_roi_pool = spec.mapping == "rounded" and spec.reduction == "max" and spec.extra_pixels == 1
    exact = math.frexp(scale)[0] == 0.5 and dtype == torch.float32
    return is_roi_pool and exact and all(_cuts_alike(bins) for bins in output_size)


def _cuts_alike(bins: int) -> bool:
    def cuts(dtype: type) -> tuple[np.ndarray, np.ndarray]:
        length = np.arange(1, LONGEST, dtype=dtype)[:, None] / dtype(bins)
        ends = np.arange(bins + 1, dtype=dtype) * length
        return np.floor(ends[:, :-1]), np.ceil(ends[:, 1:])

    return all(np.array_equal(*pair) for pair in zip(cuts(np.float32), cuts(np.float64), strict=True))


def _reduce_each(
    call: Operator[PointwiseSpec], maps: list[Tensor], rows: Tensor, levels: Tensor | None, output_size: Pair
) -> Tensor:
    """Interpolate the points of each RoI and reduce them per bin."""
    spec, bins = call.spec, math.prod(output_size)
    rows = one_more(rows)
    of_rois = torch.zeros_like(rows[:, 0], dtype=torch.int64) if levels is None else one_more(levels)
    scale, height, width, base = (column[of_rois] for column in level_table(call, maps))
    frames = map_frames(spec, rows[:, 1 : spec.geometry() + 1], scale)
    places = torch.stack([*frames, height, width, base + rows[:, 0] * height * width], 1)
    pixels = torch.cat([_pixel_rows(level, bins if spec.channels == "position" else 1) for level in maps])

    def each(place: Tensor, row: Tensor) -> Tensor:
        frame, (tall, wide, first) = Frame(*place[:8].unbind()), place[8:].unbind()
        shift_y = shift_x = torch.zeros(output_size, dtype=torch.float64)
        end = 1 + spec.geometry()
        if call.has_offset:
            shift_x, shift_y = (spec.gamma * row[end : end + 2 * bins].reshape(2, *output_size)).unbind()
            end += 2 * bins
        part_y, part_x = frame.map_along(tall, wide)
        start_y, start_x = frame.start_y + shift_y * frame.length_y, frame.start_x + shift_x * frame.length_x
        along_y = axis_points(spec, 0, output_size, start_y, frame.length_y, tall, part_y)
        along_x = axis_points(spec, 1, output_size, start_x, frame.length_x, wide, part_x)
        pooled = _reduce(spec, frame, along_y, along_x, (tall, wide, first), pixels)
        if call.has_mask:
            pooled = pooled * row[end : end + bins].reshape(*output_size, 1).to(pooled.dtype)
        if spec.channels == "orientation":
            pooled = _turn(spec, pooled, row[5])
        return pooled

    return scan_rois(each, places, rows).permute(0, 3, 1, 2)


def _pixel_rows(level: Tensor, parts: int) -> Tensor:
    """Reshape a level to rows ``[N * H * W * parts, C]``, one per pixel and part of its channels."""
    if parts == 1:
        return level.permute(0, 2, 3, 1).reshape(-1, level.shape[1])
    channels = level.shape[1] // parts
    split = level.reshape(level.shape[0], channels, parts, *level.shape[2:])
    return split.permute(0, 3, 4, 2, 1).reshape(-1, channels)


def _reduce(
    spec: PointwiseSpec,
    frame: Frame,
    along_y: AxisPoints,
    along_x: AxisPoints,
    where: tuple[Tensor, Tensor, Tensor],
    pixels: Tensor,
) -> Tensor:
    """The mean or the maximum of the points of every bin, ``[PH, PW, C]``."""
    height, width, first = where
    y, x = frame.place(along_y.places[..., :, None], along_x.places[..., None, :])  # [PH, PW, ny, nx]
    corners, inside = bilinear(y, x, height, width)
    exists = along_y.counts[..., :, None] & along_x.counts[..., None, :]
    inside = inside & exists
    total = along_y.total * along_x.total
    values = []
    for row, column, weight in corners:
        index = (first + row * width + column).to(torch.int64)
        if spec.channels == "position":
            bins = torch.arange(y.shape[0] * y.shape[1]).reshape(y.shape[0], y.shape[1], 1, 1)
            index = index * (y.shape[0] * y.shape[1]) + bins
        part = functional.embedding(torch.where(inside, index, 0), pixels)
        values.append(torch.where(inside[..., None], weight[..., None].to(part.dtype) * part, 0.0))
    if spec.reduction == "mean":
        share = torch.where(total > 0, 1.0 / total.clamp(min=1.0), 0.0)[..., None].to(pixels.dtype)
        return torch.stack(values).sum(0).flatten(2, 3).sum(2) * share
    if spec.reduction not in ("max", "corner_max"):
        raise NotImplementedError(f"ONNX export: the reduction {spec.reduction!r} is not supported")
    samples = torch.stack(values).amax(0) if spec.reduction == "corner_max" else torch.stack(values).sum(0)
    # A point outside the map is zero. A surplus point is lower than every value.
    best = torch.where(exists[..., None], samples, -math.inf).flatten(2, 3).amax(2)
    has_others = exists.to(torch.float64).sum((2, 3)) < total
    best = torch.where(has_others[..., None], best.clamp(min=0.0), best)
    return torch.where((total > 0)[..., None], best, 0.0)


def _turn(spec: PointwiseSpec, pooled: Tensor, angle: Tensor) -> Tensor:
    """Rotate channels in groups of orientations with the RoI, with linear interpolation between two."""
    count = spec.orientations
    turned = angle * count / (2.0 * math.pi)
    steps = turned.floor()
    between = (turned - steps).to(pooled.dtype)
    groups = pooled.reshape(*pooled.shape[:2], -1, count)
    source = torch.remainder(torch.arange(count, dtype=torch.float64) - steps, count).to(torch.int64)
    here, beyond = groups[..., source], groups[..., torch.remainder(source + 1, count)]
    return ((1.0 - between) * here + between * beyond).reshape(pooled.shape)
