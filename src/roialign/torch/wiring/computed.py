"""Results that have been computed already, outside of the Function that makes them differentiable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

#: The gradients of the maps, given that of the result and the tensors that were kept. It checks what it reads of them:
#: see :mod:`.kept`.
Adjoint = Callable[..., Sequence[Tensor]]


class Computed(torch.autograd.Function):
    """A result that has been computed already, with its gradient in the maps."""

    @staticmethod
    def forward(ctx: Any, adjoint: Adjoint, result: list[Tensor], kept: Sequence[Tensor], *maps: Tensor) -> Tensor:
        del maps  # arguments, so that the result depends on them
        ctx.save_for_backward(*kept)
        ctx.set_materialize_grads(False)
        ctx.adjoint = adjoint
        return result[0]

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor | None) -> tuple[Any, ...]:
        if grad_output is None:
            return (None,) * len(ctx.needs_input_grad)
        return None, None, None, *ctx.adjoint(grad_output, *ctx.saved_tensors)


#: Applies the Function without torch.func, whose transforms take the general way.
_apply = super(torch.autograd.Function, Computed).apply


def differentiable(result: Tensor, adjoint: Adjoint, kept: Sequence[Tensor], maps: Sequence[Tensor]) -> Tensor:
    """Return the result with a gradient in the maps. The list keeps torch from treating it as an input."""
    output: Tensor = _apply(adjoint, [result], kept, *maps)  # type: ignore[no-untyped-call]
    return output
