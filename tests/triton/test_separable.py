"""The Triton kernels over the shared table of cases, in Triton's interpreter, which needs no GPU: small views of all of
them in the table, with proof that no address leaves its tensor, and some of what block sizes of GPUs do.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

pytest.importorskip("triton")

import numpy as np
import torch

import roialign
from roialign.torch.backends import is_interpreted
from roialign.torch.triton.separable import Tables
from roialign.torch.wiring.separable import SEPARABLE
from roialign.triton import launch
from tests.tables.answers import EVERY_NAME, expected
from tests.tables.cases import CASES, EVERY_KIND, SMALL_CASES, Case
from tests.tables.pointwise_cases import POINT_CASES, SMALL_POINT_CASES
from tests.torch.test_backends import array, check_all, prepared
from tests.triton.branches import check_small_case, small_case
from tests.triton.interpreter import hold_whole_answers

pytestmark = [
    pytest.mark.skipif(not is_interpreted(), reason="the kernels are compiled here: see test_gpu.py"),
    pytest.mark.usefixtures("interpreter"),
]


def call(function: Any, setting: Any, phi: Any, **changes: Any) -> Any:
    return function(setting, phi._replace(**changes))


@pytest.mark.parametrize("case", [small_case(case) for case in SMALL_CASES])
def test_the_table_of_cases(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forward and all gradients, and their derivatives along tangents; one layout, then the other."""
    hold_whole_answers(monkeypatch)
    check_small_case(case)


@pytest.mark.parametrize("name", ["small: 17 channels, fill", "small: pyramid, exact"])
def test_blocks_of_gpus(name: str) -> None:
    check_all(EVERY_NAME[name], "float32", False, "triton")


@pytest.mark.parametrize("cases", [SMALL_CASES, SMALL_POINT_CASES], ids=["separable", "pointwise"])
def test_small_cases_make_their_point(cases: list[Any]) -> None:
    assert {kind for case in cases for kind in case.kinds} == set(EVERY_KIND)
    for case, whole in zip(cases, CASES if cases is SMALL_CASES else POINT_CASES, strict=True):
        for drawn in (case, whole):
            inputs = drawn.draw()
            images = inputs.rois[:, 0] if case.family == "separable" else inputs.images
            assert len(images) > 0 or not whole.kinds
            assert set(images < 0) == {True, False} or not case.unknown_images, drawn.name


@pytest.mark.parametrize("dtype", ["float64", "float16"])
@pytest.mark.parametrize("channels_last", [False, True], ids=["planes", "channels last"])
def test_every_dtype_and_layout(dtype: str, channels_last: bool) -> None:
    """16 channels: channels-last maps are read in whole vectors."""
    name = "16 channels"
    setting, phi, _ = prepared(EVERY_NAME[name], dtype, channels_last, "triton")
    (answer,) = call(SEPARABLE.forward, setting, phi, grad_output=None)
    expected(name).check_forward(array(answer), dtype, 0)
    gradients = call(SEPARABLE.adjoint_features, setting, phi, features=())
    expected(name).check_adjoint_features([array(level) for level in gradients], dtype, 0)
    (boxes,) = SEPARABLE.adjoint_boxes(setting, phi)
    expected(name).check_adjoint_boxes(array(boxes[:, 1:]), dtype, 0)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    assert all(tensor.is_contiguous(memory_format=layout) for tensor in (answer, *gradients))


def test_bfloat16() -> None:
    """The interpreter cuts to bfloat16 where GPUs round: what is cut must be the float32 answer to the same numbers."""
    wide, half = (prepared(EVERY_NAME["16 channels"], dtype, True, "triton") for dtype in ("float32", "bfloat16"))
    (right,) = call(SEPARABLE.forward, wide[0], wide[1], grad_output=None)
    (seen,) = call(SEPARABLE.forward, half[0], half[1], grad_output=None)
    assert seen.dtype == torch.bfloat16
    assert torch.equal(seen.float().view(torch.int32), right.view(torch.int32) & ~0xFFFF)


def test_strides_and_sparse_channels() -> None:
    setting, phi, _ = prepared(EVERY_NAME["17 channels"], "float32", False, "triton")
    (right,) = call(SEPARABLE.forward, setting, phi, grad_output=None)
    sparse = tuple(level.permute(0, 2, 3, 1).repeat_interleave(2, dim=3)[..., ::2] for level in phi.features)
    (seen,) = call(
        SEPARABLE.forward, setting, phi, features=tuple(level.permute(0, 3, 1, 2) for level in sparse), grad_output=None
    )
    assert torch.equal(seen, right)
    one = phi._replace(grad_output=torch.ones(()).expand(phi.grad_output.shape))
    full = phi._replace(grad_output=torch.ones(phi.grad_output.shape))
    for (wide,), (dense,) in zip(
        (call(SEPARABLE.adjoint_features, setting, one, features=()), SEPARABLE.adjoint_boxes(setting, one)),
        (call(SEPARABLE.adjoint_features, setting, full, features=()), SEPARABLE.adjoint_boxes(setting, full)),
        strict=True,
    ):
        assert torch.equal(wide, dense)


