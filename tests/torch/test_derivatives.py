"""Derivatives in eager mode: backward, double backward, forward mode, and no work for what nobody asked for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

import roialign
from roialign import _core
from roialign._derivatives import Inputs, Operator, Setting
from roialign._spec import SeparableSpec
from roialign.torch.wiring.separable import SEPARABLE, SeparableFamily
from tests.tables.tensors import OPERATORS, features, few_features, multiscale, pyramid, rois, values

EXACT = SeparableSpec(rule="exact", offset=0.5)

every_operator = pytest.mark.parametrize("name", OPERATORS)


def of_boxes(name: str) -> Any:
    """The operator of features and boxes ``[K, 4]``: images are no coordinates."""
    images = rois()[:, :1]
    return lambda f, boxes: OPERATORS[name](f, torch.cat([images, boxes], dim=1))


def leaves() -> tuple[Tensor, Tensor]:
    return few_features().requires_grad_(), (rois()[:, 1:] / 2).requires_grad_()


@every_operator
def test_first_order(name: str) -> None:
    assert gradcheck(of_boxes(name), leaves(), check_forward_ad=True)


@every_operator
def test_second_order(name: str) -> None:
    assert gradgradcheck(of_boxes(name), leaves(), check_fwd_over_rev=True)


def test_second_order_of_the_gradients_themselves() -> None:
    """The twins are differentiable functions too."""
    gradient = values(3, 1, 2, 3, seed=5).requires_grad_()

    def backward(g: Tensor, f: Tensor, boxes: Tensor) -> Any:
        return roialign.roi_align_backward(g, f, torch.cat([rois()[:, :1], boxes], dim=1), 1 / 4, sampling="exact")

    assert gradcheck(backward, (gradient, *leaves()), check_forward_ad=True)


def test_pyramid() -> None:
    images = rois()[:, :1]

    def pool(a: Tensor, b: Tensor, boxes: Tensor) -> Any:
        return multiscale([a, b], torch.cat([images, boxes], dim=1))

    first, second = (level[:, :1].clone().requires_grad_() for level in pyramid())
    inputs = (first, second, rois()[:, 1:].clone().requires_grad_())
    assert set(roialign.fpn_levels(rois(), [1 / 4, 1 / 8], canonical_size=20, canonical_level=3).tolist()) == {0, 1}
    assert gradcheck(pool, inputs, check_forward_ad=True)
    assert gradgradcheck(pool, inputs)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_every_backend_has_every_derivative(backend: str) -> None:
    def pool(f: Tensor, boxes: Tensor) -> Any:
        return roialign.roi_align(
            f, torch.cat([rois()[:, :1], boxes], dim=1), 2, 1 / 4, sampling="exact", backend=backend
        )

    assert gradcheck(pool, leaves(), check_forward_ad=True)
    assert gradgradcheck(pool, leaves())


@every_operator
def test_forward_mode_is_not_zero_and_right(name: str) -> None:
    f, boxes = features(), rois()[:, 1:]
    function, tangents = of_boxes(name), (values(2, 3, 7, 9, seed=3), values(3, 4, seed=4))
    answer, tangent = torch.func.jvp(function, (f, boxes), tangents)
    assert torch.equal(answer, function(f, boxes))
    step = 1e-6
    ahead, behind = (function(f + h * tangents[0], boxes + h * tangents[1]) for h in (step, -step))
    assert tangent.abs().max() > 0.1
    torch.testing.assert_close(tangent, (ahead - behind) / (2 * step), rtol=1e-6, atol=1e-6)
    for only in ((tangents[0], torch.zeros_like(boxes)), (torch.zeros_like(f), tangents[1])):
        assert torch.func.jvp(function, (f, boxes), only)[1].abs().max() > 0.01


@every_operator
def test_jacobians_by_both_modes_agree(name: str) -> None:
    function = of_boxes(name)
    f, boxes = features(), rois()[:, 1:]
    for argument in (0, 1):
        backward = torch.func.jacrev(function, argnums=argument)(f, boxes)
        forward = torch.func.jacfwd(function, argnums=argument)(f, boxes)
        torch.testing.assert_close(backward, forward, rtol=1e-10, atol=1e-12)
        assert backward.abs().max() > 0.01


@pytest.mark.parametrize("name", ["grid", "exact", "prroi"])
def test_hessian(name: str) -> None:
    """Forward over backward, as torch.func has it, against double backward."""
    function, f = of_boxes(name), features()
    boxes = rois()[:, 1:].clone()

    def loss(b: Tensor) -> Tensor:
        return function(f, b).square().sum()

    by_func = torch.func.hessian(loss)(boxes)
    by_autograd = torch.autograd.functional.hessian(loss, boxes)
    torch.testing.assert_close(by_func, by_autograd, rtol=1e-9, atol=1e-11)
    assert by_func.abs().max() > 0.01


def test_second_derivatives_are_differentiable_in_their_directions() -> None:
    """Of two tangents, each with the other left."""
    setting = Setting(Operator(EXACT, (0.25,)), (2, 3), (2, 1, 4, 5), False)
    moves = [values(3, 5, seed=seed).requires_grad_() for seed in (6, 7)]
    boxes = rois() / torch.tensor([1, 2, 2, 2, 2])

    def forward(f: Tensor, first: Tensor, second: Tensor) -> Any:
        return SEPARABLE.forward(setting, Inputs((f,), None, boxes, None, None, (first, second)))[0]

    def adjoint(g: Tensor, first: Tensor, second: Tensor) -> Any:
        return SEPARABLE.adjoint_features(setting, Inputs((), g, boxes, None, None, (first, second)))[0]

    assert gradcheck(forward, (few_features().requires_grad_(), *moves), check_forward_ad=True)
    assert gradcheck(adjoint, (values(3, 1, 2, 3).requires_grad_(), *moves), check_forward_ad=True)


def test_batched_gradients_of_the_older_kind_are_a_clear_error() -> None:
    f = features().requires_grad_()
    answer = OPERATORS["grid"](f, rois())
    with pytest.raises(NotImplementedError, match=r"use torch\.func\.vmap, jacrev or jacfwd instead"):
        torch.autograd.grad(answer, f, torch.ones(2, *answer.shape).double(), is_grads_batched=True)


def test_the_third_order_in_the_boxes_is_a_clear_error() -> None:
    boxes = rois()[:, 1:].clone()

    def loss(b: Tensor) -> Tensor:
        return of_boxes("exact")(features(), b).square().sum()

    third = torch.func.jacrev(torch.func.jacrev(torch.func.jacrev(loss)))
    with pytest.raises(
        NotImplementedError, match="separable: derivatives with respect to boxes are implemented up to order 2"
    ):
        third(boxes)


def test_at_a_kink_the_slope_is_the_one_to_the_right() -> None:
    """A sample on a pixel centre: its neighbours to the left and to the right rise by 1 and by 4."""
    row = torch.tensor([0.0, 1.0, 5.0], dtype=torch.float64).reshape(1, 1, 1, 3)
    x = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    roialign.bilinear_interpolate(row, x, 0.0).sum().backward()
    assert x.grad is not None
    assert x.grad.item() == 4.0
    assert torch.func.jvp(lambda at: roialign.bilinear_interpolate(row, at, 0.0), (x,), (torch.ones_like(x),))[1] == 4.0
    boxes = torch.tensor([[0.0, 0.0, 2.0, 0.0]], dtype=torch.float64)
    images = torch.zeros(1, 1, dtype=torch.float64)

    def pool(b: Tensor) -> Any:
        return roialign.roi_align(row, torch.cat([images, b], dim=1), 1, 1.0, 1, aligned=False)

    boxes[:, 3] = 1.0  # not shorter than a pixel: the only sample is the middle, x = 1
    slope = torch.func.jacrev(pool)(boxes).flatten()
    assert slope.tolist() == [2.0, 0.0, 2.0, 0.0]


# No work that nobody asked for


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which functions of the family have run."""
    calls: list[str] = []
    for name in ("forward", "adjoint_features", "adjoint_boxes"):
        real = getattr(SeparableFamily, name)

        def spy(*arguments: Any, real: Any = real, name: str = name) -> Any:
            calls.append(name)
            return real(*arguments)

        monkeypatch.setattr(SeparableFamily, name, spy)
    for name in ("forward", "adjoint_features"):
        real = getattr(_core, f"plain_tensor_{name}")

        def spy_if_plain(*arguments: Any, real: Any = real, name: str = name) -> Any:
            answer = real(*arguments)
            if answer is not None:
                calls.append(name)
            return answer

        monkeypatch.setattr(_core, f"plain_tensor_{name}", spy_if_plain)
    return calls


