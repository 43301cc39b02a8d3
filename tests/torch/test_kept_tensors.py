"""Tensors that are kept for the backward pass, and replaced before it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch

import roialign
from tests.ops.operators import MAP, OPERATORS, ROWS

CHANGES: list[Callable[[Any], Any]] = [torch.Tensor.half, lambda kept: kept[:1], lambda kept: torch.cat([kept, kept])]


@pytest.mark.parametrize("change", [*CHANGES, lambda kept: kept[..., :4, :4]])
@pytest.mark.parametrize("more", [{}, {"backend": "cpu"}])
def test_hooks_that_keep_other_maps_are_an_error(change: Callable[[Any], Any], more: dict[str, Any]) -> None:
    leaf = torch.from_numpy(MAP).float().requires_grad_()
    rows = torch.from_numpy(ROWS)
    with torch.autograd.graph.saved_tensors_hooks(lambda kept: change(kept) if kept.ndim == 4 else kept, lambda _: _):
        answer = roialign.roi_pool(leaf, rows, 2, **more)
    with pytest.raises(ValueError, match="expected in the backward pass the tensor of the forward pass"):
        answer.sum().backward()


@pytest.mark.parametrize("operator", ["adaptive", "rounded"])
@pytest.mark.parametrize("more", [{}, {"backend": "cpu"}])
@pytest.mark.parametrize("change", CHANGES)
def test_hooks_that_keep_other_boxes_are_an_error(
    operator: str, more: dict[str, Any], change: Callable[[Any], Any]
) -> None:
    """More boxes than gradients would read memory behind them."""
    leaf = torch.from_numpy(MAP).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda kept: change(kept) if kept.ndim == 2 else kept, lambda _: _):
        answer = OPERATORS[operator](leaf, torch.from_numpy(ROWS), **more)
    with pytest.raises(ValueError, match="expected in the backward pass the tensor of the forward pass"):
        answer.sum().backward()


@pytest.mark.parametrize("operator", ["adaptive", "exact", "maximum", "positions"])
def test_hooks_that_keep_other_maps_are_an_error_for_gradients_of_boxes(operator: str) -> None:
    """Half maps were read as if they had the type of the gradient."""
    rows = torch.from_numpy(ROWS).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda kept: kept.half() if kept.ndim == 4 else kept, lambda _: _):
        answer = OPERATORS[operator](torch.from_numpy(MAP), rows)
    with pytest.raises(ValueError, match="expected in the backward pass the tensor of the forward pass"):
        answer.sum().backward()


def test_boxes_whose_memory_is_exchanged_are_an_error() -> None:
    rows = torch.from_numpy(ROWS)
    answer = roialign.roi_align(torch.from_numpy(MAP).requires_grad_(), rows, 2)
    rows.data = torch.from_numpy(ROWS).repeat(2, 1)
    with pytest.raises(ValueError, match="expected in the backward pass the tensor of the forward pass"):
        answer.sum().backward()


def test_hooks_that_keep_other_rotated_boxes_are_an_error() -> None:
    boxes = torch.rand(3, 5, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda kept: kept.repeat(2, 1), lambda kept: kept):
        answer = roialign.rotated_iou(boxes, boxes)
    with pytest.raises(ValueError, match="expected in the backward pass the tensor of the forward pass"):
        answer.sum().backward()


def test_hooks_that_negate_maps_lazily() -> None:
    leaf, gradients = torch.from_numpy(MAP).requires_grad_(), []
    pack, unpack = lambda kept: -kept, lambda kept: torch._neg_view(kept)
    for hooks in (nullcontext(), torch.autograd.graph.saved_tensors_hooks(pack, unpack)):
        with hooks:
            answer = roialign.roi_pool(leaf, torch.from_numpy(ROWS), 2)
        gradients += torch.autograd.grad(answer.sum(), leaf)
    assert torch.equal(*gradients)
