"""The Triton kernels of the pointwise family in Triton's interpreter: small views of the table of cases, as
test_triton.py has them of the other family.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

pytest.importorskip("triton")

import torch
from torch.autograd import forward_ad

import roialign
from roialign.torch.backends import is_interpreted
from roialign.torch.wiring.pointwise import POINTWISE
from roialign.triton import launch
from tests.tables.answers import EVERY_NAME
from tests.tables.cases import Case
from tests.tables.pointwise_cases import SMALL_POINT_CASES
from tests.torch.test_backends import check_all, prepared
from tests.triton.branches import check_small_case, small_case
from tests.triton.interpreter import hold_whole_answers

pytestmark = [
    pytest.mark.skipif(not is_interpreted(), reason="the kernels are compiled here: see test_gpu.py"),
    pytest.mark.usefixtures("interpreter"),
]


@pytest.mark.parametrize("case", [small_case(case) for case in SMALL_POINT_CASES])
def test_the_table_of_points(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forward and all gradients, and their derivatives along tangents; one layout, then the other."""
    hold_whole_answers(monkeypatch)
    check_small_case(case)


@pytest.mark.parametrize("name", ["small: max, 16 channels", "small: deformable, 16 channels"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_blocks_of_gpus(name: str, dtype: str) -> None:
    """Channels beside each other, in whole vectors."""
    check_all(EVERY_NAME[name], dtype, True, "triton")


BAD_ROWS = [[-1.0, 0, 0, 4, 4], [2, 0, 0, 4, 4], [float("nan"), 0, 0, 4, 4], [0, 0, float("inf"), 4, 4]]


def test_bad_rows_are_zeroed_between_good_ones() -> None:
    features = torch.arange(2 * 2 * 5 * 6.0).reshape(2, 2, 5, 6).requires_grad_()
    good = [1.0, 0.5, 1.5, 4.5, 3.5]
    rois = torch.tensor([good, *BAD_ROWS, good], requires_grad=True)
    offset = torch.zeros(6, 2, 1, 2)
    offset[0, 1, 0, 1] = float("nan")  # a bin that is nowhere
    offset.requires_grad_()
    answer = roialign.deform_roi_pool(features, rois, offset, (1, 2), 1.0, 1, invalid="zero", backend="triton")
    right = roialign.deform_roi_pool(features.detach(), rois[5:].detach(), offset[5:].detach(), (1, 2), 1.0, 1)
    assert not answer[:-1].any()
    torch.testing.assert_close(answer[5:], right, rtol=1e-6, atol=1e-5)
    answer.sum().backward()
    assert not rois.grad[:5].any()
    assert not offset.grad[:5].any()
    assert offset.grad[5].any()
    torch.testing.assert_close(features.grad.sum(), torch.tensor(4.0), rtol=1e-6, atol=1e-5)


def test_bad_rows_raise() -> None:
    features, offset = torch.ones(1, 1, 4, 4), torch.full((1, 2, 1, 1), float("nan"))
    with pytest.raises(ValueError, match=r"rois\[0\]"):
        roialign.roi_pool(features, torch.tensor([[3.0, 0, 0, 2, 2]]), 1, backend="triton")
    with pytest.raises(ValueError, match=r"offset\[0\]"):
        roialign.deform_roi_pool(features, torch.tensor([[0.0, 0, 0, 2, 2]]), offset, 1, backend="triton")


def test_what_is_not_finite() -> None:
    """A NaN is above all, a pixel of no weight takes no part, and a gradient reaches the pixels of its winner alone."""
    features = torch.arange(16.0).reshape(1, 1, 4, 4)
    features[0, 0, 0, 0] = float("nan")
    rois = torch.tensor([[0.0, 0, 0, 3, 3], [0, 1, 1, 3, 3]])
    answer = roialign.roi_pool(features, rois, 1, backend="triton")
    assert answer[0].isnan().all()
    assert answer[1].item() == 15
    gradient = torch.full((2, 1, 1, 1), float("inf"))
    found = roialign.roi_pool_backward(gradient, features, rois, backend="triton")
    assert found.isfinite().sum() == 14
    beside = torch.tensor([[0.0, 2, 2, 3, 3]])
    features[0, 0, 3, 3] = float("nan")
    assert roialign.roi_align(features, beside, 1, 1.0, 1, mode="max", backend="triton").item() == 10


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_gradients_that_are_not_finite(value: float) -> None:
    """The gradient of a mean reaches its own pixels alone, and the others keep their sums."""
    features = torch.zeros(1, 3, 8, 8)
    rois = torch.tensor([[0.0, 2.5, 2.5, 3, 3, 0.3], [0, 4, 4, 6, 6, 0.1]], dtype=torch.float64)
    gradient = torch.linspace(0.5, 1, 2 * 3 * 4).reshape(2, 3, 2, 2)
    gradient[0, 1, 0, 1] = value
    seen, right = (
        roialign.roi_align_rotated_backward(gradient, features, rois, 1.0, 2, need=("features",), backend=backend)[0]
        for backend in ("triton", "cpu")
    )
    assert 0 < (~right.isfinite()).sum() < 16
    torch.testing.assert_close(seen, right, rtol=1e-5, atol=1e-5, equal_nan=True)


def test_ties_and_bins_without_points() -> None:
    """Of equal points the first wins; a bin of none is zero, and so is its gradient."""
    features = torch.ones(1, 1, 4, 4)
    rois = torch.tensor([[0.0, 0, 0, 3, 3], [0, 50, 50, 60, 60]])
    assert roialign.roi_pool(features, rois, 1, backend="triton").flatten().tolist() == [1, 0]
    gradient = torch.ones(2, 1, 1, 1)
    found = roialign.roi_pool_backward(gradient, features, rois, backend="triton")
    assert found[0, 0, 0, 0] == 1
    assert found.sum() == 1


def test_winners_are_decided_where_they_are_told() -> None:
    """As derivatives of derivatives ask for: a maximum of one map, read off another."""
    setting, phi, _ = prepared(EVERY_NAME["small: max of corners"], "float64", False, "triton")
    other = phi._replace(features=tuple(torch.randn_like(level) for level in phi.features), grad_output=None)
    (seen,) = POINTWISE.forward(setting, other)
    (right,) = POINTWISE.forward(setting._replace(operator=replace(setting.operator, backend="cpu")), other)
    torch.testing.assert_close(seen, right, rtol=1e-12, atol=1e-12)


MAXIMA = {
    "RoIPool": lambda f, b, **m: roialign.roi_pool(f, b, (2, 3), **m),
    "max": lambda f, b, **m: roialign.roi_align(f, b, (2, 3), 1.0, 2, mode="max", **m),
    "rotated": lambda f, b, **m: roialign.roi_align_rotated(
        f, torch.nn.functional.pad(b, (0, 1), value=0.3), 2, 1.0, 2, mode="max", **m
    ),
}


@contextmanager
def launches(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names of the kernels that are launched."""
    found: list[str] = []

    def watched(kernel: Any, *arguments: Any, **constants: Any) -> None:
        found.append(kernel.fn.__name__.removesuffix("_kernel"))
        launch.launch(kernel, *arguments, **constants)

    with monkeypatch.context() as patch:
        patch.setattr("roialign.torch.triton.pointwise.launch", watched)
        yield found


def leaves_of_maxima(of_boxes: bool) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(2, 3, 9, 8, generator=generator, dtype=torch.float64)
    rois = torch.tensor([[0.0, 0.3, 1.2, 6.1, 7.9], [1, -2, 2.2, 5.7, 4.4]], dtype=torch.float64)
    return features.requires_grad_(), rois.requires_grad_(of_boxes)


@pytest.mark.parametrize("name", MAXIMA)
def test_winners_are_kept_for_the_gradients(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are found once, and all gradients are those of the CPU."""
    call, of_boxes = MAXIMA[name], name != "RoIPool"
    features, rois = leaves_of_maxima(of_boxes)
    leaves = [features, rois] if of_boxes else [features]
    with launches(monkeypatch) as launched:
        answer = call(features, rois, backend="triton")
        gradient = torch.linspace(-1, 1, answer.numel(), dtype=torch.float64).reshape(answer.shape).requires_grad_()
        found = torch.autograd.grad(answer, leaves, gradient, create_graph=True)
        again = torch.autograd.grad(found[0], gradient, torch.ones_like(features), retain_graph=True)
    assert launched.count("maximum") == 1
    right = call(features, rois, backend="cpu")
    wanted = torch.autograd.grad(right, leaves, gradient, create_graph=True)
    wanted_again = torch.autograd.grad(wanted[0], gradient, torch.ones_like(features))
    for one, other in zip((answer, *found, *again), (right, *wanted, *wanted_again), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.slow
def test_winners_under_transforms() -> None:
    """In forward mode and by torch.func, which do not keep them, of tensors for which the others would."""
    features, rois = leaves_of_maxima(True)
    call = MAXIMA["max"]
    found = []
    for backend in ("triton", "cpu"):

        def pooled(f: torch.Tensor, b: torch.Tensor, backend: str = backend) -> torch.Tensor:
            return call(f, b, backend=backend)

        with forward_ad.dual_level():
            answer = pooled(forward_ad.make_dual(features, torch.ones_like(features)), rois)
            moved = forward_ad.unpack_dual(answer).tangent
        along = torch.func.jvp(lambda b: pooled(features, b), (rois.detach(),), (torch.ones_like(rois),))[1]
        (mixed,) = torch.autograd.grad(along.sum(), features)
        members = torch.stack([features.detach(), -features.detach()]).requires_grad_()
        together = torch.func.vmap(lambda f: pooled(f, rois))(members)
        gradients = torch.autograd.grad(together.square().sum(), (members, rois))
        each = torch.func.vmap(torch.func.grad(lambda f: pooled(f, rois.detach()).square().sum()))(members.detach())
        found.append([moved, along, mixed, together, *gradients, each])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "name", ["small: deformable, modulated", pytest.param("small: max, pyramid", marks=pytest.mark.slow)]
)
def test_many_blocks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As large answers are cut: some bins and channels at once; and RoIs in the order of their place."""
    for sizes in (launch.POINTS_FORWARD, launch.POINTS_SUMS):
        monkeypatch.setitem(sizes[False], 8, launch.Contraction(4, 2, 1))
    monkeypatch.setattr(launch, "ROI_BINS", 4)
    monkeypatch.setattr(launch, "ORDERED", (1, 4096))
    check_all(EVERY_NAME[name], "float64", False, "triton")


def test_winners_of_very_long_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their steps take 64 bits."""

    monkeypatch.setattr("roialign.torch.triton.frames.MOST_STEPS", 1)
    for name in ("small: max of corners", "small: RoIPool, inclusive"):
        check_all(EVERY_NAME[name], "float64", False, "triton")


@pytest.mark.parametrize("name", [pytest.param("ps_roi_align", marks=pytest.mark.slow), "ps_roi_pool"])
def test_many_rois_of_a_position_sensitive_tile(name: str) -> None:
    """More than are compared with a bin at once, some on another image, of which a bin touches some."""
    generator = torch.Generator().manual_seed(0)
    corner = 2 * torch.rand(60, 2, generator=generator)
    image = (torch.arange(60) % 5 == 3)[:, None]
    rois = torch.cat([image, corner, corner + 1 + 3 * torch.rand(60, 2, generator=generator)], 1).double()
    features = torch.randn(2, 4, 6, 6, generator=generator, dtype=torch.float64)
    gradient = torch.randn(60, 2, 1, 2, generator=generator, dtype=torch.float64)
    backward: Any = roialign.ps_roi_pool_backward
    if name == "ps_roi_align":
        backward = partial(roialign.ps_roi_align_backward, sampling_ratio=1, need=("features",))
    seen, right = (backward(gradient, features, rois, backend=backend) for backend in ("triton", "cpu"))
    seen, right = (found[0] if isinstance(found, tuple) else found for found in (seen, right))
    torch.testing.assert_close(seen, right, rtol=1e-11, atol=1e-11)


def test_a_turned_box_far_larger_than_the_map() -> None:
    """Of a billion points those that may lie on the map are visited."""
    features = torch.randn(1, 1, 10, 1, generator=torch.Generator().manual_seed(0)).requires_grad_()
    rois = torch.tensor([[0.0, 0.4, 4.9, 4e4, 3e4, 0.9]], dtype=torch.float64, requires_grad=True)
    answers = []
    for backend in ("triton", "cpu"):
        answer = roialign.roi_align_rotated(features, rois, 1, backend=backend) * 1e9
        answers.append([answer.detach(), *torch.autograd.grad(answer.sum(), (features, rois))])
    assert answers[1][0].abs() > 0.1
    for seen, right in zip(*answers, strict=True):
        torch.testing.assert_close(seen, right, rtol=1e-5, atol=1e-5)


def test_levels_of_turned_boxes() -> None:
    pyramid = [torch.randn(1, 2, 32 >> level, 32 >> level) for level in range(2)]
    sides = torch.tensor([1.0, 7.9, 8.1, 40.0, -3.0])
    rois = torch.stack([0 * sides, 0 * sides + 60, 0 * sides + 70, sides, abs(sides), sides], 1)
    setting: tuple[Any, ...] = (1, [1 / 4, 1 / 8], 1)
    canonical = {"canonical_size": 8, "canonical_level": 3}
    seen = roialign.multiscale_roi_align_rotated(pyramid, rois, *setting, **canonical, backend="triton")
    right = roialign.multiscale_roi_align_rotated(pyramid, rois, *setting, **canonical)
    torch.testing.assert_close(seen, right, rtol=1e-5, atol=1e-5)


def test_ends_of_the_map_and_halves_of_pixels() -> None:
    """A point a whole pixel beyond the map has its last pixel; box ends are rounded half away from zero."""
    features = torch.arange(2 * 16.0).reshape(2, 1, 4, 4)
    rois = torch.tensor([[0.0, 4, 4, 5, 5], [0, -1, -1, 0, 0]])
    assert roialign.roi_align(features, rois, 1, 1.0, 1, mode="max", backend="triton").flatten().tolist() == [15, 0]
    rois = torch.tensor([[0.0, 0.5, 1.5, 2.5, 2.5], [0, -0.5, -1.5, 0.5, 1.49]])
    seen = roialign.roi_pool(features, rois, 2, backend="triton")
    assert torch.equal(seen, roialign.roi_pool(features, rois, 2))


def test_a_box_that_has_almost_turned_to_the_next_orientation() -> None:
    """The small weight of the orientation that it leaves keeps its digits."""
    features = torch.zeros(1, 4, 6, 6)
    features[:, 0] = 0.7
    angle = (1 - 1.2345e-4) * torch.pi / 2
    rois = torch.tensor([[0.0, 3, 3, 3, 2, angle]], dtype=torch.float64)
    for rois_of_turn in (rois, rois * torch.tensor([1.0, 1, 1, 1, 1, -1])):
        leaf = features.clone().requires_grad_()
        seen = roialign.riroi_align_rotated(leaf, rois_of_turn, 1, num_orientations=4, backend="triton")
        right = roialign.riroi_align_rotated(
            features.double(), rois_of_turn, 1, num_orientations=4, backend="reference"
        )
        assert (right.abs() > 0).sum() == 2
        torch.testing.assert_close(seen.detach().double(), right, rtol=1e-6, atol=0)


def test_pixels_that_a_point_hardly_reaches() -> None:
    """Their small weights keep their digits in the gradient of the features."""
    features = torch.zeros(1, 2, 7, 9)
    rois = torch.tensor([[0.0, 3.5001, 2.4999, 2, 2, 0], [0.0, 5.4999, 4.50001, 2, 2, 0]], dtype=torch.float64)
    gradient = torch.tensor([0.3, 0.7]).reshape(2, 1, 1, 1).expand(2, 2, 1, 1).contiguous()
    (seen, _), (right, _) = (
        roialign.roi_align_rotated_backward(gradient.to(dtype), features.to(dtype), rois, 1.0, 1, backend=backend)
        for dtype, backend in ((torch.float32, "triton"), (torch.float64, "reference"))
    )
    assert (right != 0).sum() == 2 * 8
    torch.testing.assert_close(seen.double(), right, rtol=1e-6, atol=0)
