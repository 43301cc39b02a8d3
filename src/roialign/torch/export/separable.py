"""The separable family in standard ONNX operators, for `torch.onnx.export`.

If ONNX's RoiAlign computes the same result, it is used. Otherwise a `Scan` over the RoIs gathers the part of the map
that a RoI touches and multiplies it by the taps of both axes.

An exported graph cannot raise errors, so the result of an invalid row is zero.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ... import _validate
from ..._derivatives import Inputs, Operator
from ..._spec import SeparableSpec
from ..levels import assigned_levels
from . import standard
from .scan import one_more, scan_rois
from .taps import Axis, Place, count_of, footprint, map_boxes, taps

#: The modes of RoiAlign, by the offset of coordinates and the minimum length of a RoI.
COORDINATE_MODES = {(0.5, -math.inf): "half_pixel", (0.0, 1.0): "output_half_pixel"}
#: Larger coordinates would become infinite in float32, and a runtime could read from an invalid address.
LARGEST_FLOAT32 = 1e30


class Prepared(NamedTuple):
    """The prepared tensors of a call, for both families."""

    maps: list[Tensor]
    rows: Tensor
    """The rows. Invalid rows are zeros."""
    valid: Tensor
    levels: Tensor | None


def forward(call: Operator[SeparableSpec], inputs: Inputs, output_size: tuple[int, ...]) -> Tensor:
    """``[K, C, PH, PW]``."""
    maps, rows, valid, levels = prepare(call, inputs, 4)
    if all(is_roi_align(call.spec, scale) for scale in call.scales):
        pooled = _roi_align(call, maps, rows, levels, output_size)
        valid = valid & _has_points(call.spec, rows)
    else:
        pooled = _contract_each(call, maps, rows, levels, output_size)
    return torch.where(valid[:, None, None, None], pooled, 0.0).to(inputs.features[0].dtype)


def prepare(call: Any, inputs: Inputs, numbers: int) -> Prepared:
    """Prepare a call. The first `numbers` values of each row, after the image, must be finite."""
    if call.spec.rule == "random":
        raise ValueError("sampling: expected 'grid' or 'exact' in an ONNX export, got 'random'")
    dtype = inputs.features[0].dtype
    # Convert half types to float32, to accumulate in float32 and because CPU runtimes have no RoiAlign for them.
    maps = [level.detach().to(torch.promote_types(dtype, torch.float32)) for level in inputs.features]
    rows = inputs.rois.detach().double()
    valid = _valid_rows(rows[:, : numbers + 1], maps[0].shape[0])
    rows = torch.where(valid[:, None], rows, 0.0)
    levels = inputs.levels
    if levels is not None:
        valid = valid & (levels >= 0) & (levels < len(maps))
        levels = levels.to(torch.int64).clamp(0, len(maps) - 1)
    elif call.assignment is not None:
        levels = assigned_levels(rows[:, 1 : call.spec.geometry() + 1], call.scales, call.assignment)
    return Prepared(maps, rows, valid, levels)


def _valid_rows(rows: Tensor, images: int) -> Tensor:
    image = rows[:, 0]
    in_range = (image >= 0) & (image < images) & (image == image.round())
    # Use a tensor, because the exporter would convert a number to float32.
    largest = torch.tensor(_validate.LARGEST_COORDINATE, dtype=torch.float64)
    return in_range & (rows[:, 1:].abs() <= largest).all(1)  # False for NaN


def is_roi_align(spec: SeparableSpec, scale: float) -> bool:
    """Whether ONNX's RoiAlign computes this: regular points, with the same number along both axes.

    Its runtimes map boxes in float32, which moves points by a rounding error. With adaptive sampling, this can change
    the number of points, unless the scale is a power of two and the product is exact.
    """
    ratio_y, ratio_x = spec.sampling_ratio
    return (
        spec.rule == "grid"
        and ratio_y == ratio_x
        and (spec.offset, spec.minimum_length) in COORDINATE_MODES
        and (ratio_y > 0 or math.frexp(scale)[0] == 0.5)
    )


def _roi_align(
    call: Operator[SeparableSpec], maps: list[Tensor], rows: Tensor, levels: Tensor | None, output_size: tuple[int, ...]
) -> Tensor:
    """Apply RoiAlign on each level to the RoIs that are pooled from it."""
    if levels is None:
        return _roi_align_of_level(call, maps[0], call.scales[0], rows, output_size)
    pooled = maps[0].new_zeros(rows.shape[0], maps[0].shape[1], *output_size)
    for index, (level, scale) in enumerate(zip(maps, call.scales, strict=True)):
        (members,) = torch.nonzero(levels == index, as_tuple=True)
        part = _roi_align_of_level(call, level, scale, rows[members], output_size)
        pooled = pooled.index_put((members,), part)
    return pooled


def _has_points(spec: SeparableSpec, rows: Tensor) -> Tensor:
    """Whether boxes have points; adaptive sampling gives empty boxes none. Their mean is zero here, NaN in OpenVINO."""
    if spec.sampling_ratio[0] > 0 or spec.minimum_length > 0:
        return torch.ones_like(rows[:, 0], dtype=torch.bool)
    return (rows[:, 3:5] > rows[:, 1:3]).all(1)


def _roi_align_of_level(
    call: Operator[SeparableSpec], level: Tensor, scale: float, rows: Tensor, output_size: tuple[int, ...]
) -> Tensor:
    spec = call.spec
    lower, upper = rows[:, 1:3], rows[:, 3:5]
    if spec.sampling_ratio[0] == 0:
        # An inverted box has no adaptive points, like an empty one. onnxruntime fails for a negative number of points.
        upper = upper.maximum(lower)
    boxes = torch.cat([lower, upper], 1).clamp(-LARGEST_FLOAT32, LARGEST_FLOAT32).to(level.dtype)
    return standard.roi_align(
        level,
        boxes,
        rows[:, 0].to(torch.int64),
        output_size,
        sampling_ratio=spec.sampling_ratio[0],
        spatial_scale=scale,
        coordinate_transformation_mode=COORDINATE_MODES[spec.offset, spec.minimum_length],
    )


def _contract_each(
    call: Operator[SeparableSpec], maps: list[Tensor], rows: Tensor, levels: Tensor | None, output_size: tuple[int, ...]
) -> Tensor:
    """Compute out[k] = Wy . F . Wx^T for each RoI, on the part of the map that it touches."""
    spec, channels = call.spec, maps[0].shape[1]
    along_y, along_x = (Axis(spec, *of_axis) for of_axis in zip(output_size, spec.sampling_ratio, strict=True))
    rows = one_more(rows)
    of_rois = torch.zeros_like(rows[:, 0], dtype=torch.int64) if levels is None else one_more(levels)
    scale, height, width, base = (column[of_rois] for column in level_table(call, maps))
    place_y = map_boxes(along_y, rows[:, 2], rows[:, 4], scale, height)
    place_x = map_boxes(along_x, rows[:, 1], rows[:, 3], scale, width)
    first_y, count_y = footprint(place_y)
    first_x, count_x = footprint(place_x)
    corner = base + (rows[:, 0] * height + first_y) * width + first_x
    places = torch.stack([*place_y, *place_x], 1)
    extents = torch.stack([first_y, count_y, first_x, count_x, width, corner], 1).to(torch.int64)
    # All pixels of all levels as rows, so that a RoI's part of the map is one Gather.
    pixels = torch.cat([level.permute(0, 2, 3, 1).reshape(-1, channels) for level in maps])

    def each(place: Tensor, extent: Tensor) -> Tensor:
        offset_y, offset_x = torch.arange(count_of(extent[1])), torch.arange(count_of(extent[3]))
        taps_y, reached_y = taps(along_y, Place(place[0], place[1], place[2]), extent[0] + offset_y)
        taps_x, reached_x = taps(along_x, Place(place[3], place[4], place[5]), extent[2] + offset_x)
        part = functional.embedding(extent[5] + offset_y[:, None] * extent[4] + offset_x, pixels)  # [h, w, C]
        columns = torch.matmul(taps_x.to(part.dtype), part)  # [h, PW, C]
        pooled = (taps_y.to(part.dtype) @ columns.flatten(1)).reshape(-1, *columns.shape[1:])  # [PH, PW, C]
        if spec.fill:
            pooled = torch.where((reached_y[:, None] & reached_x)[..., None], pooled, spec.fill)
        return pooled

    return scan_rois(each, places, extents).permute(0, 3, 1, 2)


def level_table(call: Any, maps: list[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """For each level: scale, height, width, and its first row among the pixels of all levels, in float64."""

    def sizes(axis: int) -> Tensor:
        return torch.cat([torch.full((1,), level.shape[axis], dtype=torch.float64) for level in maps])

    # Use a constant tensor, because the exporter would round a fill value to float32.
    scale = torch.tensor(call.scales, dtype=torch.float64)
    height, width = sizes(2), sizes(3)
    ends = (maps[0].shape[0] * height * width).cumsum(0)
    return scale, height, width, functional.pad(ends, (1, 0))[:-1]
