"""The tensors that a Function keeps for its backward pass.

A hook of saved tensors, or an assignment to `.data`, can replace them by others. Kernels would then read memory that is
not theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

#: The shape and the dtype of a tensor, or None if there is none.
Description = tuple[Sequence[int], Any] | None


def keep_tensors(ctx: Any, tensors: Sequence[Tensor | None]) -> None:
    """Keep tensors for the backward pass."""
    ctx.save_for_backward(*tensors)
    ctx.descriptions = [description_of(tensor) for tensor in tensors]


def kept_tensors(ctx: Any) -> tuple[Any, ...]:
    """Return the tensors that were kept, after checking that they still have their shapes and dtypes."""
    tensors: tuple[Any, ...] = ctx.saved_tensors
    check_kept(tensors, ctx.descriptions)
    return tensors


def check_kept(tensors: Sequence[Tensor | None], before: Sequence[Description]) -> None:
    """Check that tensors have the shapes and dtypes of those that were kept."""
    for tensor, expected in zip(tensors, before, strict=True):
        found = description_of(tensor)
        if found != expected:
            raise ValueError(
                f"roialign: expected in the backward pass the tensor of the forward pass, {_words(expected)}, got "
                f"{_words(found)}; a hook of saved tensors or an assignment to `.data` has replaced it"
            )


def description_of(tensor: Tensor | None) -> Description:
    """The shape and the dtype of a tensor."""
    return None if tensor is None else (tensor.shape, tensor.dtype)


def _words(description: Description) -> str:
    return "none" if description is None else f"{tuple(description[0])} of {description[1]}"
