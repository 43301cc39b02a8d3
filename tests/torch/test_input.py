"""What comes in and what goes out: formats, dtypes, autocast, nothing at all, strides, buffers, modes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import roialign
from roialign.torch import memory
from tests.tables.tensors import DTYPES, OPERATORS, SCALES, features, multiscale, pyramid, rois, values

every_dtype = pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)


def pool(f: Any, r: Any, **more: Any) -> Any:
    return roialign.roi_align(f, r, (2, 3), 1 / 4, 2, **more)


# The same as from NumPy

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "roi_align": pool,
    "twin": lambda f, r, **more: roialign.roi_align_backward(more.pop("ones")(3, 3, 2, 3), f, r, 1 / 4, **more),
    "prroi_pool": lambda f, r, **more: roialign.prroi_pool(f, r, 2, 1 / 4, **more),
    "multiscale": lambda f, r, **more: roialign.multiscale_roi_align([f, f[:, :, :4, :5]], r, 2, SCALES, **more),
    "fpn_levels": lambda _, r, **__: roialign.fpn_levels(r, SCALES, canonical_size=20, canonical_level=3),
    "crop_and_resize": lambda f, r, **more: roialign.crop_and_resize(
        f,
        r[:, 1:] / 40,
        r[:, 0].astype(int) if isinstance(r, np.ndarray) else r[:, 0].long(),
        3,
        "bilinear",
        2.5,
        **more,
    ),
    "bilinear_interpolate": lambda f, r, **more: roialign.bilinear_interpolate(f, r[:, :1] + 1.5, r[:, 2], **more),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_the_bits_of_numpy(name: str, dtype: torch.dtype, backend: str) -> None:
    f, r = features().to(dtype), rois().float()
    if name == "crop_and_resize":
        f = f.permute(0, 2, 3, 1)
    twins: tuple[dict[str, Any], dict[str, Any]] = ({"backend": backend}, {"backend": backend})
    if name == "twin":
        twins[0]["ones"] = lambda *shape: torch.ones(shape, dtype=dtype)
        twins[1]["ones"] = lambda *shape: np.ones(shape, dtype=f.numpy().dtype)
    seen = FUNCTIONS[name](f, r, **twins[0])
    right = FUNCTIONS[name](f.numpy(), r.numpy(), **twins[1])
    for answer, expected in zip(*((a if isinstance(a, tuple) else (a,)) for a in (seen, right)), strict=True):
        assert answer.numpy().dtype == expected.dtype
        np.testing.assert_array_equal(answer.numpy(), expected)


# Memory formats


@every_dtype
def test_channels_last_in_channels_last_out(dtype: torch.dtype) -> None:
    r = rois()
    for layout in (torch.contiguous_format, torch.channels_last):
        f = features().to(dtype).contiguous(memory_format=layout).requires_grad_()
        answer = pool(f, r)
        assert answer.is_contiguous(memory_format=layout)
        answer.float().sum().backward()
        assert f.grad is not None
        assert f.grad.is_contiguous(memory_format=layout)


def test_nhwc() -> None:
    f = features()
    right = pool(f, rois())
    for view in (f.permute(0, 2, 3, 1), f.permute(0, 2, 3, 1).contiguous()):
        nhwc = view.requires_grad_()
        answer = pool(nhwc, rois(), layout="NHWC")
        torch.testing.assert_close(answer, right.permute(0, 2, 3, 1), rtol=1e-12, atol=1e-12)
        (gradient,) = torch.autograd.grad(answer.square().sum(), nhwc)
        assert gradient.shape == nhwc.shape
        assert gradient.stride() == nhwc.stride()


def test_of_one_channel_or_one_pixel_the_format_is_torchs() -> None:
    for shape in ((2, 1, 4, 4), (2, 3, 1, 1)):
        assert pool(values(*shape), rois()).is_contiguous()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@every_dtype
def test_large_answers_start_on_a_cache_line(layout: torch.memory_format, dtype: torch.dtype) -> None:
    """They come from the pool, which asks for huge pages."""
    like = torch.empty(0, dtype=dtype)
    shape = (3, 64, 160, 170)
    large = memory.empty(shape, layout == torch.channels_last, like)
    assert large.numel() * large.element_size() >= memory.POOLED_BYTES
    assert large.shape == shape
    assert large.dtype == dtype
    assert large.is_contiguous(memory_format=layout)
    assert large.data_ptr() % 64 == 0
    large.fill_(1)
    assert large.sum(dtype=torch.float64) == large.numel()
    assert "hg" in flags_of_memory(large.data_ptr() + large.numel() * large.element_size() // 2)


def flags_of_memory(address: int) -> list[str]:
    """What Linux says of the pages of this process there: "hg" where huge ones were asked for."""
    here = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        region = re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line)
        if region:
            here = int(region[1], 16) <= address < int(region[2], 16)
        elif here and line.startswith("VmFlags:"):
            return line.split()[1:]
    raise AssertionError(f"{address:#x} is not mapped")


def test_large_answers_and_gradients_are_right() -> None:
    f = torch.rand(1, 96, 128, 128, requires_grad=True)
    r = torch.tensor([[0, 3.0, 5.0, 200.0, 310.0]]).repeat(300, 1)
    answer = roialign.roi_align(f, r, 7, 1 / 4, 2)
    assert answer.numel() * 4 > memory.POOLED_BYTES
    assert torch.equal(answer[0], roialign.roi_align(f, r[:1], 7, 1 / 4, 2)[0])
    answer.sum().backward()
    assert f.grad is not None
    torch.testing.assert_close(f.grad.sum(), torch.tensor(300 * 96 * 49.0), rtol=1e-4, atol=0)


# Dtypes


@every_dtype
@pytest.mark.parametrize("box_dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int32])
def test_features_and_boxes_of_any_two_dtypes(dtype: torch.dtype, box_dtype: torch.dtype) -> None:
    f, r = features().to(dtype).requires_grad_(), rois().round().to(box_dtype)
    if r.is_floating_point():
        r.requires_grad_()
    answer = pool(f, r)
    assert answer.dtype == dtype
    assert torch.equal(answer, pool(f, r.double()))
    answer.float().square().sum().backward()
    assert f.grad is not None
    assert f.grad.dtype == dtype
    if r.requires_grad:
        assert r.grad is not None
        assert r.grad.dtype == box_dtype
        assert r.grad[:, 1:].abs().max() > 0


def test_a_list_may_mix_dtypes() -> None:
    per_image = [rois()[:1, 1:].float().requires_grad_(), rois()[1:, 1:].requires_grad_()]
    pool(features(), per_image).square().sum().backward()
    for boxes in per_image:
        assert boxes.grad is not None
        assert boxes.grad.dtype == boxes.dtype
        assert boxes.grad.abs().max() > 0


@every_dtype
def test_coordinates_are_not_rounded_to_the_features(dtype: torch.dtype) -> None:
    row = torch.zeros(1, 1, 1, 4000, dtype=dtype)
    row[..., 3000] = 1
    box = torch.tensor([[0, 3000.3, 0, 3000.3, 0]], dtype=torch.float64)
    assert abs(roialign.roi_align(row, box, 1, 1.0, 1, aligned=False).item() - 0.2) < 1e-3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_leaves_boxes_alone_and_takes_mixed_levels(dtype: torch.dtype) -> None:
    """Maps as autocast makes them: some of a half type, some not; the widest holds them all."""
    first, second = pyramid()
    first, second, boxes = first.float(), second.float(), rois().float().requires_grad_()
    convolution = torch.nn.Conv2d(3, 3, 1)
    with torch.autocast("cpu", dtype=dtype):
        halved = convolution(first)
        assert halved.dtype == dtype
        answer = pool(halved, boxes)
        assert answer.dtype == dtype
        assert torch.equal(answer, pool(halved, boxes.double()))
        assert pool(first, boxes).dtype == torch.float32
        mixed = multiscale([halved, second], boxes)
        assert mixed.dtype == torch.float32
        answer.float().sum().backward()
    assert boxes.grad is not None
    assert boxes.grad.dtype == torch.float32
    assert convolution.weight.grad is not None
    with pytest.raises(TypeError, match=r"features\[1\]: expected the dtype of features\[0\]"):
        multiscale([halved, second], boxes)


# Nothing


@every_dtype
def test_no_boxes(dtype: torch.dtype) -> None:
    f = features().to(dtype).requires_grad_()
    none: list[Any] = [torch.zeros(0, 5), [torch.zeros(0, 4), torch.zeros(0, 4)], []]
    for r in none:
        answer = pool(f, r)
        assert answer.shape == (0, 3, 2, 3)
        (gradient,) = torch.autograd.grad(answer.sum(), f)
        assert not gradient.any()
    nobody = values(0, 3, 4, 4).to(dtype).requires_grad_()
    assert torch.autograd.grad(pool(nobody, torch.zeros(0, 5)).sum(), nobody)[0].shape == (0, 3, 4, 4)
    assert pool(nobody, []).shape == (0, 3, 2, 3)
    boxes = torch.zeros(0, 5, requires_grad=True)
    assert torch.autograd.grad(pool(f, boxes).sum(), boxes)[0].shape == (0, 5)
    assert roialign.fpn_levels(torch.zeros(0, 4), SCALES).shape == (0,)


def test_no_channels() -> None:
    f = features()[:, :0].requires_grad_()
    assert pool(f, rois()).shape == (3, 0, 2, 3)
    assert torch.autograd.grad(pool(f, rois()).sum(), f)[0].shape == f.shape


def test_coordinates_given_as_numbers_are_float64() -> None:
    ramp = torch.arange(81, dtype=torch.float64).view(9, 9)
    for x in (2.1, [2.1], [[2.1, 0.1]]):
        answer = roialign.bilinear_interpolate(ramp, x, 2.1)
        np.testing.assert_array_equal(answer.numpy(), roialign.bilinear_interpolate(ramp.numpy(), x, 2.1))
    far = torch.arange(2**24 + 5, dtype=torch.float64).view(1, -1)
    assert roialign.bilinear_interpolate(far, 2.0**24 + 1, 0) == 2**24 + 1


def test_coordinates_with_a_lazy_sign() -> None:
    ramp, x = torch.arange(81, dtype=torch.float64).view(9, 9), torch.tensor([2.25, 3.5], dtype=torch.float64)
    answer = roialign.bilinear_interpolate(ramp, torch._neg_view(-x), x)
    assert torch.equal(answer, roialign.bilinear_interpolate(ramp, x, x))


# Buffers


def test_out_is_written_and_returned() -> None:
    right = pool(features(), rois())
    for out in (
        torch.full((3, 3, 2, 3), np.nan, dtype=torch.float64),
        torch.full((3, 3, 4, 6), np.nan).double()[..., ::2, ::2],
    ):
        assert pool(features(), rois(), out=out) is out
        assert torch.equal(out, right)
    nhwc = torch.empty(3, 2, 3, 3, dtype=torch.float64)
    pool(features().permute(0, 2, 3, 1), rois(), layout="NHWC", out=nhwc)
    assert torch.equal(nhwc.permute(0, 3, 1, 2), right)


@pytest.mark.parametrize(
    ("out", "error", "text"),
    [
        (np.zeros((3, 3, 2, 3)), TypeError, "out: expected a torch.Tensor, like features, got numpy.ndarray"),
        (torch.zeros(3, 3, 3, 2), ValueError, r"out: expected shape \(3, 3, 2, 3\), got \(3, 3, 3, 2\)"),
        (torch.zeros(3, 3, 2, 3), TypeError, "out: expected dtype torch.float64, got torch.float32"),
        (torch.zeros(()).double().expand(3, 3, 2, 3), ValueError, "out: expected elements that do not"),
        (
            torch.zeros(99).double().as_strided((3, 3, 2, 3), (18, 5, 3, 1)),
            ValueError,
            "out: expected elements that do not overlap",
        ),
    ],
)
def test_out_that_does_not_fit(out: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        pool(features(), rois(), out=out)


def test_out_may_not_lie_over_an_input_or_where_a_gradient_is_needed() -> None:
    memory = values(2000)
    f = memory[:378].view(2, 3, 7, 9)
    with pytest.raises(ValueError, match="out: expected memory that no input uses, got memory shared with an input"):
        pool(f, rois(), out=memory[370:424].view(3, 3, 2, 3))
    assert pool(f, rois(), out=memory[378:432].view(3, 3, 2, 3)).isfinite().all()
    out = torch.empty(3, 3, 2, 3, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"out: expected None if a gradient is needed"):
        pool(features().requires_grad_(), rois(), out=out)
    with torch.no_grad():
        assert pool(features().requires_grad_(), rois(), out=out) is out


@pytest.mark.parametrize("mode", ["avg", "max"])  # the compiled check of a plain call, and the general one
def test_a_written_out_cannot_be_used_by_an_earlier_backward(mode: str) -> None:
    weight, out = torch.ones(3, 3, 2, 3, dtype=torch.float64, requires_grad=True), values(3, 3, 2, 3)
    product = (weight * out).sum()
    pool(features(), rois(), mode=mode, out=out)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.backward()


@pytest.mark.parametrize("mode", ["avg", "max"])
def test_out_of_unusual_tensors(mode: str) -> None:
    negated = torch.zeros(3, 3, 2, 3, dtype=torch.complex128).conj().imag
    assert negated.is_neg()
    assert torch.equal(pool(features(), rois(), mode=mode, out=negated), pool(features(), rois(), mode=mode))
    with torch.inference_mode():
        inferred = torch.zeros(3, 3, 2, 3, dtype=torch.float64)
        assert pool(features(), rois(), mode=mode, out=inferred) is inferred
    with pytest.raises(ValueError, match="out: expected a tensor made outside of inference mode, got one made in it"):
        pool(features(), rois(), mode=mode, out=inferred)


# Seeds


def test_the_same_seed_gives_the_points_of_numpy() -> None:
    for seed in (0, 7, 2**64 - 1):
        answer = pool(features(), rois(), sampling="random", seed=seed)
        right = pool(features().numpy(), rois().numpy(), sampling="random", seed=seed)
        np.testing.assert_array_equal(answer.numpy(), right)


def test_who_draws_a_seed() -> None:
    def draw(seed: Any) -> Tensor:
        return pool(features(), rois(), sampling="random", seed=seed)

    for make in (lambda: torch.Generator().manual_seed(5), lambda: np.random.default_rng(5), lambda: None):
        torch.manual_seed(9)
        generator = make()
        first, second = draw(generator), draw(generator)
        torch.manual_seed(9)
        assert torch.equal(draw(make()), first)
        assert not torch.equal(first, second)
    with pytest.raises(TypeError, match=r"seed: expected an int or a numpy\.random\.Generator"):
        draw("5")


def test_backward_goes_through_the_points_that_were_drawn() -> None:
    f = features().requires_grad_()
    answer = pool(f, rois(), sampling="random")
    weight = values(3, 3, 2, 3, seed=2)
    (gradient,) = torch.autograd.grad((answer * weight).sum(), f)
    torch.testing.assert_close((gradient * f).sum(), (answer * weight).sum(), rtol=1e-10, atol=1e-10)


# Modes


@pytest.fixture
def _deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("_deterministic")
def test_deterministic_algorithms_change_nothing() -> None:
    """torchvision's deterministic path does not reject samples off the map, and truncates the adaptive count."""
    off = torch.tensor([[0, -90.0, -90.0, 12.0, 12.0], [1, 20.0, 20.0, 300.0, 300.0]])
    f = features().requires_grad_()
    answer = roialign.roi_align(f, off, 2, 1 / 4)
    np.testing.assert_array_equal(
        answer.detach().numpy(), roialign.roi_align(f.detach().numpy(), off.numpy(), 2, 1 / 4)
    )
    answer.square().sum().backward()
    assert f.grad is not None
    again = torch.autograd.grad(roialign.roi_align(f, off, 2, 1 / 4).square().sum(), f)[0]
    assert torch.equal(f.grad, again)


def test_inference_mode_and_no_grad() -> None:
    right = pool(features(), rois())
    for mode in (torch.inference_mode, torch.no_grad):
        with mode():
            answer = pool(features().requires_grad_(), rois())
        assert not answer.requires_grad
        assert torch.equal(answer, right)
    with torch.inference_mode():
        inference = features()
    assert torch.equal(pool(inference, rois()), right)


def test_parameters_and_subclasses() -> None:
    assert torch.equal(pool(torch.nn.Parameter(features()), rois()).detach(), pool(features(), rois()))

    class Named(Tensor):
        pass

    answer = pool(features().as_subclass(Named), rois())
    assert torch.equal(torch.as_tensor(answer), pool(features(), rois()))


def test_every_operator_keeps_its_inputs() -> None:
    for name, operator in OPERATORS.items():
        f, r = features(), rois()
        before = f.clone(), r.clone()
        operator(f, r)
        assert torch.equal(f, before[0]), name
        assert torch.equal(r, before[1]), name
