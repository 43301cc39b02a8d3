"""The separable workloads on a CUDA device, with calls of ours, torchvision's operator and torch's einsum."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

import roialign

from ..workloads import Data, Workload, make_data
from .device import BACKEND, DEVICE
from .timing import Call, poisoned, sets_of

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
#: Largest accepted difference from our float64 result, relative to its norm. Peers compute the geometry in float32.
LIMITS = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}
PEER_LIMIT = 1e-2


class WrongAnswerError(RuntimeError):
    """The result is wrong, so it is not timed."""


class Inputs:
    """A workload's tensors on the device, in enough copies to be three times as large as the L2 cache."""

    def __init__(
        self,
        workload: Workload,
        dtype: torch.dtype,
        channels_last: bool,
        sets: int | None = None,
        device: str = DEVICE,
    ) -> None:
        data = data_of(workload)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.workload = workload
        self.scales = [level.scale for level in workload.levels]
        self.bins = workload.output_size

        def on_device(array: Any) -> Tensor:
            return torch.from_numpy(array).to(device, dtype).contiguous(memory_format=layout)

        maps, gradient = [on_device(level) for level in data.maps], on_device(data.grad_output)
        self.bytes = sum(tensor.nbytes for tensor in [*maps, gradient])
        self.sets = sets_of(self.bytes) if sets is None else sets
        self.maps = [maps, *([level.clone() for level in maps] for _ in range(self.sets - 1))]
        self.gradients = [gradient, *(gradient.clone() for _ in range(self.sets - 1))]
        self.footprint = footprint_of(data.rois, data.level_of_roi, workload) * maps[0].element_size() + gradient.nbytes
        self.rois = torch.from_numpy(data.rois).to(device)
        self.levels = torch.from_numpy(data.level_of_roi).to(device)
        #: The input of a per-level operator: the rows of each level, separated before timing.
        self.rows = [(self.levels == level).nonzero()[:, 0] for level in range(len(maps))]

    @property
    def dtype(self) -> torch.dtype:
        return self.maps[0][0].dtype


@lru_cache(maxsize=16)
def data_of(workload: Workload) -> Data:
    return make_data(workload, gradient=True)


def footprint_of(rois: Any, level_of_roi: Any, workload: Workload) -> int:
    """Return the number of map values that the RoIs read, counted for each RoI separately."""
    scale, height, width = np.array([(level.scale, level.height, level.width) for level in workload.levels]).T
    sides = []
    for low, size in ((1, width[level_of_roi]), (2, height[level_of_roi])):
        ends = rois[:, [low, low + 2]] * scale[level_of_roi, None] - 0.5
        sides.append(np.clip(ends[:, 1] + 2, 0, size) - np.clip(ends[:, 0], 0, size))
    return int((sides[0] * sides[1]).sum() * workload.channels)


def ours(inputs: Inputs, points: int, backward: bool, backend: str | None = BACKEND) -> Call:
    common: Any = {"spatial_scales": inputs.scales, "sampling_ratio": points, "levels": inputs.levels}
    common["backend"] = backend

    def forward(index: int) -> Tensor:
        return roialign.multiscale_roi_align(inputs.maps[index], inputs.rois, inputs.bins, **common)

    def adjoint(index: int) -> Any:
        return roialign.multiscale_roi_align_backward(
            inputs.gradients[index], inputs.maps[index], inputs.rois, need=("features",), **common
        )[0]

    return adjoint if backward else forward


def check(inputs: Inputs, points: int, backward: bool) -> Any:
    """Return our call, after comparing it with our float64 result, which the tests compare with the reference."""
    with poisoned():
        answer = ours(inputs, points, backward)(0)
    wide = object.__new__(Inputs)
    wide.__dict__.update(inputs.__dict__)
    wide.maps = [[level.double() for level in inputs.maps[0]]]
    wide.gradients = [inputs.gradients[0].double()]
    right = ours(wide, points, backward)(0)
    compare(list(answer) if backward else [answer], list(right) if backward else [right], LIMITS[inputs.dtype])
    return answer


