"""On a CUDA device, by `pytest -m gpu`: streams, several devices, autocast and torch.compile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("triton")

import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

import roialign
from roialign.torch import MultiScaleRoIAlign, RoIAlign
from roialign.torch.triton import replay
from tests.gpu.scenes import (
    ON_GPU,
    SCALES,
    derived,
    every_layout,
    every_operator,
    points_of,
    pooled,
    pyramid_call,
    same_bits,
    scene,
)

#: Cycles of the device: some milliseconds, in which nothing that does not wait may be right.
A_WHILE = 10_000_000
SEPARABLE_AND_POINTS = pytest.mark.parametrize("name", ["RoIAlign", "max", "rotated", "deformable"])

pytestmark = [
    *ON_GPU,
    # torch's own tracer looks into numpy's lazy modules.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch._dynamo"),
]


def call_of(name: str, **more: Any) -> tuple[Callable[..., Tensor], list[Tensor]]:
    return pyramid_call(*scene(**more)) if name == "RoIAlign" else points_of(name, **more)


@SEPARABLE_AND_POINTS
def test_streams(name: str) -> None:
    """Forward and backward run where they are called, after what was enqueued there."""
    function, tensors = call_of(name)
    right, stream = derived(function, [2 * tensors[0], *tensors[1:]]), torch.cuda.Stream()
    late = torch.zeros_like(tensors[0])
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(A_WHILE)
        late.copy_(2 * tensors[0])
        seen = derived(function, [late, *tensors[1:]])
    torch.cuda.current_stream().wait_stream(stream)
    assert same_bits(seen, right)


@SEPARABLE_AND_POINTS
def test_a_backward_that_another_stream_calls(name: str) -> None:
    """torch runs it on the stream of its forward, after what was enqueued there."""
    function, tensors = call_of(name)
    (answer, *right), stream = derived(function, tensors), torch.cuda.Stream()
    gradient, late = 2 * answer, torch.zeros_like(tensors[0])
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(A_WHILE)
        late.copy_(tensors[0])
        leaves = [tensor.detach().requires_grad_() for tensor in (late, *tensors[1:])]
        answer = function(*leaves)
    seen = torch.autograd.grad(answer, leaves, gradient)
    torch.cuda.current_stream().wait_stream(stream)
    assert same_bits(list(seen), right)


@SEPARABLE_AND_POINTS
@every_layout
def test_calls_that_come_again(name: str, channels_last: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With other values in other memory: the bits of calls that are not replayed, with gradients and without."""
    function, tensors = call_of(name, channels_last=channels_last)
    for turn in range(1, 6):
        features, rest = turn * tensors[0], [tensor.clone() for tensor in tensors[1:]]
        answers = []
        for kept in (0, replay.KEPT):
            leaf = features.detach().requires_grad_()
            with monkeypatch.context() as patch:
                patch.setattr(replay, "KEPT", kept)
                answer = function(leaf, *rest)
                (gradient,) = torch.autograd.grad(answer.square().sum(), leaf)
                answers.append([function(features, *rest), answer.detach(), gradient])
        assert same_bits(*answers)


def test_two_streams_at_once() -> None:
    """Neither writes to tables of the other."""
    calls = [pyramid_call(*scene(200)), pyramid_call(*scene(300, channels_last=True))]
    rights, seen = [derived(*call) for call in calls], []
    streams = [torch.cuda.Stream() for _ in calls]
    for _ in range(5):
        for stream, call in zip(streams, calls, strict=True):
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                seen.append(derived(*call))
    torch.cuda.synchronize()
    assert all(same_bits(answers, rights[index % 2]) for index, answers in enumerate(seen))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one device only")
@pytest.mark.parametrize("name", ["RoIAlign", "max", "rotated", "deformable", "RoIPool", "position-sensitive"])
@every_layout
def test_another_device(name: str, channels_last: bool) -> None:
    """The answer and all gradients, while the first device is the current one."""
    function, tensors = call_of(name, channels_last=channels_last)
    seen = derived(function, [tensor.to("cuda:1") for tensor in tensors])
    assert torch.cuda.current_device() == 0
    assert {str(answer.device) for answer in seen} == {"cuda:1"}
    assert same_bits([answer.cpu() for answer in seen], [answer.cpu() for answer in derived(function, tensors)])


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one device only")
def test_mixed_devices_are_an_error() -> None:
    pyramid, rois = scene(3)
    with pytest.raises(ValueError, match="cuda:1"):
        pooled(pyramid, rois.to("cuda:1"))


def test_autocast_keeps_boxes_whole() -> None:
    features, rois = torch.randn(1, 8, 200, 336, device="cuda"), torch.tensor([[0, 3001.3, 5.2, 3100.1, 90]]).cuda()
    with torch.autocast("cuda", dtype=torch.float16):
        half = torch.nn.functional.conv2d(features, torch.eye(8, device="cuda")[:, :, None, None])
        seen = RoIAlign(7, 1 / 10)(half, rois)
    assert seen.dtype == torch.float16
    right = roialign.roi_align(half.float(), rois, 7, 1 / 10)
    torch.testing.assert_close(seen.float(), right, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_compile(dtype: torch.dtype) -> None:
    """By torch's own compiler, whole in one graph: the bits of eager mode."""
    torch.compiler.reset()
    pyramid, rois = scene(dtype=dtype)
    pool = MultiScaleRoIAlign(7, SCALES)
    call = torch.compile(lambda *tensors: pool(list(tensors[:-1]), tensors[-1]), fullgraph=True)
    right = derived(*pyramid_call(pyramid, rois))
    assert same_bits(derived(call, [*pyramid, rois])[:1], right[:1])
    for one, two in zip(derived(call, [*pyramid, rois]), right, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-5 * two.abs().max().item())


@every_operator
def test_points_are_compiled_in_float64(name: str) -> None:
    torch.compiler.reset()
    function, tensors = points_of(name, torch.float64)
    right = derived(function, tensors)
    for one, two in zip(derived(torch.compile(function, fullgraph=True), tensors), right, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-9 * two.abs().max().item())


def test_any_number_of_boxes_is_compiled_once() -> None:
    """So are maps of any size; forward and backward. torch may take two attempts at the first call, for its floats."""
    torch.compiler.reset()
    counter = CompileCounterWithBackend("inductor")
    function, _ = pyramid_call(*scene(2))
    compiled = torch.compile(function, backend=counter, fullgraph=True, dynamic=True)
    attempts = []
    for count, cut in ((30, 0), (70, 8), (300, 16), (65, 24)):
        pyramid, rois = scene(count)
        tensors = [*(level[:, :, : level.shape[2] - cut, cut:].contiguous() for level in pyramid), rois]
        for one, two in zip(derived(compiled, tensors), derived(function, tensors), strict=True):
            torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-5 * two.abs().max().item())
        attempts.append(counter.frame_count)
    assert attempts == attempts[:1] * 4
    assert attempts[0] in (1, 2)