@pytest.mark.parametrize("bins", [(2, 1), (1, 34)], ids=str)
def test_rows_longer_than_a_warp(bins: tuple[int, int]) -> None:
    """More pixels, then more bins in a row than a warp has threads. A pixel that is not finite affects its own bins."""
    features = torch.randn(1, 3, 5, 70, generator=torch.Generator().manual_seed(0))
    features[0, 1, 2, 30:32] = torch.tensor([float("nan"), float("inf")])
    rois = torch.tensor([[0, 0.0, 0, 70, 5], [0, 1.5, 0.5, 36, 4]])
    for layout in (torch.contiguous_format, torch.channels_last):
        maps = features.contiguous(memory_format=layout)
        seen = roialign.roi_align(maps, rois, bins, sampling_ratio=2, backend="triton")
        right = roialign.roi_align(maps, rois, bins, sampling_ratio=2)
        torch.testing.assert_close(seen, right, rtol=1e-6, atol=1e-5, equal_nan=True)


BAD_ROWS = [
    [-1.0, 0, 0, 4, 4],
    [2.0, 0, 0, 4, 4],
    [0.5, 0, 0, 4, 4],
    [float("nan"), 0, 0, 4, 4],
    [0, float("nan"), 0, 4, 4],
    [0, 0, float("inf"), 4, 4],
    [0, 0, 0, -1e101, 4],
    [1e30, 0, 0, 4, 4],
]


