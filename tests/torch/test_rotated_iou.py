"""Overlaps and suppression of rotated boxes as tensors: derivatives, transforms, compiling, devices, errors."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx

import roialign
from roialign._rotated_boxes import Comparison
from roialign.torch import rotated_tables
from tests.tables.turned_pairs import diamonds, lattice_boxes, random_boxes

PAIRED = pytest.mark.parametrize("paired", [False, True], ids=["all", "paired"])


def boxes_of(count: int, seed: int, extent: float = 3.0) -> Tensor:
    return torch.from_numpy(random_boxes(count, seed, extent=extent))


def overlaps_of(paired: bool, clockwise: bool = False) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda boxes, others: roialign.rotated_iou(boxes, others, paired=paired, clockwise=clockwise)


# Values


@PAIRED
@pytest.mark.parametrize("clockwise", [False, True])
@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_tensors_are_as_arrays(paired: bool, clockwise: bool, backend: Any) -> None:
    boxes, others = boxes_of(20, 0), boxes_of(20, 1)
    options: Any = {"paired": paired, "clockwise": clockwise, "backend": backend}
    expected = roialign.rotated_iou(boxes.numpy(), others.numpy(), **options)
    assert np.array_equal(roialign.rotated_iou(boxes, others, **options).numpy(), expected)
    weights = torch.rand(expected.shape, dtype=torch.float64)
    grads = roialign.rotated_iou_backward(weights, boxes, others, **options)
    wanted = roialign.rotated_iou_backward(weights.numpy(), boxes.numpy(), others.numpy(), **options)
    for grad, array in zip(grads, wanted, strict=True):
        assert grad is not None
        assert np.array_equal(grad.numpy(), array)  # type: ignore[arg-type]
    leaf, other_leaf = boxes.clone().requires_grad_(), others.clone().requires_grad_()
    (roialign.rotated_iou(leaf, other_leaf, **options) * weights).sum().backward()
    assert leaf.grad is not None
    assert torch.equal(leaf.grad, grads[0])  # type: ignore[arg-type]
    assert torch.equal(other_leaf.grad, grads[1])  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.int64])
@PAIRED
def test_types(dtype: torch.dtype, paired: bool) -> None:
    boxes, others = (boxes_of(200, seed) * 3 for seed in (0, 1))
    boxes, others = boxes.to(dtype), others.to(dtype)
    floating = dtype if dtype.is_floating_point else torch.float64
    exact = roialign.rotated_iou(boxes.double(), others.double(), paired=paired)
    found = roialign.rotated_iou(boxes, others, paired=paired)
    assert found.dtype == floating
    # NumPy rounds to float16 once, and torch by way of float32.
    rounded = torch.from_numpy(exact.numpy().astype(np.float16)) if dtype == torch.float16 else exact.to(floating)
    assert torch.equal(found, rounded)
    grads = roialign.rotated_iou_backward(torch.ones_like(found), boxes, others, paired=paired)
    assert [grad.dtype for grad in grads if grad is not None] == [floating, floating]


def test_a_loss_of_float32_boxes() -> None:
    """Gradient descent on 1 - IoU turns a box onto another one."""
    target = torch.tensor([[20.0, 30.0, 12.0, 5.0, 0.6]])
    box = torch.tensor([[18.0, 31.0, 9.0, 7.0, 0.0]], requires_grad=True)
    optimiser = torch.optim.Adam([box], 0.05)
    for _ in range(300):
        optimiser.zero_grad()
        loss = 1 - roialign.rotated_iou(box, target, paired=True).sum()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.05


SETS = {
    "random": (random_boxes(40, 0), random_boxes(50, 1)),
    "thin": (random_boxes(40, 2, 1e-5, 1e2), random_boxes(50, 3, 1e-5, 1e2)),
    "lattice": (lattice_boxes(40, 4), lattice_boxes(50, 5)),
    "diamonds": (lattice_boxes(40, 6), diamonds(50, 7)),
}
every_set = pytest.mark.parametrize("name", SETS)


@every_set
@PAIRED
def test_the_formula_for_cuda_devices(name: str, paired: bool) -> None:
    """It needs no GPU, so it is called with tensors on the CPU."""
    boxes, others = SETS[name]
    first, second = torch.from_numpy(boxes), torch.from_numpy(others[:40] if paired else others)
    comparison = Comparison(paired)
    expected = roialign.rotated_iou(first, second, paired=paired)
    torch.testing.assert_close(rotated_tables.rotated_iou(first, second, comparison), expected, rtol=0, atol=1e-13)
    weights = torch.from_numpy(np.random.default_rng(0).standard_normal(tuple(expected.shape)))
    grads = rotated_tables.rotated_iou_backward(weights, first, second, comparison)
    for grad, wanted in zip(grads, roialign.rotated_iou_backward(weights, first, second, paired=paired), strict=True):
        assert wanted is not None
        torch.testing.assert_close(grad, wanted, rtol=1e-9, atol=1e-9 * wanted.abs().max().item())


def test_equal_boxes_have_exactly_one_unless_areas_underflow() -> None:
    boxes, ones = torch.from_numpy(random_boxes(300, 10, 1e-150, 1e100)), torch.ones(300, dtype=torch.float64)
    assert torch.equal(roialign.rotated_iou(boxes, boxes, paired=True), ones)
    formula = rotated_tables.rotated_iou(boxes, boxes, Comparison(True))
    torch.testing.assert_close(formula, ones, rtol=0, atol=1e-14)  # the docstring says "up to rounding"
    boxes[:, 2:4] = 1e-200
    assert not rotated_tables.rotated_iou(boxes, boxes, Comparison(True)).any()


def test_the_formula_works_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes, others, weights = boxes_of(30, 0), boxes_of(7, 1), torch.rand(30, 7, dtype=torch.float64)
    expected = rotated_tables.rotated_iou(boxes, others, Comparison())
    grads = rotated_tables.rotated_iou_backward(weights, boxes, others, Comparison())
    monkeypatch.setattr(rotated_tables, "COMPARED", 21)
    assert torch.equal(rotated_tables.rotated_iou(boxes, others, Comparison()), expected)
    for grad, wanted in zip(
        rotated_tables.rotated_iou_backward(weights, boxes, others, Comparison()), grads, strict=True
    ):
        torch.testing.assert_close(grad, wanted, rtol=1e-13, atol=1e-13)


def test_the_formula_with_invalid_boxes() -> None:
    boxes, others = boxes_of(4, 0), boxes_of(5, 1)
    bad = boxes.clone()
    bad[1, 4], bad[2, 3] = math.nan, -1.0
    expected = roialign.rotated_iou(boxes, others)
    expected[1:3] = 0
    torch.testing.assert_close(rotated_tables.rotated_iou(bad, others, Comparison()), expected, rtol=0, atol=1e-14)
    grads = rotated_tables.rotated_iou_backward(torch.ones(4, 5), bad, others, Comparison())
    assert torch.isfinite(torch.cat(grads)).all()
    with pytest.raises(ValueError, match=r"boxes\[1\]: expected finite numbers"):
        rotated_tables.rotated_iou(bad, others, Comparison(invalid="raise"))


# Derivatives and transforms


@every_set
@PAIRED
def test_transforms_have_the_derivatives_of_the_core(name: str, paired: bool) -> None:
    """Also where corners of a box lie on sides of the other one, or sides of both on one line."""
    boxes, others = SETS[name]
    first, second = torch.from_numpy(boxes), torch.from_numpy(others[:40] if paired else others)
    overlaps, pull = torch.func.vjp(overlaps_of(paired), first, second)
    weights = torch.from_numpy(np.random.default_rng(0).standard_normal(tuple(overlaps.shape)))
    wanted = roialign.rotated_iou_backward(weights, first, second, paired=paired)
    directions = tuple(torch.from_numpy(np.random.default_rng(1).standard_normal(one.shape)) for one in (boxes, others))
    directions = directions[0], directions[1][: len(second)]
    slope = torch.func.jvp(overlaps_of(paired), (first, second), directions)[1]
    along = sum((grad * direction).sum() for grad, direction in zip(wanted, directions, strict=True))  # type: ignore[operator]
    largest = max(grad.abs().max().item() for grad in wanted if grad is not None)
    torch.testing.assert_close((slope * weights).sum(), along, rtol=1e-9, atol=1e-9 * largest)
    for grad, right in zip(pull(weights), wanted, strict=True):
        torch.testing.assert_close(grad, right, rtol=1e-9, atol=1e-9 * largest)


@pytest.mark.parametrize(("paired", "clockwise"), [(False, False), (True, True)])
def test_derivatives(paired: bool, clockwise: bool) -> None:
    inputs = boxes_of(2, 0, 1.5).requires_grad_(), boxes_of(2 if paired else 1, 1, 1.5).requires_grad_()
    function = overlaps_of(paired, clockwise)
    assert torch.autograd.gradcheck(function, inputs, check_forward_ad=True, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(function, inputs)
    weights = torch.rand((2,) if paired else (2, 1), dtype=torch.float64, requires_grad=True)

    def gradient(weights: Tensor, boxes: Tensor, others: Tensor) -> Any:
        return roialign.rotated_iou_backward(weights, boxes, others, paired=paired, clockwise=clockwise)

    assert torch.autograd.gradcheck(gradient, (weights, *inputs), check_forward_ad=True)


@PAIRED
def test_transforms(paired: bool) -> None:
    boxes, others, function = boxes_of(4, 0), boxes_of(4, 1), overlaps_of(paired)
    reverse, forward = (mode(function, (0, 1))(boxes, others) for mode in (torch.func.jacrev, torch.func.jacfwd))
    for one, other in zip(reverse, forward, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    leaf = boxes.clone().requires_grad_()
    by_rows = torch.autograd.functional.jacobian(lambda boxes: function(boxes, others), leaf)
    torch.testing.assert_close(reverse[0], by_rows, rtol=1e-12, atol=1e-12)

    def total(boxes: Tensor) -> Tensor:
        return function(boxes, others).square().sum()

    hessian = torch.autograd.functional.hessian(total, boxes)
    torch.testing.assert_close(torch.func.hessian(total)(boxes), hessian, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(torch.func.jacrev(torch.func.grad(total))(boxes), hessian, rtol=1e-10, atol=1e-10)


@PAIRED
def test_vmap(paired: bool) -> None:
    batch, others, function = torch.stack([boxes_of(4, seed) for seed in range(3)]), boxes_of(4, 9), overlaps_of(paired)
    expected = torch.stack([function(boxes, others) for boxes in batch])
    torch.testing.assert_close(torch.vmap(function, (0, None))(batch, others), expected, rtol=0, atol=1e-14)
    batch[1, 2, 0] = math.nan
    with pytest.raises(ValueError, match=r"boxes\[2\]: expected finite numbers.*\(member 1 of torch.vmap's batch\)"):
        torch.vmap(function, (0, None))(batch, others)


@PAIRED
def test_vmap_with_symbolic_sizes(paired: bool) -> None:
    batch, others = torch.stack([boxes_of(4, seed) for seed in range(2)]), boxes_of(4, 9)
    function = torch.vmap(overlaps_of(paired), (0, None))
    traced = make_fx(function, tracing_mode="symbolic")(batch, others)
    torch.testing.assert_close(traced(batch, others), function(batch, others))


def test_vmap_of_suppression() -> None:
    near = torch.tensor([[9.0, 9, 8, 4, 0], [9, 9, 8, 4, 0.1], [30, 30, 4, 4, 0]])
    boxes, scores = torch.stack([near, near.flip(0)]), torch.tensor([[0.5, 0.75, 0.2], [0.2, 0.75, 0.5]])
    groups = torch.tensor([0, 1, 0])

    def kept(boxes: Tensor, scores: Tensor, groups: Tensor | None = None) -> Tensor:
        return roialign.rotated_nms(boxes, scores, 0.5, groups)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.vmap(kept)(boxes, scores).tolist() == [[1, 2], [1, 0]]
    assert torch.vmap(kept, (0, 0, None))(boxes, scores, groups).tolist() == [[1, 0, 2], [1, 2, 0]]
    assert torch.vmap(kept)(boxes[:0], scores[:0]).shape == (0, 3)
    assert torch.vmap(kept)(boxes[:, :0], scores[:, :0]).shape == (2, 0)
    boxes[1, :, 0] = torch.tensor([0.0, 100, 200])
    with pytest.raises(ValueError, match="every member keeps the same number of boxes, got from 2 to 3 kept boxes"):
        torch.vmap(kept)(boxes, scores)
    boxes[1, 2, 3] = -1
    with pytest.raises(ValueError, match=r"boxes\[2\]: expected a width and .*\(member 1 of torch.vmap's batch"):
        torch.vmap(kept)(boxes, scores)


@PAIRED
def test_compiled(paired: bool) -> None:
    torch._dynamo.reset()
    function = overlaps_of(paired)
    program = torch.compile(function, fullgraph=True, dynamic=True, backend="aot_eager")
    for count in (4, 7):
        pair = boxes_of(count, 0).requires_grad_(), boxes_of(count, 1)
        weights = torch.rand((count,) if paired else (count, count), dtype=torch.float64)
        grads = [torch.autograd.grad((call(*pair) * weights).sum(), pair[0])[0] for call in (program, function)]
        assert torch.equal(program(*pair), function(*pair))
        assert torch.equal(*grads)


def test_compiled_suppression() -> None:
    torch._dynamo.reset()
    program = torch.compile(lambda *given: roialign.rotated_nms(*given, 0.2), fullgraph=True, backend="aot_eager")
    boxes, scores = boxes_of(30, 0), torch.rand(30)
    assert torch.equal(program(boxes, scores), roialign.rotated_nms(boxes, scores, 0.2))


def test_exported() -> None:
    class Suppressing(torch.nn.Module):
        def forward(self, boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
            return roialign.rotated_nms(boxes, scores, 0.2), roialign.rotated_iou(boxes, boxes)

    dynamic = {0: torch.export.Dim.DYNAMIC}
    arguments = boxes_of(9, 0), torch.rand(9)
    program = torch.export.export(Suppressing(), arguments, dynamic_shapes=(dynamic, dynamic)).module()
    others = boxes_of(30, 1), torch.rand(30)
    for one, other in zip(program(*others), Suppressing()(*others), strict=True):
        assert torch.equal(one, other)


@pytest.mark.slow
@PAIRED
def test_custom_ops_are_as_torch_wants_them(paired: bool) -> None:
    shape = (4,) if paired else (4, 4)
    pair, setting = (boxes_of(4, 0).requires_grad_(), boxes_of(4, 1).float()), (paired, True, "", "")
    torch.library.opcheck(torch.ops.roialign.rotated_iou.default, (*pair, *setting))
    torch.library.opcheck(torch.ops.roialign.rotated_iou_backward.default, (torch.ones(shape), *pair, *setting))


def test_meta_tensors_have_shapes() -> None:
    boxes = torch.empty(3, 5, device="meta")
    assert roialign.rotated_iou(boxes, boxes[:2]).shape == (3, 2)
    assert roialign.rotated_iou(boxes, boxes, paired=True).shape == (3,)


def test_lazy_negation_is_resolved() -> None:
    boxes = boxes_of(5, 0)
    negated = torch.complex(boxes, boxes).conj().imag
    assert negated.is_neg()
    moved = torch.cat([negated[:, :2], boxes[:, 2:]], dim=1)
    assert torch.equal(roialign.rotated_iou(moved, moved), roialign.rotated_iou(moved.clone(), moved.clone()))


def test_forward_mode_sees_invalid_boxes() -> None:
    boxes = boxes_of(3, 0)
    boxes[1, 2] = -1
    with forward_ad.dual_level(), pytest.raises(ValueError, match=r"boxes\[1\]: expected a width and a height"):
        roialign.rotated_iou(forward_ad.make_dual(boxes, torch.ones_like(boxes)), boxes_of(3, 1))


# Suppression and errors


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_suppression_is_as_for_arrays(dtype: torch.dtype) -> None:
    boxes, scores, groups = boxes_of(200, 0, 8.0).to(dtype), torch.rand(200).to(dtype), torch.randint(0, 3, (200,))
    kept = roialign.rotated_nms(boxes, scores, 0.2, groups, clockwise=True)
    arrays = boxes.double().numpy(), scores.double().numpy(), 0.2, groups.numpy()
    assert kept.tolist() == roialign.rotated_nms(*arrays, clockwise=True).tolist()
    assert kept.tolist() == roialign.rotated_nms(*arrays, clockwise=True, backend="reference").tolist()


GOOD = boxes_of(3, 0)
ERRORS: dict[str, tuple[Callable[[], Any], str]] = {
    "array": (lambda: roialign.rotated_iou(GOOD, GOOD.numpy()), r"others: expected a torch.Tensor, like boxes, got"),  # type: ignore[type-var]
    "first": (lambda: roialign.rotated_iou(GOOD.tolist(), GOOD), r"boxes: expected a torch.Tensor, like others, got"),  # type: ignore[type-var]
    "device": (lambda: roialign.rotated_iou(GOOD, GOOD.to("meta")), r"others: expected the device of boxes, cpu, got"),
    "shape": (lambda: roialign.rotated_iou(GOOD, GOOD[:, :4]), r"others: expected shape \[M, 5\], got \(3, 4\)"),
    "bool": (lambda: roialign.rotated_iou(GOOD, GOOD > 0), r"others: expected a real dtype"),
    "grad": (
        lambda: roialign.rotated_iou_backward(torch.ones(3), GOOD, GOOD),
        r"grad_output: expected shape \(3, 3\), got \(3,\)",
    ),
    "scores": (lambda: roialign.rotated_nms(GOOD, torch.ones(2), 0.5), r"scores: expected shape \[3\]"),
    "nan": (lambda: roialign.rotated_nms(GOOD, torch.full((3,), math.nan), 0.5), r"scores\[0\]: expected a number"),
    "groups": (lambda: roialign.rotated_nms(GOOD, torch.ones(3), 0.5, torch.ones(3)), r"groups: expected an integer"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    call, message = ERRORS[name]
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def test_third_derivatives_of_pairs() -> None:
    box, other = boxes_of(3, 0).requires_grad_(), boxes_of(3, 1)
    value = roialign.rotated_iou(box, other, paired=True).sum()
    for _ in range(2):
        (gradient,) = torch.autograd.grad(value, box, create_graph=True)
        value = gradient.square().sum()
    assert torch.isfinite(value)
