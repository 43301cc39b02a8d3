"""Tensors of classes that handle every operator of torch themselves, and have no memory, such as DTensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_map

import roialign

FEATURES = torch.randn(2, 4, 12, 16, generator=torch.Generator().manual_seed(0))
COARSE = FEATURES[:, :, ::2, ::2].contiguous()
ROIS = torch.tensor([[0, 1.0, 2, 9, 8], [1, 3.0, 3, 14, 11]])
LEVELS = torch.tensor([0, 1])


class Wrapped(Tensor):
    """A tensor that holds another, as the results of collectives do until they have arrived."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Wrapped:
        made: Any = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, held.shape, strides=held.stride(), dtype=held.dtype, requires_grad=held.requires_grad
        )
        made.held = held
        return made  # type: ignore[no-any-return]

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        given = tree_map(lambda value: value.held if isinstance(value, cls) else value, (args, kwargs or {}))
        result = function(*given[0], **given[1])
        return tree_map(lambda value: cls(value) if isinstance(value, Tensor) else value, result)


def _held(tensor: Tensor) -> Tensor:
    return tensor.held if isinstance(tensor, Wrapped) else tensor


CALLS: dict[str, Callable[[Any, Any], Tensor]] = {
    "roi_align": lambda features, rois: roialign.roi_align(features, rois, 3),
    "roi_pool": lambda features, rois: roialign.roi_pool(features, rois, 3),
    "roi_align_rotated": lambda features, rois: roialign.roi_align_rotated(
        features, torch.nn.functional.pad(rois, (0, 1), value=0.3), 3
    ),
}


@pytest.mark.parametrize("which", ["features", "rois", "both"])
@pytest.mark.parametrize("name", CALLS)
def test_either_or_both_may_be_wrapped(name: str, which: str) -> None:
    features, rois = FEATURES.clone().requires_grad_(), ROIS.clone().requires_grad_(name != "roi_pool")
    expected = CALLS[name](features, rois)
    expected.pow(2).sum().backward()
    own = Wrapped(FEATURES.clone()) if which != "rois" else FEATURES.clone()
    boxes = Wrapped(ROIS.clone()) if which != "features" else ROIS.clone()
    own.requires_grad_()
    boxes.requires_grad_(name != "roi_pool")
    got = CALLS[name](own, boxes)
    assert torch.equal(_held(got), expected)
    got.pow(2).sum().backward()
    for tensor, like in ((own, features), (boxes, rois)):
        if like.grad is not None:
            assert tensor.grad is not None
            assert torch.equal(_held(tensor.grad), like.grad)


def test_levels_may_be_wrapped() -> None:
    def pooled(levels: Tensor) -> Tensor:
        return roialign.multiscale_roi_align([FEATURES, COARSE], ROIS, 3, [1, 0.5], levels=levels)

    assert torch.equal(_held(pooled(Wrapped(LEVELS))), pooled(LEVELS))


def test_a_gradient_may_be_wrapped() -> None:
    features = FEATURES.clone().requires_grad_()
    output = roialign.roi_align(features, ROIS, 3)
    ones = torch.ones_like(output)
    (expected,) = torch.autograd.grad(output, features, ones, retain_graph=True)
    (got,) = torch.autograd.grad(output, features, Wrapped(ones))
    assert torch.equal(_held(got), expected)
