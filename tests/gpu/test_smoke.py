"""One small call for every kernel and type, beside the reference: the first thing to run on a CUDA device, by
`pytest -m gpu`, and in a rehearsal. In Triton's interpreter: that the calls launch every kernel that there is.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

pytest.importorskip("triton")

import torch
from torch import Tensor

import roialign
from benchmarks.gpu.device import BACKEND, DEVICE, IS_REHEARSAL
from roialign import triton as kernels
from roialign._frameworks import operator_call
from roialign.ops.roi_align import roi_align_spec
from roialign.torch.backends import is_interpreted
from roialign.torch.triton import frames, pointwise, replay, separable, tiles
from roialign.triton import launch
from tests.gpu.scenes import in_layout, on_gpu_or_rehearsed

#: Layout by type: those that users of the type have.
LAYOUTS = {"float32": False, "float16": True, "bfloat16": True, "float64": False}
#: Relative to the largest number of an answer.
NEAR = {"float32": 1e-5, "float16": 2e-3, "bfloat16": 1.6e-2, "float64": 1e-10}
TILES = ("tiles", "shares", "sum_shares")
SEPARABLE = {"taps", "order", "forward", "adjoint_features", "adjoint_boxes", "boxes", *TILES}
MEAN = {"frames", "order", "mean", "adjoint_points", "mean_sums", "geometry", *TILES}
MAXIMUM = {"frames", "order", "maximum", "adjoint_points", "winners_sums", "geometry", *TILES}


class Smoke(NamedTuple):
    """A call of features and geometry, and the kernels that it and its gradients launch."""

    call: Callable[..., Tensor]
    kernels: set[str]
    geometry: str = "boxes"
    to_boxes: bool = True
    along: bool = False
    """Whether forward mode is asked too."""


def max_of_corners(f: Tensor, b: Tensor, **more: Any) -> Tensor:
    """ONNX's maximum, which `roialign.compat.onnx` has."""
    spec = roi_align_spec(2, True, "max", "grid")._replace(reduction="corner_max")
    call = operator_call(spec, [f], [0.5], b[:, 1:], batch_indices=b[:, 0].detach().long(), **more)
    answer: Tensor = call.forward((3, 3))
    return answer


def pyramid(f: Tensor, b: Tensor, **more: Any) -> Tensor:
    return roialign.multiscale_roi_align([f, f[:, :, ::2, ::2]], b, 3, [1 / 2, 1 / 4], 2, canonical_size=9, **more)


CALLS = {
    "RoIAlign": Smoke(lambda f, b, **m: roialign.roi_align(f, b, 3, 1 / 2, 2, **m), SEPARABLE, along=True),
    "pyramid": Smoke(pyramid, SEPARABLE),
    "exact": Smoke(lambda f, b, **m: roialign.roi_align(f, b, (2, 5), 1 / 2, sampling="exact", **m), SEPARABLE),
    "Precise RoI Pooling": Smoke(lambda f, b, **m: roialign.prroi_pool(f, b, 3, 1 / 2, **m), SEPARABLE),
    "crop and resize": Smoke(
        lambda f, b, **m: roialign.crop_and_resize(f, b, torch.zeros(len(b)).to(b).long(), 3, layout="NCHW", **m),
        SEPARABLE,
        "fractions",
    ),
    "max": Smoke(
        lambda f, b, **m: roialign.roi_align(f, b, 3, 1 / 2, 2, mode="max", **m), MAXIMUM | {"winners"}, along=True
    ),
    "max of corners": Smoke(max_of_corners, MAXIMUM),
    "rotated": Smoke(lambda f, b, **m: roialign.roi_align_rotated(f, b, 3, 1 / 2, 2, **m), MEAN, "turned"),
    "rotation-invariant": Smoke(lambda f, b, **m: roialign.riroi_align_rotated(f, b, 3, 1 / 2, 2, **m), MEAN, "turned"),
    "deformable": Smoke(
        lambda f, b, **m: roialign.deform_roi_pool(
            f, b, b[:, 1:3, None, None].expand(-1, -1, 3, 3) / 20, 3, 0.5, 2, **m
        ),
        MEAN,
    ),
    "RoIPool": Smoke(
        lambda f, b, **m: roialign.roi_pool(f, b, 3, 1 / 2, **m),
        MAXIMUM - {"winners_sums", "geometry"},
        to_boxes=False,
    ),
    "position-sensitive": Smoke(lambda f, b, **m: roialign.ps_roi_align(f, b, 2, 1 / 2, 2, **m), MEAN),
}