@pytest.mark.parametrize(
    ("of_features", "of_rois", "expected"),
    [
        (False, False, []),
        (True, False, ["adjoint_features"]),
        (False, True, ["adjoint_boxes"]),
        (True, True, ["adjoint_features", "adjoint_boxes"]),
    ],
)
def test_backward_computes_what_was_asked_for(
    of_features: bool, of_rois: bool, expected: list[str], counted: list[str]
) -> None:
    f, boxes = features().requires_grad_(of_features), rois().requires_grad_(of_rois)
    answer = OPERATORS["grid"](f, boxes)
    assert answer.requires_grad == bool(expected)
    if expected:
        answer.sum().backward()
    assert counted == ["forward", *expected]
    assert (f.grad is not None, boxes.grad is not None) == (of_features, of_rois)


def test_a_gradient_of_the_features_alone_keeps_no_features() -> None:
    f = features().requires_grad_()
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        OPERATORS["grid"](f, rois())
    assert [tuple(tensor.shape) for tensor in kept] == [(3, 5)]


def test_forward_mode_computes_what_moves(counted: list[str]) -> None:
    f, r = features(), rois()
    torch.func.jvp(lambda f: OPERATORS["grid"](f, r), (f,), (f,))
    assert counted == ["forward"] * 2
    counted.clear()
    torch.func.jvp(lambda f, r: OPERATORS["grid"](f, r), (f, r), (f, r))
    assert counted == ["forward"] * 3


