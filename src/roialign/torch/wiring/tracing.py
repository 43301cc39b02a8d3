"""Checks of what torch does during a call: recording, tracing or transforming."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch._C import _are_functorch_transforms_active, _get_tracing_state, _len_torch_dispatch_stack
from torch.autograd import forward_ad

#: Types of tensors that neither record nor replace what is done with them.
TENSORS = (Tensor, torch.nn.Parameter)
#: The same, and that of no tensor at all.
ORDINARY = frozenset((*TENSORS, type(None)))


def is_traced(tensor: Tensor) -> bool:
    """Whether a call is traced: by a tracer of torch, by a mode, or because a tensor has no memory."""
    return (
        torch.compiler.is_compiling()
        or is_jit_traced()
        or type(tensor) not in TENSORS
        or _len_torch_dispatch_stack() > 0
    )


def are_wrapped(tensors: Sequence[Tensor | None]) -> bool:
    """Whether one is of a class that handles every operator of torch itself. It may have no memory of its own."""
    if ORDINARY.issuperset(map(type, tensors)):
        return False
    unusual: set[Any] = set(map(type, tensors)) - ORDINARY
    return any(kind.__torch_dispatch__ is not Tensor.__torch_dispatch__ for kind in unusual)


def is_jit_traced() -> bool:
    """Whether torch.jit.trace is recording, by itself or for the ONNX exporter that is based on it."""
    return _get_tracing_state() is not None


def is_recorded(tensors: Sequence[Tensor | None]) -> bool:
    """Whether a backward pass may follow."""
    return torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)


def is_in_memory(tensor: Tensor | None) -> bool:
    """Whether the values of a tensor are in its memory, without lazy negation or lazy zeros."""
    return tensor is None or not (tensor.is_neg() or tensor._is_zerotensor())


def is_transformed() -> bool:
    """Whether a transform of torch.func is active."""
    return _are_functorch_transforms_active()


def moves_forward() -> bool:
    """Whether tensors may have forward-mode tangents."""
    return forward_ad._current_level >= 0


def is_plain_call(tensor: Tensor) -> bool:
    """Whether a call is neither traced nor transformed, and has no tangents."""
    return not (is_traced(tensor) or is_transformed() or moves_forward())


def without_dead_wrappers(tensors: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Unwrap tensors that torch.func has left wrapped, as in the function that torch.func.vjp returns."""
    unwrap = torch._C._functorch.unwrap_if_dead
    return [None if tensor is None else unwrap(tensor) for tensor in tensors]
