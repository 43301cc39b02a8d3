"""What torch is doing while a function is called: recording, tracing, transforming."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd import forward_ad


def is_traced(tensor: Tensor) -> bool:
    """Whether a call is to be recorded: by a tracer of torch, by a mode, or by a tensor that is not memory."""
    return (
        torch.compiler.is_compiling()
        or is_jit_traced()
        or type(tensor) not in (Tensor, torch.nn.Parameter)
        or torch._C._len_torch_dispatch_stack() > 0
    )


def is_jit_traced() -> bool:
    """Whether torch.jit.trace listens, by itself or for the exporter to ONNX that stands on it."""
    return torch._C._get_tracing_state() is not None


def is_recorded(tensors: Sequence[Tensor | None]) -> bool:
    """Whether a backward pass may come."""
    return torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)


def is_in_memory(tensor: Tensor | None) -> bool:
    """Whether a tensor's memory holds its values: no sign is kept apart, and zeros are written out."""
    return tensor is None or not (tensor.is_neg() or tensor._is_zerotensor())


def is_transformed() -> bool:
    """Whether torch.func is at work."""
    return torch._C._are_functorch_transforms_active()


def moves_forward() -> bool:
    """Whether tensors may carry forward-mode tangents."""
    return forward_ad._current_level >= 0


def without_dead_wrappers(tensors: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Without what torch.func left wrapped when it was done, as in the function that torch.func.vjp returns."""
    unwrap = torch._C._functorch.unwrap_if_dead
    return [None if tensor is None else unwrap(tensor) for tensor in tensors]
