"""On a CUDA device, by `pytest -m gpu`: what the interpreter cannot show. Without one these tests are deselected."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from answers import ADJOINT_BOXES_ORDERS, ADJOINT_FEATURES_ORDERS, EVERY_NAME, FORWARD_ORDERS, expected
from cases import CASES
from kernels import orders
from pointwise_cases import POINT_CASES, TINY
from torch import Tensor

import roialign
from roialign.torch import MultiScaleRoIAlign, RoIAlign
from roialign.torch._pointwise import POINTWISE
from roialign.torch._separable import SEPARABLE

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
DTYPES = {"float64": torch.float64, "float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def on_gpu(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.cuda()
    return tuple(on_gpu(part) for part in value) if isinstance(value, tuple) else value


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels_last", [False, True], ids=["planes", "channels last"])
def test_the_table_of_cases(case: Any, dtype: str, channels_last: bool) -> None:
    from test_torch_backends import array, prepared

    setting, phi, tangents = prepared(EVERY_NAME[case.name], dtype, channels_last)
    phi, right = type(phi)(*[on_gpu(field) for field in phi]), expected(case.name)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    phi = phi._replace(features=tuple(level.contiguous(memory_format=layout) for level in phi.features))
    for order in (0, 1, 2):
        moved = phi._replace(tangents=tuple(tangent.cuda() for tangent in tangents[:order]))
        (answer,) = SEPARABLE.forward(setting, moved._replace(grad_output=None))
        right.check_forward(array(answer.cpu()), dtype, order)
        gradients = SEPARABLE.adjoint_features(setting, moved._replace(features=()))
        right.check_adjoint_features([array(level.cpu()) for level in gradients], dtype, order)
        if order < 2:
            (boxes,) = SEPARABLE.adjoint_boxes(setting, moved)
            right.check_adjoint_boxes(array(boxes[:, 1:].cpu()), dtype, order)


@pytest.mark.parametrize("case", [*POINT_CASES, *TINY], ids=lambda case: case.name)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels_last", [False, True], ids=["planes", "channels last"])
def test_the_table_of_points(case: Any, dtype: str, channels_last: bool) -> None:
    from test_torch_backends import array, prepared

    setting, phi, tangents = prepared(case, dtype, channels_last)
    phi, right = type(phi)(*[on_gpu(field) for field in phi]), expected(case.name)
    if phi.deciding:  # the maps themselves, as in a call of a user
        phi = phi._replace(deciding=phi.features)
    tangents = [tangent.cuda() for tangent in tangents]
    for order in orders(case, dtype, FORWARD_ORDERS):
        moved = phi._replace(tangents=tuple(tangents[:order]), grad_output=None)
        right.check_forward(array(POINTWISE.forward(setting, moved)[0].cpu()), dtype, order)
    for order in orders(case, dtype, ADJOINT_FEATURES_ORDERS):
        moved = phi._replace(tangents=tuple(tangents[:order]), features=())
        gradients = POINTWISE.adjoint_features(setting, moved)
        right.check_adjoint_features([array(level.cpu()) for level in gradients], dtype, order)
    for order in orders(case, dtype, ADJOINT_BOXES_ORDERS):
        (boxes,) = POINTWISE.adjoint_boxes(setting, phi)
        right.check_adjoint_boxes(array(boxes[:, 1:].cpu()), dtype, order)


def scene(count: int = 300, dtype: torch.dtype = torch.float32) -> tuple[list[Tensor], Tensor]:
    generator = torch.Generator().manual_seed(0)
    pyramid = [torch.randn(2, 64, 200 >> i, 336 >> i, generator=generator).to("cuda", dtype) for i in range(3)]
    corner = torch.rand(count, 2, generator=generator) * torch.tensor([1000.0, 600.0])
    size = 16 * 20 ** torch.rand(count, 2, generator=generator)
    image = torch.randint(2, (count, 1), generator=generator).float()
    return pyramid, torch.cat([image, corner, corner + size], 1).cuda()


SCALES = [1 / 4, 1 / 8, 1 / 16]


def pooled(pyramid: list[Tensor], rois: Tensor, **more: Any) -> Tensor:
    return roialign.multiscale_roi_align(pyramid, rois, 7, SCALES, **more)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_same_bits_on_every_run(dtype: torch.dtype) -> None:
    pyramid, rois = scene(dtype=dtype)
    rois = torch.cat([rois, rois[:1].expand(200, -1)])  # many on top of each other
    answers = []
    for _ in range(5):
        leaves = [level.clone().requires_grad_() for level in pyramid]
        boxes = rois.clone().requires_grad_()
        answer = pooled(leaves, boxes)
        answer.square().mean().backward()
        answers.append([answer.detach(), boxes.grad, *(leaf.grad for leaf in leaves)])
    for other in answers[1:]:
        assert all(torch.equal(one, two) for one, two in zip(answers[0], other, strict=True))


def test_deterministic_mode_is_no_error() -> None:
    pyramid, rois = scene(20)
    torch.use_deterministic_algorithms(True)
    try:
        leaves = [level.requires_grad_() for level in pyramid]
        pooled(leaves, rois).sum().backward()
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("stride", [14, 15, 7])
def test_scales_keep_all_their_digits(stride: int) -> None:
    """A scale that float32 rounds moves points by 1e-5 px, and flips the adaptive count of whole bin lengths."""
    features = torch.randn(1, 8, 60, 60, dtype=torch.float64)
    bins = torch.arange(1, 8, dtype=torch.float64) * 7 * stride
    rois = torch.stack([0 * bins, 0 * bins + 13, 0 * bins + 13, 13 + bins, 13 + bins], 1)
    right = roialign.roi_align(features, rois, 7, 1 / stride)
    seen = roialign.roi_align(features.cuda(), rois.cuda(), 7, 1 / stride)
    torch.testing.assert_close(seen.cpu(), right, rtol=1e-12, atol=1e-12)


def test_tf32_changes_nothing() -> None:
    pyramid, rois = scene()
    before = torch.get_float32_matmul_precision()
    answers = []
    try:
        for precision in ("highest", "high"):
            torch.set_float32_matmul_precision(precision)
            answers.append(pooled(pyramid, rois))
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(*answers)


def test_nothing_is_written_out_of_bounds() -> None:
    """Guards of NaN around the answer; boxes of every bad and huge kind."""
    rows = [[-1.0, 0, 0, 4, 4], [9, 0, 0, 4, 4], [0, float("nan"), 0, 4, 4], [0, -1e99, -1e99, 1e99, 1e99]]
    rows += [[0, 1e30, 0, -1e30, 5], [0, 0, 0, 0, 0], [0, -3e9, 2, 3e9, 2.5], [float("inf"), 1, 1, 2, 2]]
    rois, features = torch.tensor(rows, device="cuda", dtype=torch.float64), torch.randn(1, 5, 9, 11, device="cuda")
    block = torch.full((len(rows) + 2, 5, 3, 3), float("nan"), device="cuda")
    roialign.roi_align(features, rois, 3, out=block[1:-1])
    assert block[0].isnan().all()
    assert block[-1].isnan().all()
    right = roialign.roi_align(features.cpu(), rois.cpu(), 3, invalid="zero")
    torch.testing.assert_close(block[1:-1].cpu(), right, rtol=1e-5, atol=1e-5)
    gradient = roialign.roi_align_backward(torch.ones_like(block[1:-1]), features, rois)[0]
    assert gradient.isfinite().all()
    torch.cuda.synchronize()


def test_bad_rows_raise_where_that_is_asked_for() -> None:
    features, rois = torch.ones(1, 1, 4, 4, device="cuda"), torch.tensor([[3.0, 0, 0, 2, 2]], device="cuda")
    assert not roialign.roi_align(features, rois, 2).any()
    with pytest.raises(ValueError, match=r"rois\[0\]"):
        roialign.roi_align(features, rois, 2, invalid="raise")


def test_cuda_graphs() -> None:
    """Forward and backward are captured, and a replay sees new numbers in the same memory."""
    pyramid, rois = scene()
    leaves, boxes = [level.requires_grad_() for level in pyramid], rois.clone().requires_grad_()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            torch.autograd.grad(pooled(leaves, boxes).sum(), (*leaves, boxes))
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        answer = pooled(leaves, boxes)
        gradients = torch.autograd.grad(answer.sum(), (*leaves, boxes))
        answer = answer.detach()  # lets go of the graph, whose nodes belong to the stream of the capture
    with torch.no_grad():
        boxes[:, 1:] += 3.25
    graph.replay()
    right = pooled(leaves, boxes)
    assert torch.equal(answer, right)
    for seen, wanted in zip(gradients, torch.autograd.grad(right.sum(), (*leaves, boxes)), strict=True):
        assert torch.equal(seen, wanted)


def test_streams() -> None:
    pyramid, rois = scene()
    right, stream = pooled(pyramid, rois), torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(10_000_000)
        moved = [level * 2 for level in pyramid]
        seen = pooled(moved, rois)
    torch.cuda.current_stream().wait_stream(stream)
    torch.testing.assert_close(seen, 2 * right)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one device only")
def test_another_device() -> None:
    pyramid, rois = scene()
    seen = pooled([level.to("cuda:1") for level in pyramid], rois.to("cuda:1"))
    assert torch.equal(seen.cpu(), pooled(pyramid, rois).cpu())


def test_compile() -> None:
    pyramid, rois = scene()
    pool = MultiScaleRoIAlign(7, SCALES)
    leaves = [level.requires_grad_() for level in pyramid]
    seen, right = torch.compile(pool, fullgraph=True)(leaves, rois), pool(leaves, rois)
    assert torch.equal(seen, right)
    found, wanted = (torch.autograd.grad(answer.square().sum(), leaves) for answer in (seen, right))
    assert all(torch.allclose(one, two) for one, two in zip(found, wanted, strict=True))


def test_autocast_keeps_boxes_whole() -> None:
    features, rois = torch.randn(1, 8, 200, 336, device="cuda"), torch.tensor([[0, 3001.3, 5.2, 3100.1, 90]]).cuda()
    with torch.autocast("cuda", dtype=torch.float16):
        half = torch.nn.functional.conv2d(features, torch.eye(8, device="cuda")[:, :, None, None])
        seen = RoIAlign(7, 1 / 10)(half, rois)
    assert seen.dtype == torch.float16
    right = roialign.roi_align(half.float(), rois, 7, 1 / 10)
    torch.testing.assert_close(seen.float(), right, rtol=1e-3, atol=1e-3)


def test_more_than_2_to_the_31_elements() -> None:
    if torch.cuda.mem_get_info()[0] < 12 * 2**30:
        pytest.skip("needs 12 GiB of GPU memory")
    features = torch.zeros(1, 1, 46400, 46400, dtype=torch.float16, device="cuda")
    features[0, 0, -3:, -3:] = 1.0
    rois = torch.tensor([[0, 46397.0, 46397.0, 46399.0, 46399.0]], dtype=torch.float64, device="cuda")
    assert roialign.roi_align(features, rois, 1).item() > 0.5
    gradient = roialign.roi_align_backward(rois.new_ones(1, 1, 1, 1).half(), features, rois, need=("features",))[0]
    assert abs(gradient[0, 0, -4:, -4:].float().sum().item() - 1) < 1e-2


def points_of(name: str, dtype: torch.dtype = torch.float32) -> tuple[Any, list[Tensor]]:
    """An operator of the pointwise family, and the tensors that it has gradients to."""
    pyramid, rois = scene(150, dtype)
    features, boxes = pyramid[0], rois.double()
    centre, size = (boxes[:, 1:3] + boxes[:, 3:]) / 2, boxes[:, 3:] - boxes[:, 1:3]
    turned = torch.cat([boxes[:, :1], centre, size, boxes[:, 1:2] / 100], 1)
    offset = torch.randn(150, 2, 7, 7, generator=torch.Generator().manual_seed(1)).cuda()
    calls: dict[str, tuple[Any, list[Tensor]]] = {
        "max": (lambda f, b: roialign.roi_align(f, b, 7, 1 / 4, 2, mode="max"), [features, boxes]),
        "rotated": (lambda f, b: roialign.roi_align_rotated(f, b, 7, 1 / 4), [features, turned]),
        "rotation-invariant": (lambda f, b: roialign.riroi_align_rotated(f, b, 7, 1 / 4), [features, turned]),
        "deformable": (lambda f, b, o: roialign.deform_roi_pool(f, b, o, 7, 1 / 4), [features, boxes, offset]),
        "RoIPool": (lambda f, b: roialign.roi_pool(f, b, 7, 1 / 4) + 0 * b.sum(), [features, boxes]),
        "position-sensitive": (lambda f, b: roialign.ps_roi_align(f, b, 2, 1 / 4), [features, boxes]),
    }
    return calls[name]


every_operator = pytest.mark.parametrize(
    "name", ["max", "rotated", "rotation-invariant", "deformable", "RoIPool", "position-sensitive"]
)


@every_operator
def test_points_give_the_same_bits_on_every_run_and_those_of_the_core_nearly(name: str) -> None:
    def answers(dtype: torch.dtype, device: str) -> list[Tensor]:
        function, tensors = points_of(name, dtype)
        leaves = [tensor.detach().to(device).requires_grad_() for tensor in tensors]
        answer = function(*leaves)
        return [answer.detach(), *torch.autograd.grad(answer.square().mean(), leaves)]

    for dtype in (torch.float16, torch.float32, torch.float64):
        first, second, third = (answers(dtype, "cuda") for _ in range(3))
        for other in (second, third):
            assert all(torch.equal(one, two) for one, two in zip(first, other, strict=True))
    # In float64, in which no maximum is decided by rounding.
    for seen, right in zip(first, answers(torch.float64, "cpu"), strict=True):
        torch.testing.assert_close(seen.cpu(), right, rtol=1e-9, atol=1e-9 * right.abs().max().item())


@every_operator
def test_points_are_captured(name: str) -> None:
    """Nothing waits for the device: forward and all gradients in a CUDA graph, which sees new numbers."""
    function, tensors = points_of(name)
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            torch.autograd.grad(function(*leaves).sum(), leaves)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        answer = function(*leaves)
        gradients = torch.autograd.grad(answer.sum(), leaves)
        answer = answer.detach()
    with torch.no_grad():
        leaves[1][:, 1:3] += 3.25
    graph.replay()
    right = function(*leaves)
    assert torch.equal(answer, right)
    for seen, wanted in zip(gradients, torch.autograd.grad(right.sum(), leaves), strict=True):
        assert torch.equal(seen, wanted)


def test_points_of_bad_and_huge_boxes() -> None:
    rows = [[-1.0, 0, 0, 4, 4, 1], [0, float("nan"), 0, 4, 4, 1], [0, 3, 3, 1e99, 1e99, 0.3], [0, 4, 4, -5, 1e30, 2]]
    rois, features = torch.tensor(rows, dtype=torch.float64), torch.randn(1, 5, 9, 11)
    right = roialign.roi_align_rotated(features, rois, 3, invalid="zero")
    seen = roialign.roi_align_rotated(features.cuda(), rois.cuda(), 3)
    torch.testing.assert_close(seen.cpu(), right, rtol=1e-5, atol=1e-5)
    assert roialign.roi_align_rotated_backward(torch.ones_like(seen), features.cuda(), rois.cuda())[0].isfinite().all()
