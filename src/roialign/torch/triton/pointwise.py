"""The pointwise family on CUDA tensors. No step synchronises with the device, so all can be captured in a graph."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..._derivatives import Inputs, Operator
from ..._spec import PointwiseSpec
from ...triton import launch as table
from ...triton.launch import launch, power_of_two, vector_of
from ...triton.numbers import bits_of
from ...triton.pointwise_features import adjoint_points_kernel
from ...triton.pointwise_geometry import SUMS, geometry_kernel, mean_sums_kernel, winners_sums_kernel
from ...triton.pointwise_maxima import maximum_kernel, winners_kernel
from ...triton.pointwise_means import mean_kernel
from .blocks import Block, strides_of_one
from .frames import Frames, checked_rows, winners_dtype
from .replay import Replayed
from .rows import Rows, of_rows, parts_of
from .tiles import Tiles, sum_parts


@Replayed
def forward(call: Operator[PointwiseSpec], inputs: Inputs, out: Tensor) -> None:
    """Write D_T f(X; b) into `out`."""
    forward_in_parts(call, inputs, out, None)


@Replayed
def forward_with_winners(call: Operator[PointwiseSpec], inputs: Inputs, results: tuple[Tensor, Tensor]) -> None:
    """The same for maxima, and write the points that have them into the second result."""
    forward_in_parts(call, inputs, *results)


def forward_in_parts(call: Operator[PointwiseSpec], inputs: Inputs, out: Tensor, winners: Tensor | None) -> None:
    """The forward pass, in parts if its tables would be too large. Also write the winners if there is memory for
    them."""
    rows, maps = checked_rows(call, inputs, inputs.features), inputs.features
    per_row = Frames.bytes_per_row(out)
    if needs_winners(call, inputs) and winners is None and inputs.winners is None:
        per_row += winners_dtype(call, maps).itemsize * math.prod(out.shape[1:])
    for part in parts_of(len(out), per_row, (*maps, out)):
        own = None if winners is None else winners[part]
        forward_part(call, rows.part(part), of_rows(inputs, part), out[part], own)


def needs_winners(call: Operator[PointwiseSpec], inputs: Inputs) -> bool:
    """Whether the maxima are determined by other maps than those read, or a tangent is given."""
    if call.spec.reduction == "mean":
        return False
    return bool(inputs.tangents) or not are_same(inputs.features, inputs.deciding or inputs.features)


def forward_part(
    call: Operator[PointwiseSpec], rows: Rows, inputs: Inputs, out: Tensor, winners: Tensor | None
) -> None:
    """The same for some of the RoIs."""
    frames = Frames.of(call, rows, inputs, inputs.features, out)
    if call.spec.reduction == "mean":
        write_means(frames, inputs, out)
    elif not needs_winners(call, inputs):
        find_maxima(frames, inputs.features, out, True, winners)
    else:
        read_winners(frames, inputs, out, winners_of(frames, inputs, out, winners))


def write_means(frames: Frames, inputs: Inputs, out: Tensor) -> None:
    """Write the means, or their derivatives along the tangent, into `out`."""
    block = block_of(frames.call, table.POINTS_FORWARD, inputs.features, out)
    launch(
        mean_kernel,
        block.grid,
        out.device,
        inputs.features,
        frames.rows.rois,
        frames.tangent,
        *frames.written,
        frames.spans,
        *frames.order,
        out,
        *frames.sampling,
        *block.strides,
        out.shape[1],
        frames.call.spec.orientations,
        **frames.constants,
        **block.constants("OUT_VECTOR"),
        WIDE=out.dtype == torch.float64,
        TANGENT=bool(inputs.tangents),
        enable_fp_fusion=False,
    )


def read_winners(frames: Frames, inputs: Inputs, out: Tensor, winners: Tensor) -> None:
    """Write the values of the features at the winners, or their derivatives along the tangent, into `out`."""
    block = sums_block(frames.call, inputs.features, out)
    launch(
        winners_kernel,
        block.grid,
        out.device,
        inputs.features,
        frames.rows.rois,
        frames.tangent,
        *frames.written,
        winners,
        out,
        *frames.sampling,
        *block.strides,
        out.shape[1],
        **frames.constants,
        **block.constants("OUT_VECTOR"),
        WIDE=out.dtype == torch.float64,
        REDUCTION=frames.call.spec.reduction,
        TANGENT=bool(inputs.tangents),
        SHIFT=frames.shift,
        enable_fp_fusion=False,
    )


@Replayed
def adjoint_features(call: Operator[PointwiseSpec], inputs: Inputs, grad_features: Sequence[Tensor]) -> None:
    """Write (D_T f)^T G into every element of the maps."""
    gradient, maps = inputs.grad_output, tuple(grad_features)
    tiling = tiling_of(call.spec, table.is_channels_last([*maps, gradient]), gradient)
    per_row = Frames.bytes_per_row(gradient) + Tiles.bytes_per_row(maps, tiling)
    if call.spec.reduction != "mean" and inputs.winners is None:
        per_row += winners_dtype(call, maps).itemsize * math.prod(gradient.shape[1:])
    sum_parts(partial(adjoint_features_part, call), checked_rows(call, inputs, maps), inputs, maps, per_row)


def adjoint_features_part(
    call: Operator[PointwiseSpec], rows: Rows, inputs: Inputs, maps: tuple[Tensor, ...], adds: bool
) -> None:
    """The same for some of the RoIs, or add their gradient to the maps."""
    gradient = inputs.grad_output
    frames = Frames.of(call, rows, inputs, maps, gradient)
    winners = frames.places
    if call.spec.reduction != "mean":
        winners = winners_of(frames, inputs, gradient)
    last = table.is_channels_last([*maps, gradient])
    tiling = tiling_of(call.spec, last, gradient)
    aligned = last and call.spec.channels == "same"
    vector = vector_of(maps) if aligned else 1
    parts = math.prod(frames.bins) if call.spec.channels == "position" else 1
    kept = Frames.bytes_per_row(gradient) * len(gradient)
    tiles = Tiles.of(frames.places, maps, gradient, tiling, kept, adds, parts)
    launch(
        adjoint_points_kernel,
        tiles.grid,
        gradient.device,
        gradient,
        frames.rows.rois,
        frames.tangent,
        frames.table,
        frames.spans,
        winners,
        *tiles.written,
        *tiles.target,
        strides_of_one(gradient),
        *frames.sampling,
        gradient.shape[1],
        *tiles.sizes,
        call.spec.orientations,
        **frames.constants,
        REDUCTION=call.spec.reduction,
        TANGENT=bool(inputs.tangents),
        SHIFT=frames.shift,
        PLANAR=not last,
        VECTOR=vector,
        GRAD_VECTOR=vector_of([gradient]) if aligned else 1,
        BINS=frames.bins_at_once,
        AT_ONCE=bins_at_once(call.spec),
        **tiles.constants,
        POINTS=table.POINTS_AT_ONCE,
        WIDE=gradient.dtype == torch.float64,
        enable_fp_fusion=False,
    )
    tiles.sum_shares(CHANNELS_LAST=True, PLANAR=not last, VECTOR=vector)


def tiling_of(spec: PointwiseSpec, last: bool, gradient: Tensor) -> table.Tiling:
    """The tile of a program, with no more channels than there are."""
    of_positions = spec.channels == "position"
    sizes = table.POINTS_FEATURES_POSITION if of_positions else table.POINTS_FEATURES
    if spec.reduction != "mean" and not of_positions:
        sizes = table.POINTS_FEATURES_MAX
    tiling = sizes[last][gradient.element_size()]
    return tiling._replace(channels=min(tiling.channels, power_of_two(gradient.shape[1])))


def bins_at_once(spec: PointwiseSpec) -> int:
    """The number of bins whose weights a program of the gradient of the features computes together, or whose winners
    it reads together. If a winner has coordinates, these are those of a channel, so it is alone."""
    if spec.reduction == "mean":
        return table.POINTS_BINS
    return table.WINNERS_BINS if spec.rule == "pixels" else 1


@Replayed
def adjoint_boxes(call: Operator[PointwiseSpec], inputs: Inputs, grad_rois: Tensor) -> None:
    """Write the gradient of <G, f(X; b)> in the geometry into all columns except the first."""
    gradient, features = inputs.grad_output, inputs.features
    rows, of_bin = checked_rows(call, inputs, features), gradient.shape[1] * winners_dtype(call, features).itemsize
    of_bin = 0 if call.spec.reduction == "mean" or inputs.winners is not None else of_bin
    of_bin += 8 * SUMS.value * sums_grid(sums_block(call, features, gradient))[1]
    per_row = Frames.bytes_per_row(gradient) + of_bin * math.prod(gradient.shape[2:])
    for part in parts_of(len(gradient), per_row, (*features, gradient)):
        adjoint_boxes_part(call, rows.part(part), of_rows(inputs, part), grad_rois[part])


def sums_grid(block: Block) -> tuple[int, int]:
    """The grid: blocks of bins of all RoIs, and programs that share the blocks of channels."""
    rows, blocks = block.grid
    return rows, min(blocks, table.blocks_of(table.SUMS_PROGRAMS, max(rows, 1)))


def adjoint_boxes_part(call: Operator[PointwiseSpec], rows: Rows, inputs: Inputs, grad_rois: Tensor) -> None:
    """The same for some of the RoIs."""
    frames = Frames.of(call, rows, inputs, inputs.features, inputs.grad_output, keeps=True)
    sums = sums_of(frames, inputs)
    launch(
        geometry_kernel,
        (len(grad_rois),),
        sums.device,
        rows.rois,
        *frames.written,
        sums,
        grad_rois,
        sums.shape[1],
        bits_of(call.spec.gamma),
        SPEC=frames.spec.without_points(),
        BINS=frames.bins_at_once,
        num_warps=table.ROI_WARPS,
        enable_fp_fusion=False,
    )


def sums_of(frames: Frames, inputs: Inputs) -> Tensor:
    """The sums of every bin, ``[K, programs, SUMS, bins]``, from which the gradient of the geometry is computed."""
    gradient, features = inputs.grad_output, inputs.features
    spec, block = frames.call.spec, sums_block(frames.call, features, gradient)
    grid = sums_grid(block)
    shape = (len(gradient), grid[1], SUMS.value, math.prod(frames.bins))
    sums = torch.empty(shape, dtype=torch.float64, device=gradient.device)
    of_maps = (features, gradient, frames.rows.rois, *frames.written)
    rest = (sums, *frames.sampling, *block.strides, gradient.shape[1])
    constants = {**frames.constants, **block.constants("GRAD_VECTOR"), "enable_fp_fusion": False}
    if spec.reduction == "mean":
        is_wide = gradient.dtype == torch.float64
        more = (*frames.order, *rest, spec.orientations)
        launch(mean_sums_kernel, grid, gradient.device, *of_maps, *more, **constants, WIDE=is_wide)
    else:
        more = (winners_of(frames, inputs, gradient), *rest)
        which = {"REDUCTION": spec.reduction, "SHIFT": frames.shift}
        launch(winners_sums_kernel, grid, gradient.device, *of_maps, *more, **constants, **which)
    return sums


def block_of(call: Operator[PointwiseSpec], sizes: Any, maps: Sequence[Tensor], output: Tensor) -> Block:
    """Choose a block.

    If channels are not read in vectors, neighbouring threads share channels and not bins, because the geometry of bins
    needs more registers than their sums.
    """
    last = call.spec.channels == "same" and table.is_channels_last([*maps, output]) and vector_of(maps) > 1
    return Block.of(sizes, maps, output, last)


def sums_block(call: Operator[PointwiseSpec], maps: Sequence[Tensor], output: Tensor) -> Block:
    """Choose a block for sums. Winners differ between channels, so their geometry needs more threads."""
    block = block_of(call, table.POINTS_SUMS, maps, output)
    if call.spec.reduction == "mean":
        return block
    return replace(block, size=block.size._replace(warps=table.WINNERS_WARPS * block.size.warps))


def find_maxima(frames: Frames, maps: Sequence[Tensor], output: Tensor, writes: bool, winners: Tensor | None) -> None:
    """Write the maxima into `output` if it `writes` them, and the points that have them into `winners` if given."""
    block = block_of(frames.call, table.POINTS_FORWARD, maps, output)
    launch(
        maximum_kernel,
        block.grid,
        output.device,
        tuple(maps),
        frames.rows.rois,
        *frames.written,
        frames.spans,
        *frames.order,
        output,
        frames.places if winners is None else winners,
        *frames.sampling,
        *block.strides,
        output.shape[1],
        **frames.constants,
        **block.constants("OUT_VECTOR"),
        WIDE=output.dtype == torch.float64,
        REDUCTION=frames.call.spec.reduction,
        WRITES=writes,
        TELLS=winners is not None,
        SHIFT=frames.shift,
        enable_fp_fusion=False,
    )


def new_winners(call: Operator[PointwiseSpec], maps: Sequence[Tensor], output: Tensor) -> Tensor:
    """Memory for winners, ``[K, bins, C]``, which is about as large as the result."""
    count, channels, bins_y, bins_x = output.shape
    shape = (count, bins_y * bins_x, channels)
    return torch.empty(shape, dtype=winners_dtype(call, maps), device=output.device)


def winners_of(frames: Frames, inputs: Inputs, output: Tensor, winners: Tensor | None = None) -> Tensor:
    """The winners that the forward pass kept, or those of the deciding maps, found again: in `winners` if given.

    `output` has the shape of the result; it is not written.
    """
    if inputs.winners is not None:
        kept: Tensor = inputs.winners
        return kept
    winners = new_winners(frames.call, frames.maps, output) if winners is None else winners
    find_maxima(frames, inputs.deciding or inputs.features, output, False, winners)
    return winners


def are_same(maps: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    """Whether the maps are the same memory."""
    return all(
        one.data_ptr() == other.data_ptr() and one.stride() == other.stride()
        for one, other in zip(maps, others, strict=True)
    )