def test_double_backward_through_one_level_of_two() -> None:
    """The gradient of the other level is used by nobody."""
    first, second = (level.requires_grad_() for level in pyramid())
    weight = values(3, 3, 2, 3, seed=2).requires_grad_()
    answer = (multiscale([first, second], rois()) * weight).sum()
    gradients = torch.autograd.grad(answer, (first, second), create_graph=True)
    (of_weight,) = torch.autograd.grad(gradients[1].square().sum(), weight)
    on_second = roialign.fpn_levels(rois(), [1 / 4, 1 / 8], canonical_size=20, canonical_level=3) == 1
    assert [bool(row.any()) for row in of_weight] == on_second.tolist()


def test_levels_that_need_no_gradient_get_none() -> None:
    first, second = pyramid()
    second.requires_grad_()
    multiscale([first, second], rois()).sum().backward()
    assert first.grad is None
    assert second.grad is not None
    assert second.grad.abs().max() > 0


def test_the_answer_of_each_primitive_is_its_own_memory() -> None:
    """So that in-place operations after it are safe."""
    f = features().requires_grad_()
    answer = OPERATORS["grid"](f, rois())
    answer.mul_(2).sum().backward()
    doubled, f.grad = f.grad, None
    OPERATORS["grid"](f, rois()).sum().backward()
    assert doubled is not None
    torch.testing.assert_close(doubled, 2 * f.grad)  # type: ignore[operator]
    assert SEPARABLE.forward.name == "separable_forward"