def inputs_of(smoke: Smoke, dtype: str) -> tuple[Tensor, Tensor]:
    """Features that the type holds, and geometry, in float64."""
    generator = torch.Generator().manual_seed(2)
    features = torch.randn(1, 16, 9, 11, generator=generator).to(getattr(torch, dtype)).double()
    boxes = torch.tensor([[2.3, 1.1, 12.9, 15.7], [-3.1, 5.3, 9.7, 21.1], [7.9, 2.7, 11.3, 9.1]], dtype=torch.float64)
    if smoke.geometry == "fractions":
        return features, boxes / 20
    if smoke.geometry == "turned":
        centre, size = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
        boxes = torch.cat([centre, size, size[:, :1] / 9], 1)
    return features, torch.nn.functional.pad(boxes, (1, 0))


def derived(smoke: Smoke, features: Tensor, geometry: Tensor, **more: Any) -> list[Tensor]:
    """The answer, the gradients, and perhaps the derivative along a tangent."""
    leaves = [features.detach().requires_grad_(), geometry.detach().requires_grad_(smoke.to_boxes)]
    answer = smoke.call(*leaves, **more)
    weights = torch.linspace(-1, 1, answer.numel(), dtype=torch.float64).reshape(answer.shape)
    weights = torch.empty_like(answer).copy_(weights)  # in the memory format of the answer
    found = [answer.detach(), *torch.autograd.grad(answer, leaves if smoke.to_boxes else leaves[:1], weights)]
    if smoke.along:
        tensors, tangents = (features, geometry), (features / 2, geometry.sign() / 4)
        found.append(torch.func.jvp(lambda *moved: smoke.call(*moved, **more), tensors, tangents)[1])
    return found


def with_every_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """What only many RoIs have otherwise: slots for the shares of crowded tiles, and the order by place."""
    monkeypatch.setattr(launch, "SHARED_FROM", 1)
    monkeypatch.setattr(launch, "EXTRA", 2.0)
    monkeypatch.setattr(launch, "ORDERED", (1, 4096))
    monkeypatch.setattr(replay, "KEPT", 0)


def check(name: str, dtype: str, backend: str | None, device: str) -> None:
    smoke = CALLS[name]
    features, geometry = inputs_of(smoke, dtype)
    given = in_layout(features.to(device, getattr(torch, dtype)), LAYOUTS[dtype])
    seen = derived(smoke, given, geometry.to(device), backend=backend)
    rights = derived(smoke, features, geometry, backend="reference")
    for found, right in zip(seen, rights, strict=True):
        near = NEAR[dtype] * right.abs().max().item()
        torch.testing.assert_close(found.cpu().double(), right, rtol=NEAR[dtype], atol=near)


@on_gpu_or_rehearsed
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("dtype", LAYOUTS)
def test_smoke(name: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with_every_kernel(monkeypatch)
    check(name, dtype, BACKEND, DEVICE)


@pytest.mark.skipif(not is_interpreted() or IS_REHEARSAL, reason="once, in the interpreter")
@pytest.mark.usefixtures("interpreter")
@pytest.mark.parametrize("name", CALLS)
def test_what_is_launched(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every kernel that the table says, and the right answer too."""
    launched: set[str] = set()

    def watched(kernel: Any, *arguments: Any, **constants: Any) -> None:
        launched.add(kernel.fn.__name__.removesuffix("_kernel"))
        launch.launch(kernel, *arguments, **constants)

    for module in (separable, pointwise, frames, tiles):
        monkeypatch.setattr(module, "launch", watched)
    with_every_kernel(monkeypatch)
    check(name, "float32", "triton", "cpu")
    assert launched == CALLS[name].kernels


def test_every_kernel_is_in_the_table() -> None:
    modules = [
        importlib.import_module(found.name) for found in pkgutil.iter_modules(kernels.__path__, "roialign.triton.")
    ]
    defined = {name.removesuffix("_kernel") for module in modules for name in vars(module) if name.endswith("_kernel")}
    assert defined == set().union(*(smoke.kernels for smoke in CALLS.values()))