def compare(seen: list[Tensor], wanted: list[Tensor], limit: float) -> None:
    for one, other in zip(seen, wanted, strict=True):
        error = float((one.double() - other.double()).norm() / other.double().norm().clamp(min=1e-30))
        if not error < limit:  # also raises for NaN
            raise WrongAnswerError(f"a relative error of {error:.3g}, expected less than {limit:g}")


class Peer(NamedTuple):
    """A peer's call, and the part of our output that it corresponds to."""

    call: Call
    parts_of: Callable[[Any], list[Tensor]]


def check_peer(peer: Peer, answer: Any, dtype: torch.dtype) -> None:
    """Check in float32. With half maps, peers require half boxes, and these are different boxes."""
    if dtype == torch.float32:
        compare(list(peer.call(0)), peer.parts_of(answer), PEER_LIMIT)


def torchvision_calls(inputs: Inputs, points: int, backward: bool, sets: int | None = None) -> Peer:
    """torchvision's operator on every level. The rows are sorted by level beforehand, and the outputs are kept
    separate."""
    from torchvision.ops import roi_align

    rows = [inputs.rois[rows].to(inputs.dtype) for rows in inputs.rows]
    used = [level for level, own in enumerate(rows) if len(own)]

    def pool(maps: list[Tensor]) -> list[Tensor]:
        return [
            roi_align(maps[level], rows[level], inputs.bins, inputs.scales[level], points or -1, True) for level in used
        ]

    if not backward:
        return Peer(
            lambda index: pool(inputs.maps[index]), lambda answer: [answer[inputs.rows[level]] for level in used]
        )
    # The graphs of the forward pass are created outside the timed part.
    count = inputs.sets if sets is None else sets
    parts = [[gradient[inputs.rows[level]] for level in used] for gradient in inputs.gradients[:count]]
    leaves = [[level.detach().requires_grad_() for level in maps] for maps in inputs.maps[:count]]
    graphs = [pool(maps) for maps in leaves]

    def adjoint(index: int) -> Any:
        wanted = [leaves[index][level] for level in used]
        return torch.autograd.grad(graphs[index], wanted, parts[index], retain_graph=True)

    return Peer(adjoint, lambda answer: [answer[level] for level in used])


def einsum_calls(inputs: Inputs, points: int, backward: bool) -> Peer:
    """Dense matrices, created beforehand, and one contraction per image, for workloads with one level."""
    images = range(len(inputs.maps[0][0]))
    rows = [(inputs.rois[:, 0] == image).nonzero()[:, 0] for image in images]
    of_axes = [torch.from_numpy(axis).to(inputs.maps[0][0]) for axis in dense_taps(inputs.workload, points)]
    matrices = [[axis[own] for axis in of_axes] for own in rows]

    def forward(index: int) -> list[Tensor]:
        maps = inputs.maps[index][0]
        return [
            torch.einsum("kiy,cyx,kjx->kcij", wy, maps[image], wx)
            for image, (wy, wx) in zip(images, matrices, strict=True)
        ]

    def adjoint(index: int) -> list[Tensor]:
        gradient = inputs.gradients[index]
        return [
            torch.einsum("kiy,kcij,kjx->cyx", wy, gradient[own], wx)
            for (wy, wx), own in zip(matrices, rows, strict=True)
        ]

    if backward:
        return Peer(adjoint, lambda answer: list(answer[0]))
    return Peer(forward, lambda answer: [answer[own] for own in rows])


@lru_cache(maxsize=16)
def dense_taps(workload: Workload, points: int) -> list[Any]:
    """Return ``[K, PH, H]`` and ``[K, PW, W]`` of the level, from the reference, which needs no compiled core."""
    (level,) = workload.levels
    boxes = data_of(workload).rois.astype(np.float64)
    axes = []
    for low, size, bins in ((2, level.height, workload.output_size[0]), (1, level.width, workload.output_size[1])):
        starts = boxes[:, low] * level.scale - 0.5
        lengths = boxes[:, low + 2] * level.scale - 0.5 - starts
        dense = [
            roialign.taps(size, start, length, bins, points, "grid", backend="reference")
            for start, length in zip(starts.tolist(), lengths.tolist(), strict=True)
        ]
        axes.append(np.stack(dense))
    return axes
