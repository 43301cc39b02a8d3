"""`install` on a stand-in for torchvision with the same operators; `make test-peers` runs it on the real one."""

from __future__ import annotations

from textwrap import dedent

from tests.tables.python import run_python

#: torchvision's schemas. Its kernels answer -1, so that it shows who answered.
STAND_IN = """
import sys, types
import torch

sys.modules["torchvision"] = types.ModuleType("torchvision")
definitions = torch.library.Library("torchvision", "DEF")
definitions.define(
    "roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width, "
    "int sampling_ratio, bool aligned) -> Tensor"
)
definitions.define(
    "_roi_align_backward(Tensor grad, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width, "
    "SymInt batch_size, SymInt channels, SymInt height, SymInt width, int sampling_ratio, bool aligned) -> Tensor"
)
for name in ("roi_align", "_roi_align_backward"):
    definitions.impl(name, lambda *arguments: torch.full((1,), -1.0), "CompositeExplicitAutograd")

class Differentiable(torch.autograd.Function):
    # As torchvision's: to the features only.
    @staticmethod
    def forward(ctx, x, b, *options):
        ctx.rest = (b, *options[:3], *x.shape, *options[3:])
        with torch._C._AutoDispatchBelowAutograd():
            return torch.ops.torchvision.roi_align(x, b, *options)

    @staticmethod
    def backward(ctx, grad):
        return torch.ops.torchvision._roi_align_backward(grad, *ctx.rest), *[None] * 6

definitions.impl("roi_align", lambda *arguments: Differentiable.apply(*arguments), "Autograd")

import roialign
from roialign.compat.torchvision import install, installed, uninstall

features = torch.arange(96.0, dtype=torch.float64).reshape(2, 1, 6, 8)
rois = torch.tensor([[1, 2.0, 3.0, 9.0, 8.0], [0, 1.5, 2.0, 4.0, 10.0]], dtype=torch.float64)
expected = roialign.roi_align(features, rois, (3, 2), 0.5, aligned=False)

def answer(x=features, b=rois):
    return torch.ops.torchvision.roi_align(x, b, 0.5, 3, 2, -1, False)

def is_ours():
    return answer().shape == expected.shape and torch.equal(answer(), expected)
"""


def run(script: str) -> str:
    return run_python(STAND_IN + dedent(script))


def test_errors_name_the_arguments_of_torchvision() -> None:
    run("""
    install()
    for x, b, text in (
        (features[0], rois, "input: expected 4 dimensions"),
        (features, rois + 5, "boxes[0]: expected an integer batch index"),
    ):
        try:
            answer(x, b)
        except ValueError as error:
            assert str(error).startswith(text), error
        else:
            raise AssertionError("no error")
    """)


def test_transforms_of_functions() -> None:
    run("""
    weights = torch.linspace(1, 2, expected.numel(), dtype=torch.float64).reshape(expected.shape)

    def total(x, b):
        return (answer(x, b) * weights).sum()

    def total_of_ours(x, b):
        return (roialign.roi_align(x, b, (3, 2), 0.5, aligned=False) * weights).sum()

    install()
    moved = torch.ones_like(features), torch.full_like(rois, 0.5)
    for transform in (
        lambda f: torch.func.grad(f, (0, 1))(features, rois),
        lambda f: torch.func.jacrev(f)(features, rois),
        lambda f: torch.func.jacfwd(f)(features, rois),
        lambda f: torch.func.jvp(f, (features, rois), moved),
        lambda f: torch.func.hessian(f, 1)(features, rois),
        lambda f: torch.vmap(f, (0, None))(torch.stack([features, 2 * features]), rois),
    ):
        torch.testing.assert_close(transform(total), transform(total_of_ours), rtol=0, atol=0)
    uninstall()
    assert torch.vmap(answer, (None, 0))(features, rois[None]).eq(-1).all()
    """)


def test_install_and_uninstall() -> None:
    run("""
    assert not is_ours()
    install()
    assert is_ours()
    install()
    assert is_ours()
    uninstall()
    assert not is_ours()
    uninstall()
    with installed():
        assert is_ours()
    assert not is_ours()
    install()
    with installed():
        assert is_ours()
    assert is_ours(), "the installation outside the block stays"
    """)


def test_installed_is_undone_by_an_error() -> None:
    run("""
    try:
        with installed():
            assert is_ours()
            raise KeyError
    except KeyError:
        pass
    assert not is_ours()
    """)


def test_every_gradient_and_every_mode() -> None:
    run("""
    x, b = features.clone().requires_grad_(), rois.clone().requires_grad_()
    by_function = torch.autograd.grad(roialign.roi_align(x, b, (3, 2), 0.5, aligned=False).pow(2).sum(), (x, b))
    with installed():
        by_operator = torch.autograd.grad(answer(x, b).pow(2).sum(), (x, b))
        assert all(torch.equal(*pair) for pair in zip(by_function, by_operator))
        assert by_operator[1].abs().max() > 0
        with torch.no_grad():
            assert torch.equal(answer(x, b), expected)
        with torch.inference_mode():
            assert torch.equal(answer(features.clone(), rois.clone()), expected)
        grad = torch.ones(2, 1, 3, 2, dtype=torch.float64)
        direct = torch.ops.torchvision._roi_align_backward(grad, rois, 0.5, 3, 2, 2, 1, 6, 8, -1, False)
        (gradient,) = torch.autograd.grad(answer(x, rois).sum(), x)
        assert torch.equal(direct, gradient)
    """)


def test_quantised_maps_are_pooled_as_torchvision_does() -> None:
    """Computed in float and quantised as the map is; of one image, whatever the rows say."""
    run("""
    import warnings
    warnings.simplefilter("ignore")
    one = torch.quantize_per_tensor(features[1:].float(), 0.5, 3, torch.quint8)
    rows = torch.quantize_per_tensor(rois.float(), 0.5, 0, torch.quint8)
    plain = rows.dequantize()
    plain[:, 0] = 0
    wanted = roialign.roi_align(one.dequantize(), plain, (3, 2), 0.5, aligned=False)
    wanted = torch.quantize_per_tensor(wanted, 0.5, 3, torch.quint8)
    assert wanted.int_repr().max() > 50
    with installed():
        got = answer(one, rows)
        assert got.q_scale() == 0.5 and got.q_zero_point() == 3 and torch.equal(got.int_repr(), wanted.int_repr())
        try:
            answer(torch.quantize_per_tensor(features.float(), 0.5, 3, torch.quint8), rows)
        except RuntimeError as error:
            assert "Only one image per batch is allowed" in str(error)
        else:
            raise AssertionError("rows that cannot say which image passed")
    """)


def test_bad_boxes_are_an_error_in_an_installed_process() -> None:
    run("""
    wrong = rois.clone()
    wrong[0, 2] = float("nan")
    with installed():
        try:
            answer(b=wrong)
        except ValueError as error:
            assert "boxes[0]: expected finite coordinates" in str(error)
        else:
            raise AssertionError("a NaN passed")
    """)


def test_without_torchvision() -> None:
    run_python("""
    import sys
    sys.modules["torchvision"] = None
    from roialign.compat.torchvision import install, uninstall
    uninstall()
    try:
        install()
    except ImportError:
        pass
    else:
        raise AssertionError("installed into nothing")
    """)
