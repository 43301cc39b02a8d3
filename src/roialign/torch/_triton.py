"""The separable family: CUDA tensors to Triton kernels. No step waits for the device, so all can be captured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from .._spec import BORDER_OF_RULE
from ..triton import launch as table
from ..triton.launch import launch, plain_strides, power_of_two, vector_of
from ..triton.numbers import bits_of
from ..triton.order import order_kernel
from ..triton.separable import adjoint_boxes_kernel, adjoint_features_kernel, forward_kernel
from ..triton.taps import SLACK, boxes_kernel, taps_kernel
from ._device import Rows, rows_of, seed_words
from ._separable import SeparableCall
from ._triton_tiles import Tiles, map_sizes
from ._wiring import Inputs


def forward(call: SeparableCall, inputs: Inputs, out: Tensor) -> None:
    """Write D_T f(X; b) into `out`."""
    tables = Tables.of(call, inputs, inputs.features, out)
    last = table.is_channels_last([*inputs.features, out])
    block = table.FORWARD[last][out.element_size()]
    vector, out_vector = (vector_of(inputs.features), vector_of([out])) if last else (1, 1)
    launch(
        forward_kernel,
        tables.grid(block, out),
        out.device,
        inputs.features,
        *tables.written,
        tables.order,
        out,
        plain_strides(inputs.features),
        strides_of_one(out),
        *tables.sizes,
        out.shape[1],
        bits_of(call.spec.fill),
        **tables.bins,
        **kinds_of(inputs),
        HAS_ORDER=tables.order is not tables.places,
        HAS_FILL=bool(call.spec.fill) and not inputs.tangents,
        CHANNELS_LAST=last,
        VECTOR=vector,
        OUT_VECTOR=out_vector,
        LEVELS=tables.levels,
        BINS=tables.block_bins(block),
        CHANNELS=block.channels,
        num_warps=block.warps,
    )


def adjoint_features(call: SeparableCall, inputs: Inputs, grad_features: Sequence[Tensor]) -> None:
    """Write (D_T f)^T G into the maps, every element of them."""
    gradient, maps = inputs.grad_output, tuple(grad_features)
    tables = Tables.of(call, inputs, maps, gradient)
    last = table.is_channels_last([*maps, gradient])
    tiling = table.FEATURES[last][gradient.element_size()]
    vector, grad_vector = (vector_of(maps), vector_of([gradient])) if last else (1, 1)
    tiles = Tiles.of(tables.places, maps, gradient, tiling)
    launch(
        adjoint_features_kernel,
        tiles.grid,
        gradient.device,
        gradient,
        *tables.written[:2],
        *tiles.written,
        *tiles.target,
        strides_of_one(gradient),
        *tables.sizes,
        gradient.shape[1],
        *tiles.sizes,
        **tables.bins,
        **kinds_of(inputs),
        CHANNELS_LAST=last,
        VECTOR=vector,
        GRAD_VECTOR=grad_vector,
        LEVELS=tables.levels,
        BINS_Y=power_of_two(gradient.shape[2]),
        BINS_X=power_of_two(gradient.shape[3]),
        **tiles.constants,
    )
    tiles.sum_shares(CHANNELS_LAST=last, VECTOR=vector)


def adjoint_boxes(call: SeparableCall, inputs: Inputs, grad_rois: Tensor) -> None:
    """Write the gradient of <G, D_T f(X; b)> in the boxes into the last four columns."""
    gradient = inputs.grad_output
    tables = Tables.of(call, inputs, inputs.features, gradient, keeps=True)
    last = table.is_channels_last([*inputs.features, gradient])
    block = table.BOXES[last][gradient.element_size()]
    vector, grad_vector = (vector_of(inputs.features), vector_of([gradient])) if last else (1, 1)
    grid = tables.grid(block, gradient)
    blocks = grid[0] // max(len(grad_rois), 1) * grid[1]
    partial = torch.empty((len(grad_rois), blocks, 4), dtype=torch.float64, device=gradient.device)
    launch(
        adjoint_boxes_kernel,
        grid,
        gradient.device,
        inputs.features,
        gradient,
        *tables.written,
        tables.order,
        partial,
        plain_strides(inputs.features),
        strides_of_one(gradient),
        *tables.sizes,
        gradient.shape[1],
        **tables.bins,
        **kinds_of(inputs),
        HAS_ORDER=tables.order is not tables.places,
        CHANNELS_LAST=last,
        VECTOR=vector,
        GRAD_VECTOR=grad_vector,
        LEVELS=tables.levels,
        BINS=tables.block_bins(block),
        CHANNELS=block.channels,
        num_warps=block.warps,
    )
    rows = tables.rows
    launch(
        boxes_kernel,
        (table.blocks_of(len(grad_rois), table.ROWS),),
        gradient.device,
        rows.rois,
        rows.levels,
        partial,
        grad_rois,
        *map_sizes(inputs.features),
        scale_bits(call),
        rows.canonical,
        rows.strides_log2,
        rows.images,
        blocks,
        len(grad_rois),
        bits_of(call.spec.offset),
        bits_of(call.spec.minimum_length),
        NORMALISED=call.spec.normalised_boxes,
        ROWS=table.ROWS,
        **rows.constants,
        num_warps=table.ROW_WARPS,
        enable_fp_fusion=False,
    )


@dataclass(frozen=True)
class Tables:
    """The weights of all RoIs on the device, and where they are."""

    rows: Rows
    weights: Tensor
    spans: Tensor
    places: Tensor
    bins: dict[str, int]
    levels: int

    @cached_property
    def order(self) -> Tensor:
        """The rows in the order in which they are pooled; the places, in the stead of none, where that is their own."""
        return order_of(self.places)

    @property
    def written(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.weights, self.spans, self.places

    @property
    def sizes(self) -> tuple[int, int]:
        """Of a row, and of a kind of value, in numbers."""
        return self.weights.shape[2], self.weights.stride(0)

    def block_bins(self, block: table.Contraction) -> int:
        return min(block.bins, power_of_two(self.bins["PH"] * self.bins["PW"]))

    def grid(self, block: table.Contraction, answer: Tensor) -> tuple[int, int]:
        """Blocks of bins of all RoIs, so that neighbours share memory; then blocks of channels."""
        blocks = table.blocks_of(answer.shape[2] * answer.shape[3], self.block_bins(block))
        return answer.shape[0] * blocks, table.blocks_of(answer.shape[1], block.channels)

    @classmethod
    def of(
        cls, call: SeparableCall, inputs: Inputs, maps: Sequence[Tensor], answer: Tensor, keeps: bool = False
    ) -> Tables:
        """Steps 1 to 4 for all RoIs. `answer` has the bins and the dtype; `keeps` the derivatives in the boxes too."""
        spec, device = call.spec, answer.device
        rows = rows_of(call, inputs, maps[0].shape[0])
        count, bins_y, bins_x = len(rows.rois), answer.shape[2], answer.shape[3]
        reach_y = max(level.shape[2] for level in maps) + SLACK.value * bins_y
        reach_x = max(level.shape[3] for level in maps) + SLACK.value * bins_x
        kinds = (3 if keeps else 1) << len(inputs.tangents)
        dtype = torch.float64 if answer.dtype == torch.float64 else torch.float32
        weights = torch.empty((kinds, count, reach_y + reach_x), dtype=dtype, device=device)
        spans = torch.empty((count, bins_y + bins_x, 3), dtype=torch.int32, device=device)
        places = torch.empty((count, 6), dtype=torch.int32, device=device)
        bins = {"PH": bins_y, "PW": bins_x}
        launch(
            taps_kernel,
            (count, 2),
            device,
            rows.rois,
            rows.levels,
            tuple([tangent.detach().double().contiguous() for tangent in inputs.tangents]) or (rows.rois,),
            weights,
            spans,
            places,
            *map_sizes(maps),
            scale_bits(call),
            rows.canonical,
            rows.strides_log2,
            rows.images,
            *spec.sampling_ratio,
            bits_of(spec.offset),
            bits_of(spec.minimum_length),
            *seed_words(call, inputs),
            reach_y,
            weights.shape[2],
            weights.stride(0),
            **bins,
            RULE=spec.rule,
            BORDER=BORDER_OF_RULE[spec.rule],
            NORMALISED=spec.normalised_boxes,
            TANGENTS=len(inputs.tangents),
            KEEPS=keeps,
            **rows.constants,
            BINS=power_of_two(max(bins_y, bins_x)),
            PIXELS=table.TABLE_PIXELS,
            num_warps=table.TABLE_WARPS,
            enable_fp_fusion=False,
        )
        return cls(rows, weights, spans, places, bins, len(maps))


def order_of(places: Tensor) -> Tensor:
    """The rows in the order in which they are pooled; the places, in the stead of none, where that is their own."""
    count = len(places)
    if not table.ORDERED[0] <= count <= table.ORDERED[1]:
        return places
    order = torch.empty(count, dtype=torch.int32, device=places.device)
    launch(
        order_kernel,
        (table.blocks_of(count, table.ORDER_ROWS),),
        places.device,
        places,
        order,
        count,
        ROWS=table.ORDER_ROWS,
        OTHERS=table.ORDER_OTHERS,
        num_warps=table.ORDER_WARPS,
    )
    return order


def kinds_of(inputs: Inputs) -> dict[str, Any]:
    return {"KINDS": 1 << len(inputs.tangents)}


def scale_bits(call: Any) -> tuple[int, ...]:
    return tuple([bits_of(scale) for scale in call.scales])


def strides_of_one(tensor: Tensor) -> tuple[int, ...]:
    return tuple([strides[0] for strides in plain_strides([tensor])])
