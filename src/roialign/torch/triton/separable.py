"""The separable family on CUDA tensors. No step synchronises with the device, so all can be captured in a graph."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from ..._derivatives import Inputs, Operator
from ..._spec import BORDER_OF_RULE, SeparableSpec
from ...triton import launch as table
from ...triton.launch import launch, power_of_two, vector_of
from ...triton.numbers import bits_of
from ...triton.order import order_kernel
from ...triton.separable import adjoint_boxes_kernel, forward_kernel
from ...triton.separable_features import adjoint_features_kernel
from ...triton.taps import PLACE, SLACK, boxes_kernel, taps_kernel
from .blocks import Block, RowsOfBins, strides_of_one, sums_dtype
from .replay import Replayed
from .rows import Rows, of_rows, parts_of, rows_of
from .tiles import Tiles, sum_parts

#: The size in bytes of the contribution of a block to the gradient in a box: four sums in float64.
SUMS_BYTES = 32


@Replayed
def forward(call: Operator[SeparableSpec], inputs: Inputs, out: Tensor) -> None:
    """Write D_T f(X; b) into `out`."""
    rows = rows_of(call, inputs, inputs.features[0].shape[0])
    per_row = Tables.bytes_per_row(call.spec, inputs, inputs.features, out)
    for part in parts_of(len(out), per_row, (*inputs.features, out)):
        forward_part(call, rows.part(part), of_rows(inputs, part), out[part])


def forward_part(call: Operator[SeparableSpec], rows: Rows, inputs: Inputs, out: Tensor) -> None:
    """The same for some of the RoIs."""
    tables = Tables.of(call, rows, inputs, inputs.features, out)
    block = RowsOfBins.of(table.FORWARD, inputs.features, out, table.is_channels_last([*inputs.features, out]))
    launch(
        forward_kernel,
        block.grid,
        out.device,
        inputs.features,
        *tables.written,
        *tables.order,
        out,
        *block.strides,
        *tables.sizes,
        out.shape[1],
        bits_of(call.spec.fill),
        **tables.bins,
        **block.constants("OUT_VECTOR"),
        LEVELS=len(inputs.features),
        KINDS=1 << len(inputs.tangents),
        HAS_FILL=bool(call.spec.fill) and not inputs.tangents,
    )


@Replayed
def adjoint_features(call: Operator[SeparableSpec], inputs: Inputs, grad_features: Sequence[Tensor]) -> None:
    """Write (D_T f)^T G into every element of the maps."""
    maps = tuple(grad_features)
    per_row = Tables.bytes_per_row(call.spec, inputs, maps, inputs.grad_output)
    per_row += Tiles.bytes_per_row(maps, tiling_of(maps, inputs.grad_output))
    rows = rows_of(call, inputs, maps[0].shape[0])
    sum_parts(partial(adjoint_features_part, call), rows, inputs, maps, per_row)


def tiling_of(maps: Sequence[Tensor], gradient: Tensor) -> table.Tiling:
    """The tile of a program, with no more channels than there are."""
    tiling = table.FEATURES[table.is_channels_last([*maps, gradient])][gradient.element_size()]
    return tiling._replace(channels=min(tiling.channels, power_of_two(gradient.shape[1])))


def adjoint_features_part(
    call: Operator[SeparableSpec], rows: Rows, inputs: Inputs, maps: tuple[Tensor, ...], adds: bool
) -> None:
    """The same for some of the RoIs, or add their gradient to the maps."""
    gradient, last = inputs.grad_output, table.is_channels_last([*maps, inputs.grad_output])
    tables, tiling = Tables.of(call, rows, inputs, maps, gradient), tiling_of(maps, gradient)
    vector, grad_vector = (vector_of(maps), vector_of([gradient])) if last else (1, 1)
    tiles = Tiles.of(tables.places, maps, gradient, tiling, tables.nbytes, adds)
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
        KINDS=1 << len(inputs.tangents),
        CHANNELS_LAST=last,
        VECTOR=vector,
        GRAD_VECTOR=grad_vector,
        LEVELS=len(maps),
        BINS_Y=max(table.LANES, power_of_two(gradient.shape[2])),
        BINS_X=max(table.LANES, power_of_two(gradient.shape[3])),
        BINS=min(table.BINS_AT_ONCE, power_of_two(gradient.shape[3])),
        **tiles.constants,
        **table.at_most_registers(table.FEATURES_REGISTERS),
    )
    tiles.sum_shares(CHANNELS_LAST=last, PLANAR=not last, VECTOR=vector)


@Replayed
def adjoint_boxes(call: Operator[SeparableSpec], inputs: Inputs, grad_rois: Tensor) -> None:
    """Write the gradient of <G, D_T f(X; b)> in the boxes into the last four columns."""
    gradient, rows = inputs.grad_output, rows_of(call, inputs, inputs.features[0].shape[0])
    per_row = Tables.bytes_per_row(call.spec, inputs, inputs.features, gradient, keeps=True)
    per_row += SUMS_BYTES * math.prod(boxes_block(inputs).per_row)
    for part in parts_of(len(gradient), per_row, (*inputs.features, gradient)):
        adjoint_boxes_part(call, rows.part(part), of_rows(inputs, part), grad_rois[part])


def boxes_block(inputs: Inputs) -> Block:
    last = table.is_channels_last([*inputs.features, inputs.grad_output])
    return Block.of(table.BOXES, inputs.features, inputs.grad_output, last)


def adjoint_boxes_part(call: Operator[SeparableSpec], rows: Rows, inputs: Inputs, grad_rois: Tensor) -> None:
    """The same for some of the RoIs."""
    gradient, block = inputs.grad_output, boxes_block(inputs)
    tables = Tables.of(call, rows, inputs, inputs.features, gradient, keeps=True)
    blocks = math.prod(block.per_row)
    sums = torch.empty((len(grad_rois), blocks, SUMS_BYTES // 8), dtype=torch.float64, device=gradient.device)
    launch(
        adjoint_boxes_kernel,
        block.grid,
        gradient.device,
        inputs.features,
        gradient,
        *tables.written,
        *tables.order,
        sums,
        *block.strides,
        *tables.sizes,
        gradient.shape[1],
        **tables.bins,
        **block.constants("GRAD_VECTOR"),
        LEVELS=len(inputs.features),
        KINDS=1 << len(inputs.tangents),
    )
    launch(
        boxes_kernel,
        (table.blocks_of(len(grad_rois), table.ROWS),),
        gradient.device,
        rows.rois,
        rows.levels,
        sums,
        grad_rois,
        *rows.on(inputs.features),
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
    """The weights of all RoIs on the device, and their places."""

    rows: Rows
    weights: Tensor
    spans: Tensor
    places: Tensor
    bins: dict[str, int]

    @cached_property
    def order(self) -> tuple[Tensor, int]:
        return order_of(self.places)

    @property
    def written(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.weights, self.spans, self.places

    @property
    def sizes(self) -> tuple[int, int]:
        """The number of values per row and per kind of value."""
        return self.weights.shape[2], self.weights.stride(0)

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.written)

    @staticmethod
    def reach(spec: SeparableSpec, maps: Sequence[Tensor], output: Tensor) -> tuple[int, int]:
        """The maximum number of weights of a RoI along y and along x."""
        reach_y, reach_x = (
            SLACK.value * output.shape[axis]
            + (0 if has_one and output.shape[axis] == 1 else max(level.shape[axis] for level in maps))
            for axis, has_one in zip((2, 3), spec.has_one_point(), strict=True)
        )
        return reach_y, reach_x

    @staticmethod
    def bytes_per_row(
        spec: SeparableSpec, inputs: Inputs, maps: Sequence[Tensor], output: Tensor, keeps: bool = False
    ) -> int:
        """The memory per RoI in bytes."""
        kinds = (3 if keeps else 1) << len(inputs.tangents)
        weights: int = kinds * sum(Tables.reach(spec, maps, output)) * sums_dtype(output).itemsize
        spans: int = 12 * (output.shape[2] + output.shape[3])
        return weights + spans + 4 * int(PLACE.value)

    @classmethod
    def of(
        cls,
        call: Operator[SeparableSpec],
        rows: Rows,
        inputs: Inputs,
        maps: Sequence[Tensor],
        output: Tensor,
        keeps: bool = False,
    ) -> Tables:
        """Steps 1 to 4. `output` has the bins and the dtype. With `keeps`, derivatives in the boxes are stored too."""
        spec, device = call.spec, output.device
        count, bins_y, bins_x = len(rows.rois), output.shape[2], output.shape[3]
        reach_y, reach_x = cls.reach(spec, maps, output)
        kinds = (3 if keeps else 1) << len(inputs.tangents)
        weights = torch.empty((kinds, count, reach_y + reach_x), dtype=sums_dtype(output), device=device)
        spans = torch.empty((count, bins_y + bins_x, 3), dtype=torch.int32, device=device)
        places = torch.empty((count, PLACE.value), dtype=torch.int32, device=device)
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
            *rows.on(maps),
            *spec.sampling_ratio,
            bits_of(spec.offset),
            bits_of(spec.minimum_length),
            *rows.seed,
            rows.first,
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
        return cls(rows, weights, spans, places, bins)


def order_of(places: Tensor) -> tuple[Tensor, int]:
    """The order in which rows are pooled, and 1; or any tensor and 0 if they keep their own order."""
    count = len(places)
    if not table.ORDERED[0] <= count <= table.ORDERED[1]:
        return places, 0
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
    return order, 1