def test_bad_rows_are_zeroed_between_good_ones() -> None:
    features = torch.arange(2 * 2 * 5 * 6.0).reshape(2, 2, 5, 6).requires_grad_()
    good = [1.0, 0.5, 1.5, 4.5, 3.5]
    rois = torch.tensor([good, *BAD_ROWS, good], requires_grad=True)
    answer = roialign.roi_align(features, rois, 2, invalid="zero", backend="triton")
    right = roialign.roi_align(features.detach(), rois.detach()[:1], 2)
    assert not answer[1:-1].any()
    torch.testing.assert_close(answer[[0, -1]], right.expand(2, -1, -1, -1), rtol=1e-6, atol=1e-5)
    answer.sum().backward()
    assert not rois.grad[1:-1].any()
    assert rois.grad[0].any()
    assert features.grad[0].abs().sum() == 0
    torch.testing.assert_close(features.grad.sum(), torch.tensor(16.0), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("row", BAD_ROWS, ids=str)
def test_bad_rows_raise(row: list[float]) -> None:
    with pytest.raises(ValueError, match=r"rois\[1\]"):
        roialign.roi_align(torch.ones(2, 1, 5, 6), torch.tensor([[0, 0, 0, 4, 4], row]), 2, backend="triton")


def test_levels_out_of_range() -> None:
    pyramid, rois = [torch.ones(1, 1, 8, 8), torch.ones(1, 1, 4, 4)], torch.tensor([[0, 4.0, 4, 16, 16]] * 3)
    arguments: Any = {"levels": torch.tensor([0, 2, -1]), "backend": "triton"}
    with pytest.raises(ValueError, match=r"levels\[1\]"):
        roialign.multiscale_roi_align(pyramid, rois, 2, [1 / 4, 1 / 8], **arguments)
    answer = roialign.multiscale_roi_align(pyramid, rois, 2, [1 / 4, 1 / 8], invalid="zero", **arguments)
    assert answer.flatten(1).sum(1).tolist() == [4, 0, 0]


def test_assigned_levels_are_those_of_the_core() -> None:
    pyramid = [torch.randn(1, 2, 64 >> level, 64 >> level) for level in range(3)]
    sides = torch.tensor([1.0, 55, 56, 57, 111.9, 112, 112.1, 223.99995, 224, 500, 0, -3])
    rois = torch.stack([0 * sides, 0 * sides, 0 * sides, sides, sides], dim=1)
    scales = [1 / 4, 1 / 8, 1 / 16]
    seen = roialign.multiscale_roi_align(pyramid, rois, 1, scales, 1, canonical_level=1, backend="triton")
    right = roialign.multiscale_roi_align(pyramid, rois, 1, scales, 1, canonical_level=1)
    torch.testing.assert_close(seen, right, rtol=1e-5, atol=1e-5)


def test_what_is_not_finite_stays_where_it_is() -> None:
    """A pixel of no weight, and a bin that a pixel takes no part in, may hold anything."""
    features = torch.ones(1, 1, 6, 6)
    features[0, 0, 5, :] = float("nan")
    rois = torch.tensor([[0, 1.0, 1, 3, 3]], requires_grad=True)
    assert roialign.roi_align(features, rois, 2, 1.0, 2, backend="triton").isfinite().all()
    gradient = torch.ones(1, 1, 2, 2)
    gradient[0, 0, 0, 0] = float("inf")
    found = roialign.roi_align_backward(gradient, features, rois, 1.0, 2, need=("features",), backend="triton")[0]
    assert found[0, 0, 0:2, 0:2].isinf().any()
    assert found[0, 0, 3:].isfinite().all()
    assert found[0, 0, :, 3:].isfinite().all()


@pytest.mark.parametrize(
    ("bins", "ratio"), [((1, 1), 1), ((1, 1), (1, 3)), ((1, 1), (2, 1)), ((1, 4), 1), ((3, 1), 1), ((3, 4), 1)]
)
def test_bins_of_one_point(bins: tuple[int, int], ratio: Any) -> None:
    """The table does not depend on the map along an axis with one bin with one point. Some boxes leave the map, or are
    reversed."""
    features = torch.randn(1, 2, 9, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rois = torch.tensor(
        [[0, 0.3, 0.4, 6.1, 8.2], [0, 3.1, 3.2, 3.3, 3.4], [0, -4, -3, 12, 11], [0, 5.5, 7.5, 1.5, 2.5]]
    ).double()
    answers = []
    for backend in ("triton", "cpu"):
        leaves = [tensor.clone().requires_grad_() for tensor in (features, rois)]
        output = roialign.roi_align(*leaves, bins, sampling_ratio=ratio, backend=backend)
        answers.append([output.detach(), *torch.autograd.grad(output.square().sum(), leaves)])
    for seen, right in zip(*answers, strict=True):
        torch.testing.assert_close(seen, right, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("method", ["bilinear", "nearest"])
def test_crops_of_one_pixel(method: Any) -> None:
    features = torch.randn(1, 2, 9, 7, generator=torch.Generator().manual_seed(0))
    rois = torch.tensor([[0, 0.1, 0.2, 0.7, 0.9], [0, -0.8, 0.1, 0.6, 1.1], [0, -3, -3, 0, 0]])
    seen, right = (
        roialign.crop_and_resize(features, rois[:, 1:], rois[:, 0].int(), (1, 1), method=method, backend=backend)
        for backend in ("triton", "cpu")
    )
    torch.testing.assert_close(seen, right, rtol=1e-5, atol=1e-6)


def test_order_by_place() -> None:
    """Every row once; by level, image, band of 16 rows, then column, and rows that are alike in their own order."""
    rng = np.random.default_rng(0)
    places = rng.integers(0, 4, (150, 6)) * np.array([1, 1, 20, 20, 5, 5])
    places[rng.random(150) < 0.2, 1] = -1
    tables = object.__new__(Tables)
    object.__setattr__(tables, "places", torch.from_numpy(places).int())
    order, has_order = tables.order
    assert has_order
    keys = [
        (level, image, (low + high) // 32, x, k) for k, (level, image, low, high, x, _) in enumerate(places.tolist())
    ]
    assert [keys[k] for k in order.tolist()] == sorted(keys)


def test_the_order_changes_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    setting, phi, _ = prepared(EVERY_NAME["17 channels"], "float32", False, "triton")
    answers = []
    for least in (64, 1):
        monkeypatch.setattr(launch, "ORDERED", (least, 4096))
        answers.append(
            (call(SEPARABLE.forward, setting, phi, grad_output=None)[0], SEPARABLE.adjoint_boxes(setting, phi)[0])
        )
    assert torch.equal(answers[0][0], answers[1][0])
    assert torch.equal(answers[0][1], answers[1][1])


def test_gpu_benchmark_says_that_there_is_no_gpu(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    gpu = pytest.importorskip("benchmarks.gpu.measure")
    monkeypatch.setattr("sys.argv", ["benchmarks.gpu"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main() == 1
    assert "nothing was measured" in capsys.readouterr().err


def test_more_rois_than_a_word_has_bits() -> None:
    features = torch.randn(1, 2, 5, 6, generator=torch.Generator().manual_seed(0))
    low = torch.rand(34, 2, generator=torch.Generator().manual_seed(1)) * 3
    rois = torch.cat([torch.zeros(34, 1), low, low + 2.5], 1)
    gradient = torch.randn(34, 2, 1, 1, generator=torch.Generator().manual_seed(2))
    seen = roialign.roi_align_backward(gradient, features, rois, need=("features",), backend="triton")[0]
    right = roialign.roi_align_backward(gradient, features, rois, need=("features",))[0]
    torch.testing.assert_close(seen, right, rtol=1e-5, atol=1e-5)


def test_without_the_compiled_core() -> None:
    """A user with a GPU needs none."""
    program = """
import sys
sys.modules["roialign._core"] = None
import torch, roialign
f, r = torch.ones(1, 1, 4, 4, requires_grad=True), torch.tensor([[0, 0.0, 0, 4, 4]], requires_grad=True)
answer = roialign.roi_align(f, r, 1, backend="triton")
answer.sum().backward()
assert answer.item() == 1 and abs(f.grad.sum() - 1) < 1e-6 and r.grad.shape == (1, 5)
"""
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, "TRITON_INTERPRET": "1"})
