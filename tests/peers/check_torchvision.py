"""Beside the real torchvision: the same answers, and its models on our kernels. Run by `make test-peers`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor

from roialign.compat import _torchvision_kernels
from roialign.compat import torchvision as ours
from tests.tables.tolerances import assert_close

#: Besides RoIAlign, and the arguments of each after the features and boxes.
OTHERS: dict[str, tuple[Any, ...]] = {
    "roi_pool": ((3, 2), 0.25),
    "ps_roi_align": ((3, 2), 0.25, 2),
    "ps_roi_pool": ((3, 2), 0.25),
}

DTYPES = {torch.float64: "float64", torch.float32: "peer float32"}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names of our functions that the installed operators have run."""
    seen: list[str] = []
    for name in ("roi_align", "roi_align_backward", *(name + end for name in OTHERS for end in ("", "_backward"))):
        function = getattr(_torchvision_kernels, name, None)
        if function is None:  # RoIPool's own backward serves
            continue

        def counted(*arguments: Any, name: str = name, function: Any = function, **more: Any) -> Any:
            seen.append(name)
            return function(*arguments, **more)

        monkeypatch.setattr(_torchvision_kernels, name, counted)
    yield seen
    ours.uninstall()


def boxes_of(kind: str, generator: torch.Generator, images: int, side: float) -> list[Tensor]:
    """Boxes of one kind for each image, float64."""
    boxes = []
    for image in range(images):
        count = 0 if kind == "none" else 5 + image
        corners = torch.rand(count, 2, generator=generator, dtype=torch.float64) * side
        sizes = torch.rand(count, 2, generator=generator, dtype=torch.float64) * side / 2
        if kind == "border":
            corners, sizes = corners * 1.6 - side * 0.4, sizes * 2
        elif kind == "tiny":
            sizes = sizes * torch.tensor([0.0, 1e-6, 1e-2]).repeat(count)[:count, None]
        elif kind == "inverted":
            corners, sizes = corners + sizes, -sizes
        elif kind == "integer":
            corners, sizes = corners.round(), sizes.round()
        boxes.append(torch.cat([corners, corners + sizes], 1))
    return boxes


