"""The pointwise family: the table of the RoIs of a call that its kernels read, on the device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..._derivatives import Inputs, Operator
from ..._rows import check_offset
from ..._spec import PointwiseSpec
from ...triton import launch as table
from ...triton.frames import FRAME, frames_kernel
from ...triton.launch import launch, power_of_two
from ...triton.numbers import bits_of
from ...triton.point_rows import PointsSpec
from ...triton.taps import PLACE
from .rows import Rows, rows_of
from .separable import order_of

#: The number of steps that fit into 32 bits, in addition to two bits for a corner.
MOST_STEPS = 1 << 14


@dataclass(frozen=True)
class Frames:
    """The frames of the RoIs of a call, on the device."""

    call: Operator[PointwiseSpec]
    rows: Rows
    tangent: Tensor
    """The tangent, like the RoIs in float64. The RoIs themselves if there is no tangent."""
    table: Tensor
    places: Tensor
    spans: Tensor
    bins: tuple[int, int]
    sampling: tuple[int, ...]
    """The values named by `roialign.triton.points.SAMPLING`."""
    maps: tuple[Tensor, ...]

    @cached_property
    def order(self) -> tuple[Tensor, int]:
        return order_of(self.places)

    @property
    def written(self) -> tuple[Tensor, Tensor]:
        return self.table, self.places

    @property
    def bins_at_once(self) -> int:
        return min(table.ROI_BINS, power_of_two(math.prod(self.bins)))

    @property
    def shift(self) -> int:
        return shift_of(self.call, self.maps)

    @property
    def spec(self) -> PointsSpec:
        """What the kernels that read a table of frames are compiled for."""
        spec = self.call.spec
        return PointsSpec(
            *self.bins,
            RULE=spec.rule,
            JOINT=spec.mapping == "rotated" or (spec.rule == "random" and spec.jitters_points),
            CHANNELS_OF=spec.channels,
            GEOMETRY=spec.geometry(),
            HAS_OFFSET=self.call.has_offset,
            HAS_MASK=self.call.has_mask,
            COLUMNS=self.rows.rois.shape[1],
        )

    @property
    def constants(self) -> dict[str, Any]:
        """The constants of every kernel that visits points."""
        return {"SPEC": self.spec, "LEVELS": len(self.maps)}

    @staticmethod
    def bytes_per_row(output: Tensor) -> int:
        """The memory per RoI in bytes."""
        return 8 * int(FRAME.value) + 4 * int(PLACE.value) + 16 * math.prod(output.shape[2:])

    @classmethod
    def of(
        cls,
        call: Operator[PointwiseSpec],
        rows: Rows,
        inputs: Inputs,
        maps: Sequence[Tensor],
        output: Tensor,
        keeps: bool = False,
    ) -> Frames:
        """Step 1. `output` has the bins. With `keeps`, derivatives in every number of the boxes are stored too."""
        spec, device = call.spec, maps[0].device
        bins = (output.shape[2], output.shape[3])
        count = len(rows.rois)
        tangent = inputs.tangents[0].detach().double().contiguous() if inputs.tangents else rows.rois
        frames = cls(
            call,
            rows,
            tangent,
            torch.empty((count, FRAME.value), dtype=torch.float64, device=device),
            torch.empty((count, PLACE.value), dtype=torch.int32, device=device),
            torch.empty((count, math.prod(bins), 4), dtype=torch.int32, device=device),
            bins,
            (*spec.sampling_ratio, *rows.seed, rows.first, bits_of(spec.gamma), spec.unused_border),
            tuple(maps),
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
            *rows.on(maps),
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


def checked_rows(call: Operator[PointwiseSpec], inputs: Inputs, maps: Sequence[Tensor]) -> Rows:
    """The RoIs of a call. Their bin offsets are checked if an invalid one is an error."""
    if call.spec.channels == "orientation" and call.spec.reduction != "mean":
        raise NotImplementedError("pointwise: mode='max' with rotated channels is not implemented for CUDA tensors")
    rows = rows_of(call, inputs, maps[0].shape[0], call.spec.geometry())
    if call.has_offset and (call.invalid == "raise" or (call.invalid is None and not rows.rois.is_cuda)):
        first = 1 + call.spec.geometry()
        offset = rows.rois[:, first : first + 2 * math.prod(call.bins)].double().cpu().numpy()
        check_offset(offset.reshape(-1, 2, *call.bins), "raise")
    return rows


def shift_of(call: Operator[PointwiseSpec], maps: Sequence[Tensor]) -> int:
    """The bit position of the step along y in a winner's number: 16 if steps fit into 32 bits, else 32.

    Adaptive points are at least half a pixel apart, on an axis that may cross the map diagonally. Some points around
    the map are visited too.
    """
    longest = max(max(level.shape[2:]) for level in maps)
    return 16 if max(3 * longest + 32, *call.spec.sampling_ratio) <= MOST_STEPS else 32


def winners_dtype(call: Operator[PointwiseSpec], maps: Sequence[Tensor]) -> torch.dtype:
    return torch.int32 if shift_of(call, maps) == 16 else torch.int64
