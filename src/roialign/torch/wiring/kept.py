"""The tensors that a Function keeps for its backward pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor


def keep_tensors(ctx: Any, tensors: Sequence[Tensor | None]) -> None:
    """Keep tensors for the backward pass."""
    ctx.save_for_backward(*tensors)
    ctx.described = [_described(tensor) for tensor in tensors]


def kept_tensors(ctx: Any) -> tuple[Any, ...]:
    """Return the tensors that were kept, after checking that they still have their shapes and dtypes.

    A hook of saved tensors or an assignment to `.data` can replace them, and kernels would read memory that is not
    theirs.
    """
    tensors: tuple[Any, ...] = ctx.saved_tensors
    for tensor, before in zip(tensors, ctx.described, strict=True):
        now = _described(tensor)
        if now != before:
            raise ValueError(
                f"roialign: expected in the backward pass the tensor of the forward pass, {_words(before)}, got "
                f"{_words(now)}; a hook of saved tensors or an assignment to `.data` has replaced it"
            )
    return tensors


def _described(tensor: Tensor | None) -> Any:
    return None if tensor is None else (tensor.shape, tensor.dtype)


def _words(described: Any) -> str:
    return "none" if described is None else f"{tuple(described[0])} of {described[1]}"