KINDS = ("inside", "border", "tiny", "inverted", "integer", "none")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("ratio", [-1, 0, 1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_roi_align(kind: str, ratio: int, aligned: bool, dtype: torch.dtype) -> None:
    """Forward and gradient; float32 at coordinates that are exact in it, where both take as many adaptive points."""
    generator = torch.Generator().manual_seed(KINDS.index(kind))
    for size, scale, shape in ((7, 0.25, (2, 3, 16, 20)), ((3, 5), 0.5, (1, 2, 9, 7)), (1, 1.0, (3, 1, 5, 5))):
        features = torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
        boxes = [one.mul(64).round().div(64).to(dtype) for one in boxes_of(kind, generator, shape[0], shape[2] / scale)]
        theirs = torchvision.ops.roi_align(features, boxes, size, scale, ratio, aligned)
        pooled = ours.roi_align(features, boxes, size, scale, ratio, aligned)
        grad = torch.randn(theirs.shape, generator=generator, dtype=torch.float64).to(dtype)
        (their_gradient,) = torch.autograd.grad(theirs, features, grad)
        (gradient,) = torch.autograd.grad(pooled, features, grad, retain_graph=True)
        (magnitude,) = torch.autograd.grad(pooled, features, grad.abs())
        largest = float(features.detach().abs().max())
        assert_close(pooled.detach().numpy(), theirs.detach().double().numpy(), DTYPES[dtype], largest, "output")
        scale_of_gradient = magnitude.double().numpy() if dtype == torch.float64 else float(magnitude.max())
        assert_close(gradient.numpy(), their_gradient.double().numpy(), DTYPES[dtype], scale_of_gradient, "gradient")


def case_of(kind: str, dtype: torch.dtype) -> tuple[Tensor, list[Tensor]]:
    """A map of 2 images whose channels do for bins of 3 x 2, and boxes at multiples of 1/64."""
    generator = torch.Generator().manual_seed(KINDS.index(kind))
    features = torch.randn(2, 12, 16, 20, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    return features, [one.mul(64).round().div(64).to(dtype) for one in boxes_of(kind, generator, 2, 64.0)]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("ratio", [-1, 2])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", OTHERS)
def test_the_other_operators(name: str, kind: str, ratio: int, dtype: torch.dtype) -> None:
    """Forward and gradient, of function and module."""
    features, boxes = case_of(kind, dtype)
    arguments = (*OTHERS[name][:2], ratio)[: len(OTHERS[name])]
    theirs = getattr(torchvision.ops, name)(features, boxes, *arguments)
    pooled = getattr(ours, name)(features, boxes, *arguments)
    finite = theirs.isfinite()  # ps_roi_align of a box of no size: 0, not NaN
    assert (pooled[~finite] == 0).all()
    largest = float(features.detach().abs().max())
    wanted = torch.where(finite, theirs, 0.0).detach().double().numpy()
    assert_close(pooled.detach().numpy(), wanted, DTYPES[dtype], largest, "output")
    if name != "ps_roi_pool" and finite.all():  # whose gradient in torchvision is not that of its forward
        grad = torch.randn(theirs.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)
        (their_gradient,) = torch.autograd.grad(theirs, features, grad)
        (gradient,) = torch.autograd.grad(pooled, features, grad)
        scale = 60 * float(grad.abs().max()) if len(grad) else 1.0
        assert_close(gradient.numpy(), their_gradient.double().numpy(), DTYPES[dtype], scale, "gradient")
    module = {"roi_pool": "RoIPool", "ps_roi_align": "PSRoIAlign", "ps_roi_pool": "PSRoIPool"}[name]
    held, their_held = getattr(ours, module)(*arguments), getattr(torchvision.ops, module)(*arguments)
    assert torch.equal(held(features, boxes), pooled)
    assert repr(held) == repr(their_held)


@pytest.mark.parametrize("name", OTHERS)
def test_install_routes_the_other_operators(name: str, calls: list[str]) -> None:
    """The functions, the operators with both their answers, and their backwards as operators."""
    features, boxes = case_of("border", torch.float64)
    rois = torch.cat([torch.nn.functional.pad(one, (1, 0), value=image) for image, one in enumerate(boxes)])
    (height, width), scale, *ratio = OTHERS[name]
    operator = getattr(torch.ops.torchvision, name)
    backward = getattr(torch.ops.torchvision, f"_{name}_backward")
    grad = torch.ones(len(rois), 12 if name == "roi_pool" else 2, height, width, dtype=torch.float64)

    def run() -> tuple[Tensor, ...]:
        pooled = getattr(torchvision.ops, name)(features, boxes, *OTHERS[name])
        (gradient,) = torch.autograd.grad(pooled, features, grad)
        with torch.inference_mode():
            again, origin = operator(features.detach().clone(), rois.clone(), scale, height, width, *ratio)
        assert torch.equal(again, pooled)
        assert origin.dtype == torch.int32
        direct = backward(grad, rois, origin, scale, height, width, *ratio, *features.shape)
        return pooled.detach(), gradient, origin, direct

    before = run()
    assert calls == []
    with ours.installed():
        during = run()
    assert calls == [name, name] + [f"{name}_backward"] * (name != "roi_pool")
    largest = float(features.detach().abs().max())
    assert_close(during[0].numpy(), before[0].numpy(), "float64", largest)
    assert torch.equal(during[2], before[2])
    assert_close(during[3].numpy(), during[1].numpy(), "float64", 60.0)
    if name == "ps_roi_pool":
        assert not during[1][:, :, -1].any(), "pixels that no bin reads"
        assert before[1][:, :, -1].any()
    else:
        assert_close(during[1].numpy(), before[1].numpy(), "float64", 60.0)
    assert all(torch.equal(*pair) for pair in zip(run(), before, strict=True)), "restored"


def fpn(dtype: torch.dtype, generator: torch.Generator) -> tuple[dict[str, Tensor], list[Tensor], list[Any]]:
    """Four levels of two images of 300 x 410 and 256 x 400, padded to multiples of 32."""
    maps = {
        str(level): torch.randn(2, 4, 320 >> (2 + level), 416 >> (2 + level), generator=generator, dtype=dtype)
        for level in range(4)
    }
    boxes = [one.to(dtype) for one in boxes_of("border", generator, 2, 250.0)]
    return maps, boxes, [(300, 410), (256, 400)]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("ratio", [0, 2])
def test_multi_scale_roi_align(ratio: int, dtype: torch.dtype) -> None:
    maps, boxes, shapes = fpn(dtype, torch.Generator().manual_seed(0))
    theirs = torchvision.ops.MultiScaleRoIAlign(list("0123"), (7, 5), ratio)
    module = ours.MultiScaleRoIAlign(list("0123"), (7, 5), ratio)
    expected, pooled = theirs(maps, boxes, shapes), module(maps, boxes, shapes)
    assert module.scales == theirs.scales == [1 / 4, 1 / 8, 1 / 16, 1 / 32]
    largest = max(float(level.abs().max()) for level in maps.values())
    assert_close(pooled.numpy(), expected.double().numpy(), DTYPES[dtype], largest)


def test_the_same_repr() -> None:
    for ours_, theirs in (
        (ours.RoIAlign((7, 5), 0.25, 2, True), torchvision.ops.RoIAlign((7, 5), 0.25, 2, True)),
        (ours.MultiScaleRoIAlign(["a", "b"], 7, 2), torchvision.ops.MultiScaleRoIAlign(["a", "b"], 7, 2)),
    ):
        assert repr(ours_) == repr(theirs)


def test_install_routes_the_operator(calls: list[str]) -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 3, 16, 20, generator=generator, dtype=torch.float64, requires_grad=True)
    boxes = boxes_of("border", generator, 2, 64.0)

    def run() -> tuple[Tensor, Tensor]:
        pooled = torchvision.ops.roi_align(features, boxes, 7, 0.25, 2, aligned=True)
        return pooled.detach(), torch.autograd.grad(pooled.pow(2).sum(), features)[0]

    before = run()
    assert calls == []
    ours.install()
    during = run()
    assert calls == ["roi_align"]
    with torch.inference_mode():
        inferred = torchvision.ops.roi_align(features.detach().clone(), boxes, 7, 0.25, 2, aligned=True)
    assert calls == ["roi_align"] * 2
    rois = torch.cat([torch.nn.functional.pad(one, (1, 0), value=image) for image, one in enumerate(boxes)])
    backward = torch.ops.torchvision._roi_align_backward
    arguments = (2 * before[0], rois, 0.25, 7, 7, 2, 3, 16, 20, 2, True)
    direct = backward(*arguments)
    assert calls == ["roi_align"] * 2 + ["roi_align_backward"]
    ours.uninstall()
    after = run()
    assert len(calls) == 3, "torchvision's kernels again"
    assert torch.equal(after[0], before[0])
    assert torch.equal(after[1], before[1])
    assert not torch.equal(during[0], before[0]), "our kernels round otherwise"
    assert torch.equal(during[0], inferred)
    largest = float(features.detach().abs().max())
    assert_close(during[0].numpy(), before[0].numpy(), "float64", largest)
    for gradient in (during[1], direct):
        assert_close(gradient.numpy(), before[1].numpy(), "float64", 1e2 * largest)
    assert_close(backward(*arguments).numpy(), direct.numpy(), "float64", 1e2 * largest)


def test_installed_gives_boxes_a_gradient_and_autocast_its_dtype(calls: list[str]) -> None:
    features, box = torch.randn(1, 2, 8, 8), torch.tensor([[0, 1.2, 1.7, 5.1, 6.3]])
    with ours.installed():
        (gradient,) = torch.autograd.grad(torchvision.ops.roi_align(features, box.requires_grad_(), 2).sum(), box)
        assert gradient[:, 1:].abs().min() > 0
        with torch.autocast("cpu", dtype=torch.bfloat16):
            pooled = torchvision.ops.roi_align(features.bfloat16(), box.detach().bfloat16(), 2)
    assert pooled.dtype == torch.bfloat16
    assert calls == ["roi_align"] * 2


@pytest.mark.parametrize("name", ["fasterrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn"])
def test_a_detector_finds_the_same_on_our_kernels(name: str, calls: list[str]) -> None:
    torch.manual_seed(0)
    make = getattr(torchvision.models.detection, name)
    sizes = {"min_size": 160, "max_size": 240}
    model = make(weights=None, weights_backbone=None, box_detections_per_img=20, box_score_thresh=0.0, **sizes).eval()
    images = [torch.rand(3, 200, 270), torch.rand(3, 240, 180)]
    with torch.no_grad():
        before = model(images)
        assert calls == []
        with ours.installed():
            during = model(images)
        per_box_pooler = 4  # levels
        assert len(calls) == per_box_pooler * (2 if name.startswith("mask") else 1)
        after = model(images)
    for one, other, third in zip(before, during, after, strict=True):
        assert len(one["boxes"]) == 20
        for key, value in one.items():
            torch.testing.assert_close(other[key].float(), value.float(), rtol=1e-4, atol=1e-4, msg=key)
            assert torch.equal(third[key], value), "restored"


def test_the_example_of_the_docs(calls: list[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "migrating.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"<!-- needs torchvision -->\n```python\n(.*?)```", page, flags=re.DOTALL)
    scope = {"features": torch.randn(1, 2, 8, 8), "rois": torch.tensor([[0, 1.0, 2.0, 90.0, 100.0]])}
    exec(compile(block, "docs/migrating.md", "exec"), scope)
    assert calls == ["roi_align"]


def test_a_detector_trains_the_same_on_our_kernels(calls: list[str]) -> None:
    torch.manual_seed(0)
    model = torchvision.models.detection.fasterrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, min_size=128, max_size=160
    ).train()
    images = [torch.rand(3, 128, 150)]
    targets = [{"boxes": torch.tensor([[10.0, 20.0, 90.0, 100.0]]), "labels": torch.tensor([3])}]

    def losses_and_gradient() -> tuple[dict[str, float], Tensor]:
        torch.manual_seed(1)
        model.zero_grad()
        losses = model(images, targets)
        sum(losses.values()).backward()
        gradient = model.backbone.fpn.layer_blocks[0][0].weight.grad.clone()
        return {key: float(loss.detach()) for key, loss in losses.items()}, gradient

    model.eval().train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    before = losses_and_gradient()
    with ours.installed():
        during = losses_and_gradient()
    assert calls
    for key, loss in before[0].items():
        assert during[0][key] == pytest.approx(loss, rel=1e-4, abs=1e-4), key
    np.testing.assert_allclose(during[1], before[1], rtol=1e-3, atol=1e-4 * float(before[1].abs().max()))
