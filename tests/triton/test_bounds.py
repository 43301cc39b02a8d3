"""No kernel leaves the tensors that it is given, whatever it is told of boxes: hostile input in Triton's interpreter,
where every address is looked at.
"""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("triton")

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.runtime.errors import InterpreterError

import roialign
from roialign.torch.backends import is_interpreted
from roialign.triton.launch import launch

pytestmark = [
    pytest.mark.skipif(not is_interpreted(), reason="the kernels are compiled here: see test_gpu.py"),
    pytest.mark.usefixtures("interpreter"),
]

NAN, INF = float("nan"), float("inf")
HOSTILE = [
    [0, 0.3, 0.4, 3.1, 4.2],
    [-1, 0, 0, 4, 4],
    [2, 0, 0, 4, 4],
    [0.5, 0, 0, 4, 4],
    [NAN, 0, 0, 4, 4],
    [1e30, 0, 0, 4, 4],
    [0, NAN, 0, 4, 4],
    [0, 0, INF, 4, 4],
    [0, 0, 0, -1e101, 4],
    [1, -1e9, -1e99, 1e9, 1e99],
    [1, 4.5, 3.5, 0.5, -1.5],
    [0, 1e99, 1e99, 1e99, 1e99],
    [0, -(2.0**31), 2.0**31, 2.0**31, 2.0**63],
    [1, 0.7, 1.1, 2.9, 3.3],
]

OPERATORS: dict[str, Any] = {
    "adaptive": lambda f, r, b: roialign.roi_align(f, r, (2, 3), invalid="zero", backend=b),
    "exact": lambda f, r, b: roialign.roi_align(f, r, (2, 3), sampling="exact", invalid="zero", backend=b),
    "prroi": lambda f, r, b: roialign.prroi_pool(f, r, (2, 3), invalid="zero", backend=b),
    "levels": lambda f, r, b: of_levels(f, r, b),
    "max, exact": lambda f, r, b: roialign.roi_align(f, r, 2, mode="max", sampling="exact", invalid="zero", backend=b),
    "rotated": lambda f, r, b: roialign.roi_align_rotated(f, turned(r), 2, 1.0, 2, invalid="zero", backend=b),
    "deformable": lambda f, r, b: roialign.deform_roi_pool(
        f, r, offset(len(r)), 2, 1.0, 2, 1.0, invalid="zero", backend=b
    ),
    "RoIPool": lambda f, r, b: roialign.roi_pool(f, r, (2, 3), invalid="zero", backend=b),
}


def of_levels(maps: Tensor, rois: Tensor, backend: str) -> Tensor:
    """Some are levels that there are not: zeros, as of an image that there is not. The core takes them for an error."""
    levels = torch.tensor([0, 1, 0, 1, 0, 1, 0, 1, 0, 0, 1, -1, 2, 2**40])
    if backend == "cpu":
        is_level = (levels >= 0) & (levels < 2)
        levels, image = torch.where(is_level, levels, 0), torch.where(is_level, rois[:, 0], -1.0)
        rois = torch.cat([image[:, None], rois[:, 1:]], 1)
    scales, more = [1.0, 0.5], {"levels": levels, "invalid": "zero", "backend": backend}
    return roialign.multiscale_roi_align([maps, maps[:, :, :3, :2]], rois, 2, scales, 2, **more)


def turned(rois: Tensor) -> Tensor:
    """With angles, one of which is none, and one so large that it has no digits left."""
    angles = torch.tensor([0.4, 0, 1, 2, 3, 4, 5, 6, 7, -8, 0.3, 1e15, NAN, -2.0], dtype=rois.dtype)[: len(rois)]
    return torch.cat([rois, angles[:, None]], 1)


