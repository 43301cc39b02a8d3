"""Nothing out of bounds, by guards around all that is read and written: on a CUDA device by `pytest -m gpu`, and, a few
RoIs of every operator, in Triton's interpreter. With compute-sanitizer see CONTRIBUTING.md."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("triton")

import torch
from torch import Tensor

import roialign
from benchmarks.gpu.device import DEVICE, IS_REHEARSAL
from roialign.torch.backends import is_interpreted
from roialign.triton import launch
from tests.gpu.scenes import on_gpu_or_rehearsed
from tests.triton.guards import Guards

NAN = math.nan
#: Bad ones, huge ones, empty ones, turned ones, over every edge, off the map, and all of it: (x1, y1, x2, y2) or, with
#: an angle, (cx, cy, w, h).
BOXES = [
    [-1.0, 0, 0, 4, 4],
    [9.0, 0, 0, 4, 4],
    [0, NAN, 0, 4, 4],
    [0, -1e99, -1e99, 1e99, 1e99],
    [1, 1e30, 0, -1e30, 5],
    [0, 0, 0, 0, 0],
    [1, -3e9, 2, 3e9, 2.5],
    [math.inf, 1, 1, 2, 2],
    [1, -4.5, -3.5, 6.5, 5.25],
    [1, 7.25, 6.5, 14.5, 12.75],
    [0, 40, 40, 60, 70],
    [1, 0, 0, 11, 9],
]
#: By name: the operator as a function of features, of boxes and of more, and whether boxes are turned.
OPERATORS: dict[str, tuple[Callable[..., Tensor], bool]] = {
    "RoIAlign": (lambda f, b, _, **m: roialign.roi_align(f, b, 3, 1.0, 2, **m), False),
    "exact": (lambda f, b, _, **m: roialign.roi_align(f, b, (2, 5), sampling="exact", **m), False),
    "max": (lambda f, b, _, **m: roialign.roi_align(f, b, 3, 1.0, 2, mode="max", **m), False),
    "rotated": (lambda f, b, _, **m: roialign.roi_align_rotated(f, b, 3, 1.0, 2, **m), True),
    "deformable": (lambda f, b, o, **m: roialign.deform_roi_pool(f, b, o, 3, 1.0, 2, **m), False),
    "RoIPool": (lambda f, b, _, **m: roialign.roi_pool(f, b, 3, **m), False),
    "position-sensitive": (lambda f, b, _, **m: roialign.ps_roi_align(f, b, 2, 1.0, 2, **m), False),
}


def inputs_of(name: str, boxes: list[list[float]], dtype: torch.dtype, device: str, channels: int) -> list[Tensor]:
    """Features, boxes, offsets."""
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(2, channels, 9, 11, generator=generator).to(device, dtype)
    rois = torch.tensor(boxes, dtype=torch.float64)
    if OPERATORS[name][1]:
        rois = torch.cat([rois, torch.arange(float(len(rois)), dtype=torch.float64)[:, None]], 1)
    offset = torch.randn(len(rois), 2, 3, 3, generator=generator).to(dtype)
    return [features, rois.to(device), offset.to(device)]


def derived(name: str, tensors: list[Tensor], **more: Any) -> list[Tensor]:
    """The answer, and the gradients to features, boxes (but of RoIPool, which has none) and offsets."""
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    answer = OPERATORS[name][0](*leaves, invalid="zero", **more)
    weights = torch.linspace(-1, 1, answer.numel(), dtype=torch.float64).reshape(answer.shape)
    weights = torch.empty_like(answer).copy_(weights)  # in the memory format of the answer
    used = leaves if name == "deformable" else leaves[:1] if name == "RoIPool" else leaves[:2]
    return [answer.detach(), *torch.autograd.grad(answer, used, weights)]


def check_bounds(
    name: str, boxes: list[list[float]], dtype: torch.dtype, device: str, channels_last: bool, channels: int
) -> None:
    features, *rest = inputs_of(name, boxes, dtype, device, channels)
    guards = Guards()
    tensors = [guards.copy(features, channels_last), *(guards.copy(tensor) for tensor in rest)]
    with guards.around_what_is_allocated():
        seen = derived(name, tensors, backend="triton")
    if device == "cuda":
        torch.cuda.synchronize()
    guards.check()
    assert all(map(guards.hold, seen[:3]))
    rights = derived(name, [tensor.cpu().double() for tensor in (features, *rest)], backend="cpu")
    near = 1e-5 if dtype == torch.float32 else 1e-2
    for found, right in zip(seen, rights, strict=True):
        torch.testing.assert_close(found.cpu().double(), right, rtol=near, atol=near * right.abs().max().item())


@pytest.mark.skipif(not is_interpreted(), reason="the kernels are compiled here")
@pytest.mark.parametrize("name", ["RoIAlign", "max", "rotated"])
def test_nothing_is_written_out_of_bounds_in_the_interpreter(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of some boxes; planes of a number of channels that no block has, or channels last, read in vectors. Once with
    what only many boxes have otherwise: slots for the shares of crowded tiles, and the order by place."""
    if name == "RoIAlign":
        monkeypatch.setattr(launch, "SHARED_FROM", 1)
        monkeypatch.setattr(launch, "EXTRA", 0.7)
        monkeypatch.setattr(launch, "ORDERED", (1, 4096))
    last = name != "max"
    check_bounds(name, BOXES[::3], torch.float32, "cpu", last, 16 if last else 5)


@on_gpu_or_rehearsed
@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize(
    ("channels_last", "dtype", "channels"),
    [
        (False, torch.float32, 68),
        (False, torch.float16, 4),
        (True, torch.float32, 4 * 49),
        (True, torch.float16, 64),
        (True, torch.float16, 12),
    ],
)
def test_nothing_is_written_out_of_bounds(name: str, channels_last: bool, dtype: torch.dtype, channels: int) -> None:
    """Of boxes so many that they are ordered by place, and have several words of bits."""
    check_bounds(name, BOXES[::4] if IS_REHEARSAL else BOXES * 7, dtype, DEVICE, channels_last, channels)
