"""Arguments that change between the calls of a compiled function, and tensors that are not what their memory says."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

import roialign
from roialign.torch import MultiScaleRoIAlign, PrRoIPool, RoIAlign

FEATURES = torch.rand(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
ROIS = torch.tensor([[0, 1.0, 1.0, 60.0, 50.0], [0, 7.0, 2.0, 90.0, 99.0]])


def compiled(function: Any, **options: Any) -> Any:
    torch._dynamo.reset()
    return torch.compile(function, fullgraph=True, backend="aot_eager", **options)


@pytest.mark.parametrize("make", [RoIAlign, PrRoIPool, lambda size, scale: MultiScaleRoIAlign(size, [scale])])
def test_modules_with_every_number_symbolic(make: Any) -> None:
    module = make(3, 1 / 8)
    features = [FEATURES] if isinstance(module, MultiScaleRoIAlign) else FEATURES
    assert torch.equal(compiled(module, dynamic=True)(features, ROIS), module(features, ROIS))


@pytest.mark.parametrize(
    ("argument", "values"),
    [
        ("output_size", (2, 3, 5)),
        ("spatial_scale", (0.5, 0.25, 0.125)),
        ("seed", (2, 3, 5)),
        ("sampling_ratio", (2, 3, 4)),
    ],
)
def test_an_argument_that_changes_between_calls(argument: str, values: tuple[Any, ...]) -> None:
    given: dict[str, Any] = {"output_size": 2, "spatial_scale": 1 / 8, "sampling": "random", "seed": 1}

    def pool(value: Any) -> torch.Tensor:
        return roialign.roi_align(FEATURES, ROIS, **{**given, argument: value})  # type: ignore[arg-type, return-value]

    traced = compiled(pool)
    for value in values:
        assert torch.equal(traced(value), pool(value))


def test_modules_of_several_scales_in_one_process() -> None:
    torch._dynamo.reset()
    for scale in (1 / 8, 1 / 16, 1 / 4):
        module = RoIAlign(3, scale)
        assert torch.equal(
            torch.compile(module, fullgraph=True, backend="aot_eager")(FEATURES, ROIS), module(FEATURES, ROIS)
        )


@pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
def test_a_recorded_graph_calls_the_operator(mode: str) -> None:
    pool = lambda features, rois: roialign.roi_align(features, rois, 3, 1 / 8)  # noqa: E731
    graph = make_fx(pool, tracing_mode=mode)(FEATURES, ROIS)
    assert torch.equal(graph(2 * FEATURES, ROIS), pool(2 * FEATURES, ROIS))


def test_a_sign_that_is_kept_apart_from_the_memory() -> None:
    features, rois = torch.complex(FEATURES, -FEATURES).conj().imag, torch.complex(ROIS, -ROIS).conj().imag
    assert features.is_neg()
    assert torch.equal(roialign.roi_align(features, rois, 3, 1 / 8), roialign.roi_align(FEATURES, ROIS, 3, 1 / 8))


def test_zeros_without_memory() -> None:
    zeros = torch._efficientzerotensor((1, 4, 16, 16))
    assert torch.equal(roialign.roi_align(zeros, ROIS, 3), torch.zeros(2, 4, 3, 3))


def test_freed_memory_is_an_error() -> None:
    features = FEATURES.clone()
    features.untyped_storage().resize_(0)
    with pytest.raises(ValueError, match=r"got a freed one of shape \(1, 4, 16, 16\)"):
        roialign.roi_align(features, ROIS, 3)
    rois = ROIS.clone()
    rois.untyped_storage().resize_(0)
    with pytest.raises(ValueError, match=r"got a freed one of shape \(2, 5\)"):
        roialign.roi_align(FEATURES, rois, 3)
    with pytest.raises(ValueError, match=r"got a freed one of shape \(2, 5\)"):
        roialign.rotated_iou(ROIS, rois)