def offset(count: int) -> Tensor:
    """One of them no number, and some that put bins far beyond the map."""
    moved = torch.zeros(count, 2, 2, 2, dtype=torch.float64)
    moved[:, 0, 0, 0], moved[:, 1, 1, 0] = 1e9, -3e5
    moved[count // 2 :, 1, 0, 1] = 0.7
    moved[-1:, 0, 1, 1] = NAN
    return moved


def slice_of_more(tensor: Tensor, channels_last: bool) -> Tensor:
    """The same values amid NaN: channels, rows and columns of a larger tensor."""
    images, channels, height, width = tensor.shape
    shape = (images, channels + 3, height + 2, width + 2)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    block = torch.full(shape, NAN, dtype=tensor.dtype).contiguous(memory_format=layout)
    view = block[:, 2:-1, 1:-1, 1:-1]
    view.copy_(tensor)
    return view


@pytest.mark.parametrize(
    ("channels_last", "operator"),
    [
        pytest.param(
            channels_last,
            operator,
            id=f"{'channels last' if channels_last else 'planes'}-{operator}",
            marks=() if index % 2 == channels_last else pytest.mark.slow,
        )
        for channels_last in (False, True)
        for index, operator in enumerate(OPERATORS)
    ],
)
def test_hostile_input(operator: str, channels_last: bool, interpreter: Any) -> None:
    """Forward and all gradients are the core's, of maps that are a part of something."""
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 4, 5, 6, dtype=torch.float64, generator=generator)
    maps = slice_of_more(maps, channels_last).detach().requires_grad_()
    rois = torch.tensor(HOSTILE, dtype=torch.float64, requires_grad=True)
    before, found = interpreter.checked, {}
    for backend in ("triton", "cpu"):
        answer = OPERATORS[operator](maps, rois, backend)
        gradient = torch.randn(answer.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        gradients = torch.autograd.grad(answer, (maps, rois), slice_of_more(gradient, channels_last))
        found[backend] = (answer.detach(), *gradients)
    assert interpreter.checked > before
    for seen, right in zip(found["triton"], found["cpu"], strict=True):
        assert seen.isfinite().all()
        torch.testing.assert_close(seen, right, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("operator", sorted(OPERATORS.keys() - {"levels"}))
def test_maps_of_one_pixel_and_no_boxes(operator: str) -> None:
    for count in (0, len(HOSTILE)):
        maps = torch.ones(2, 2, 1, 1, requires_grad=True)
        rois = torch.tensor(HOSTILE[:count]).reshape(count, 5).requires_grad_()
        answer = OPERATORS[operator](maps, rois, "triton")
        gradients = torch.autograd.grad(answer.sum(), (maps, rois))
        assert all(part.isfinite().all() for part in (answer, *gradients))


@pytest.mark.parametrize("channels_last", [False, True], ids=["planes", "channels last"])
@pytest.mark.parametrize("mode", ["avg", "max"])
def test_guards_around_an_answer(mode: str, channels_last: bool) -> None:
    maps, rois = torch.randn(2, 4, 5, 6), torch.tensor(HOSTILE)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    block = torch.full((len(rois) + 2, 7, 3, 5), NAN).contiguous(memory_format=layout)
    out = block[1:-1, 2:-1, :2, 1:-1]
    roialign.roi_align(maps, rois, (2, 3), 1.0, 2, mode=mode, invalid="zero", out=out, backend="triton")
    assert out.isfinite().all()
    out.fill_(NAN)
    assert block.isnan().all()


@triton.jit
def copy_kernel(source, target, loads, stores, count: tl.constexpr):
    number = tl.arange(0, count)
    value = tl.load(source + number, mask=number < loads, other=0.0)
    tl.store(target + number, value, mask=number < stores)


@pytest.mark.parametrize(
    ("loads", "stores", "step", "message"),
    [(9, 8, 1, "a load 32 bytes"), (8, 9, 1, "a store 32 bytes"), (2, 1, 2, "a load 4 bytes"), (1, 2, 2, "store 4")],
)
def test_an_address_too_far_is_seen(loads: int, stores: int, step: int, message: str) -> None:
    """One element beyond a tensor, and one between its own, though there is memory of the same storage."""
    source, target = torch.ones(32)[8 : 8 + 8 * step : step], torch.ones(32)[8 : 8 + 8 * step : step]
    if stores > loads:
        source = torch.ones(16)
    elif loads > stores:
        target = torch.ones(16)
    with pytest.raises(InterpreterError, match=message):
        launch(copy_kernel, (1,), source.device, source, target, loads, stores, count=16)


def test_what_keeps_to_its_tensors_passes(interpreter: Any) -> None:
    source, target, before = torch.arange(8.0), torch.zeros(8), interpreter.checked
    launch(copy_kernel, (1,), source.device, source, target, 8, 5, count=16)
    assert target.tolist() == [0, 1, 2, 3, 4, 0, 0, 0]
    assert interpreter.checked == before + 13


@pytest.mark.parametrize("channels_last", [False, True], ids=["planes", "channels last"])
@pytest.mark.parametrize(
    "name",
    ["grid", *(pytest.param(name, marks=pytest.mark.slow) for name in ("crop", "max", "rotated", "deformable"))],
)
def test_tiles_between_bins(name: str, channels_last: bool) -> None:
    """Bins are many pixels apart, so that whole tiles of the gradient of a map meet a RoI but none of its bins."""
    features = torch.randn(1, 4, 72, 8)
    if channels_last:
        features = features.contiguous(memory_format=torch.channels_last)
    rois, image = torch.tensor([[0, 0.0, 0.0, 7.0, 71.0]]), torch.tensor([0])
    rotated = torch.tensor([[0, 4.0, 36.0, 7.0, 71.0, 0.01]])
    calls: dict[str, Any] = {
        "grid": lambda f, b: roialign.roi_align(f, rois, 2, 1.0, 1, backend=b),
        "crop": lambda f, b: roialign.crop_and_resize(f, rois[:, 1:] / 71, image, 3, backend=b),
        "max": lambda f, b: roialign.roi_align(f, rois, 2, 1.0, 1, mode="max", backend=b),
        "rotated": lambda f, b: roialign.roi_align_rotated(f, rotated, 2, 1.0, 1, backend=b),
        "deformable": lambda f, b: roialign.deform_roi_pool(f, rois, None, 2, 1.0, 1, backend=b),
    }
    gradients = []
    for backend in ("triton", "cpu"):
        leaf = features.clone(memory_format=torch.preserve_format).requires_grad_()
        answer = calls[name](leaf, backend)
        (gradient,) = torch.autograd.grad(answer, leaf, torch.linspace(1, 2, answer.numel()).reshape(answer.shape))
        gradients.append(gradient)
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-5)
