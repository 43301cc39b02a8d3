"""On a CUDA device, by `pytest -m gpu`: the same bits on every run, in a CUDA graph, and where all RoIs meet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import roialign
from tests.gpu.scenes import (
    ON_GPU,
    captured,
    derived,
    every_layout,
    every_operator,
    in_layout,
    points_of,
    pooled,
    pyramid_call,
    same_bits,
    scene,
)
from tests.tables.tolerances import assert_close

pytestmark = ON_GPU


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_same_bits_on_every_run(dtype: torch.dtype) -> None:
    pyramid, rois = scene(dtype=dtype)
    function, tensors = pyramid_call(pyramid, torch.cat([rois, rois[:1].expand(200, -1)]))
    first = derived(function, tensors)
    for _ in range(4):
        assert same_bits(first, derived(function, tensors))


def test_deterministic_mode_is_no_error() -> None:
    """And changes no bit."""
    function, tensors = pyramid_call(*scene(20))
    first = derived(function, tensors)
    torch.use_deterministic_algorithms(True)
    try:
        assert same_bits(first, derived(function, tensors))
    finally:
        torch.use_deterministic_algorithms(False)


@every_operator
def test_points_give_the_same_bits_on_every_run_and_those_of_the_core_nearly(name: str) -> None:
    for dtype in (torch.float16, torch.float32, torch.float64):
        function, tensors = points_of(name, dtype)
        first = derived(function, tensors)
        for _ in range(2):
            assert same_bits(first, derived(function, tensors))
    # In float64, in which no maximum is decided by rounding.
    rights = derived(function, [tensor.cpu() for tensor in tensors])
    for seen, right in zip(first, rights, strict=True):
        torch.testing.assert_close(seen.cpu(), right, rtol=1e-9, atol=1e-9 * right.abs().max().item())


STRIDE, BINS = 16, 7
#: The gradient to the features, from that of the answer, the features and the boxes.
BACKWARD: dict[str, Callable[..., Tensor]] = {
    "RoIAlign": lambda g, f, r, **more: roialign.roi_align_backward(g, f, r, 1 / STRIDE, 2, need=("features",), **more)[
        0
    ],
    "adaptive": lambda g, f, r, **more: roialign.roi_align_backward(g, f, r, 1 / STRIDE, need=("features",), **more)[0],
    "rotated": lambda g, f, r, **more: roialign.roi_align_rotated_backward(
        g, f, turned(r), 1 / STRIDE, 2, need=("features",), **more
    )[0],
    "RoIPool": lambda g, f, r, **more: roialign.roi_pool_backward(g, f, r, 1 / STRIDE, **more),
}


def turned(rois: Tensor) -> Tensor:
    centre, size = (rois[:, 1:3] + rois[:, 3:]) / 2, rois[:, 3:] - rois[:, 1:3]
    return torch.cat([rois[:, :1], centre, size, size[:, :1] / 10], 1)


def hot_tile(dtype: torch.dtype, channels_last: bool, count: int = 1000, channels: int = 256) -> tuple[Tensor, ...]:
    """A gradient of the answer, features, and boxes of about 100 pixels within 4 of each other."""
    generator = torch.Generator().manual_seed(5)
    features = torch.randn(1, channels, 50, 84, generator=generator)
    gradient = torch.randn(count, channels, BINS, BINS, generator=generator)
    size = 90 + 20 * torch.rand(count, 2, generator=generator, dtype=torch.float64)
    low = torch.tensor([666.5, 400.0]) - size / 2 + 4 * torch.rand(count, 2, generator=generator) - 2
    rois = torch.cat([torch.zeros(count, 1), low, low + size], 1)
    return *[in_layout(tensor.to("cuda", dtype), channels_last) for tensor in (gradient, features)], rois.cuda()


@pytest.mark.parametrize("name", BACKWARD)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@every_layout
def test_a_hot_tile(name: str, dtype: str, channels_last: bool) -> None:
    """A thousand RoIs on one tile: the core's gradient, the same bits in five runs and in a CUDA graph."""
    given = hot_tile(getattr(torch, dtype), channels_last)
    backward = BACKWARD[name]
    first = backward(*given)
    for _ in range(4):
        assert torch.equal(backward(*given), first)
    graph, (replayed,) = captured(lambda: [backward(*given)])
    for _ in range(2):
        replayed.fill_(torch.nan)
        graph.replay()
        assert torch.equal(replayed, first)
    gradient, features, rois = (tensor.cpu().double() for tensor in given)
    right, scale = (backward(given, features, rois, backend="cpu") for given in (gradient, gradient.abs()))
    assert_close(*map(as_array, (first, right)), dtype, as_array(scale), name)


def as_array(tensor: Tensor) -> Any:
    return tensor.cpu().double().numpy()


@every_operator
def test_points_are_captured(name: str) -> None:
    """Nothing waits for the device: forward and all gradients in a CUDA graph, which sees new numbers."""
    check_captured(*points_of(name))


@every_layout
def test_cuda_graphs(channels_last: bool) -> None:
    """Forward and backward are captured, and a replay sees new numbers in the same memory."""
    check_captured(*pyramid_call(*scene(channels_last=channels_last)))


def check_captured(function: Callable[..., Tensor], tensors: list[Tensor]) -> None:
    graph, seen = captured(lambda: derived(function, tensors))
    boxes = next(tensor for tensor in tensors if tensor.ndim == 2)
    boxes[:, 1:3] += 3.25
    tensors[0].mul_(-0.5)
    for answer in seen:
        answer.fill_(torch.nan)
    graph.replay()
    assert same_bits(seen, derived(function, tensors))


def test_the_seed_of_a_graph_is_its_own() -> None:
    """Random points of a given seed: the same in every replay."""
    pyramid, rois = scene(40)
    graph, (seen,) = captured(lambda: [pooled(pyramid, rois, sampling="random", seed=7)])
    graph.replay()
    assert torch.equal(seen, pooled(pyramid, rois, sampling="random", seed=7))
