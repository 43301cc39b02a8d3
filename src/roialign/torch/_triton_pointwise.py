"""The pointwise family: CUDA tensors to Triton kernels. No step waits for the device, so all can be captured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from .. import _validate
from ..triton import launch as table
from ..triton.frames import FRAME, frames_kernel
from ..triton.launch import launch, plain_strides, power_of_two, vector_of
from ..triton.numbers import bits_of
from ..triton.pointwise import maximum_kernel, mean_kernel, winners_kernel
from ..triton.pointwise_features import adjoint_points_kernel
from ..triton.pointwise_geometry import SUMS, geometry_kernel, mean_sums_kernel, winners_sums_kernel
from ._device import Rows, rows_of, seed_words
from ._pointwise import PointwiseCall
from ._triton import order_of, scale_bits, strides_of_one
from ._triton_tiles import Tiles, map_sizes
from ._wiring import Inputs

#: Steps that a number of 32 bits has room for, besides two bits for a corner.
MOST_STEPS = 1 << 14


def forward(call: PointwiseCall, inputs: Inputs, out: Tensor) -> None:
    """Write D_T f(X; b) into `out`."""
    frames = Frames.of(call, inputs, inputs.features, (out.shape[2], out.shape[3]))
    if call.spec.reduction == "mean":
        block = Block.of(frames, table.POINTS_FORWARD, inputs.features, out)
        launch(
            mean_kernel,
            block.grid,
            out.device,
            inputs.features,
            frames.rows.rois,
            frames.tangent,
            *frames.written,
            frames.order,
            out,
            *frames.sampling,
            *block.strides,
            out.shape[1],
            call.spec.orientations,
            **frames.constants,
            **block.constants("OUT_VECTOR"),
            WIDE=out.dtype == torch.float64,
            HAS_MASK=call.has_mask,
            TANGENT=bool(inputs.tangents),
            HAS_ORDER=frames.has_order,
        )
    elif not inputs.tangents and are_same(inputs.features, inputs.deciding or inputs.features):
        find_maxima(frames, inputs.features, out, None)
    else:
        winners = winners_of(frames, inputs.deciding or inputs.features, out)
        block = Block.of(frames, table.POINTS_SUMS, inputs.features, out)
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
            REDUCTION=call.spec.reduction,
            HAS_MASK=call.has_mask,
            TANGENT=bool(inputs.tangents),
            SHIFT=frames.shift,
        )


def adjoint_features(call: PointwiseCall, inputs: Inputs, grad_features: Sequence[Tensor]) -> None:
    """Write (D_T f)^T G into the maps, every element of them."""
    gradient, maps = inputs.grad_output, tuple(grad_features)
    bins = (gradient.shape[2], gradient.shape[3])
    frames = Frames.of(call, inputs, maps, bins)
    winners = frames.places
    if call.spec.reduction != "mean":
        winners = winners_of(frames, inputs.deciding, gradient)
    last = table.is_channels_last([*maps, gradient])
    tiling = table.POINTS_FEATURES[last][gradient.element_size()]
    aligned = last and call.spec.channels == "same"
    vector = vector_of(maps) if aligned else 1
    tiles = Tiles.of(frames.places, maps, gradient, tiling, math.prod(bins) if call.spec.channels == "position" else 1)
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
        HAS_MASK=call.has_mask,
        TANGENT=bool(inputs.tangents),
        SHIFT=frames.shift,
        VECTOR=vector,
        GRAD_VECTOR=vector_of([gradient]) if aligned else 1,
        BINS=frames.bins_at_once,
        **tiles.constants,
        POINTS=table.POINTS_AT_ONCE,
        WIDE=gradient.dtype == torch.float64,
        enable_fp_fusion=False,
    )
    tiles.sum_shares(CHANNELS_LAST=False, VECTOR=vector)


def adjoint_boxes(call: PointwiseCall, inputs: Inputs, grad_rois: Tensor) -> None:
    """Write the gradient of <G, f(X; b)> in the geometry into all columns but the first."""
    gradient, features = inputs.grad_output, inputs.features
    frames = Frames.of(call, inputs, features, (gradient.shape[2], gradient.shape[3]), keeps=True)
    block = Block.of(frames, table.POINTS_SUMS, features, gradient)
    blocks, rows = block.grid[1], frames.rows
    shape = (len(grad_rois), blocks, SUMS.value, math.prod(frames.bins))
    partial = torch.empty(shape, dtype=torch.float64, device=gradient.device)
    of_maps = (features, gradient, rows.rois, *frames.written)
    rest = (partial, *frames.sampling, *block.strides, gradient.shape[1])
    if call.spec.reduction == "mean":
        launch(
            mean_sums_kernel,
            block.grid,
            gradient.device,
            *of_maps,
            frames.order,
            *rest,
            call.spec.orientations,
            **frames.constants,
            **block.constants("GRAD_VECTOR"),
            WIDE=gradient.dtype == torch.float64,
            HAS_MASK=call.has_mask,
            HAS_ORDER=frames.has_order,
        )
    else:
        launch(
            winners_sums_kernel,
            block.grid,
            gradient.device,
            *of_maps,
            winners_of(frames, inputs.deciding or features, gradient),
            *rest,
            **frames.constants,
            **block.constants("GRAD_VECTOR"),
            REDUCTION=call.spec.reduction,
            SHIFT=frames.shift,
        )
    launch(
        geometry_kernel,
        (len(grad_rois),),
        gradient.device,
        rows.rois,
        *frames.written,
        partial,
        grad_rois,
        blocks,
        bits_of(call.spec.gamma),
        PH=frames.bins[0],
        PW=frames.bins[1],
        HAS_OFFSET=call.has_offset,
        HAS_MASK=call.has_mask,
        GEOMETRY=call.spec.geometry,
        COLUMNS=rows.rois.shape[1],
        BINS=frames.bins_at_once,
        num_warps=table.ROI_WARPS,
        enable_fp_fusion=False,
    )


@dataclass(frozen=True)
class Frames:
    """Where the RoIs of a call are, on the device."""

    call: PointwiseCall
    rows: Rows
    tangent: Tensor
    """Like the RoIs, in float64; the RoIs themselves where there is none."""
    table: Tensor
    places: Tensor
    spans: Tensor
    bins: tuple[int, int]
    sampling: tuple[int, ...]
    """What `roialign.triton.points.SAMPLING` names."""
    map_shapes: tuple[tuple[int, ...], ...]

    @cached_property
    def order(self) -> Tensor:
        return order_of(self.places)

    @property
    def has_order(self) -> bool:
        return self.order is not self.places

    @property
    def written(self) -> tuple[Tensor, Tensor]:
        return self.table, self.places

    @property
    def bins_at_once(self) -> int:
        return min(table.ROI_BINS, power_of_two(math.prod(self.bins)))

    @property
    def shift(self) -> int:
        """Of steps along y in the numbers of winners: 16, where steps fit into 32 bits, or 32. Adaptive points are half
        a pixel apart or more, on an axis that may cross the map from corner to corner; and some around it are seen."""
        longest = max(max(level[2:]) for level in self.map_shapes)
        return 16 if max(3 * longest + 32, *self.call.spec.sampling_ratio) <= MOST_STEPS else 32

    @property
    def constants(self) -> dict[str, Any]:
        """Of every kernel that looks at points."""
        spec = self.call.spec
        return {
            "PH": self.bins[0],
            "PW": self.bins[1],
            "RULE": spec.rule,
            "JOINT": spec.mapping == "rotated" or (spec.rule == "random" and spec.jitters_points),
            "CHANNELS_OF": spec.channels,
            "HAS_OFFSET": self.call.has_offset,
            "GEOMETRY": spec.geometry,
            "COLUMNS": self.rows.rois.shape[1],
            "LEVELS": len(self.map_shapes),
        }

    @classmethod
    def of(
        cls, call: PointwiseCall, inputs: Inputs, maps: Sequence[Tensor], bins: tuple[int, int], keeps: bool = False
    ) -> Frames:
        """Step 1 for all RoIs; `keeps` how they move with every number of their boxes."""
        spec, device = call.spec, maps[0].device
        if spec.channels == "orientation" and spec.reduction != "mean":
            raise NotImplementedError("pointwise: a maximum whose channels turn has no kernel for CUDA tensors")
        rows = rows_of(call, inputs, maps[0].shape[0], spec.geometry)
        if call.has_offset and (call.invalid == "raise" or (call.invalid is None and not rows.rois.is_cuda)):
            first = 1 + spec.geometry
            offset = rows.rois[:, first : first + 2 * math.prod(bins)].double().cpu().numpy()
            _validate.check_offset(offset.reshape(-1, 2, *bins), "raise")
        count = len(rows.rois)
        tangent = inputs.tangents[0].detach().double().contiguous() if inputs.tangents else rows.rois
        frames = cls(
            call,
            rows,
            tangent,
            torch.empty((count, FRAME.value), dtype=torch.float64, device=device),
            torch.empty((count, 6), dtype=torch.int32, device=device),
            torch.empty((count, math.prod(bins), 4), dtype=torch.int32, device=device),
            bins,
            (*spec.sampling_ratio, *seed_words(call, inputs), bits_of(spec.gamma), spec.unused_border),
            tuple([tuple(level.shape) for level in maps]),
        )
        launch(
            frames_kernel,
            (count,),
            device,
            rows.rois,
            rows.levels,
            tangent,
            *frames.written,
            frames.spans,
            *map_sizes(maps),
            scale_bits(call),
            rows.canonical,
            rows.strides_log2,
            rows.images,
            bits_of(spec.offset),
            bits_of(spec.minimum_length),
            bits_of(spec.gamma),
            spec.extra_pixels,
            spec.unused_border,
            spec.orientations,
            PH=bins[0],
            PW=bins[1],
            MAPPING=spec.mapping,
            RULE=spec.rule,
            CLOCKWISE=spec.clockwise,
            HAS_OFFSET=call.has_offset,
            TANGENT=bool(inputs.tangents),
            KEEPS=keeps,
            **rows.constants,
            BINS=frames.bins_at_once,
            num_warps=table.ROI_WARPS,
            enable_fp_fusion=False,
        )
        return frames


@dataclass(frozen=True)
class Block:
    """How the bins and channels of an answer, or of its gradient, are shared out among programs."""

    maps: Sequence[Tensor]
    answer: Tensor
    size: table.Contraction
    is_last: bool
    """Whether channels are read in vectors. Where they are not, neighbouring threads share channels and not bins, whose
    geometry takes more registers than their sums."""
    bins: int

    @classmethod
    def of(cls, frames: Frames, sizes: Any, maps: Sequence[Tensor], answer: Tensor) -> Block:
        last = frames.call.spec.channels == "same" and table.is_channels_last([*maps, answer]) and vector_of(maps) > 1
        size: table.Contraction = sizes[last][answer.element_size()]
        bins = min(size.bins, power_of_two(math.prod(frames.bins)))
        return cls(maps, answer, size, last, bins)

    @property
    def grid(self) -> tuple[int, int]:
        """Blocks of bins of all RoIs, so that neighbours share memory; then blocks of channels."""
        count, channels, bins_y, bins_x = self.answer.shape
        return count * table.blocks_of(bins_y * bins_x, self.bins), table.blocks_of(channels, self.size.channels)

    @property
    def strides(self) -> tuple[Any, Any]:
        return plain_strides(self.maps), strides_of_one(self.answer)

    def constants(self, vector: str) -> dict[str, Any]:
        """`vector` is what a kernel calls that of the answer, or of its gradient."""
        return {
            "CHANNELS_LAST": self.is_last,
            "VECTOR": vector_of(self.maps) if self.is_last else 1,
            vector: vector_of([self.answer]) if self.is_last else 1,
            "BINS": self.bins,
            "CHANNELS": self.size.channels,
            "num_warps": self.size.warps,
            "enable_fp_fusion": False,
        }


def find_maxima(frames: Frames, maps: Sequence[Tensor], answer: Tensor, winners: Tensor | None) -> None:
    """Write the maxima into `answer`, or into `winners` which points they are."""
    block = Block.of(frames, table.POINTS_FORWARD, maps, answer)
    launch(
        maximum_kernel,
        block.grid,
        answer.device,
        tuple(maps),
        frames.rows.rois,
        *frames.written,
        frames.order,
        answer,
        frames.places if winners is None else winners,
        *frames.sampling,
        *block.strides,
        answer.shape[1],
        **frames.constants,
        **block.constants("OUT_VECTOR"),
        WIDE=answer.dtype == torch.float64,
        REDUCTION=frames.call.spec.reduction,
        HAS_MASK=frames.call.has_mask,
        TELLS=winners is not None,
        SHIFT=frames.shift,
        HAS_ORDER=frames.has_order,
    )


def winners_of(frames: Frames, deciding: Sequence[Tensor], answer: Tensor) -> Tensor:
    """Which points are the maxima of these maps, ``[K, bins, C]``; `answer` has the shape and is not written to."""
    count, channels, bins_y, bins_x = answer.shape
    dtype = torch.int32 if frames.shift == 16 else torch.int64
    winners = torch.empty((count, bins_y * bins_x, channels), dtype=dtype, device=answer.device)
    find_maxima(frames, deciding, answer, winners)
    return winners


def are_same(maps: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    """Whether they are the same memory."""
    return all(
        one.data_ptr() == other.data_ptr() and one.stride() == other.stride()
        for one, other in zip(maps, others, strict=True)
    )
