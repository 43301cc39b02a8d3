"""The arrays of a primitive in one flat list, as JAX passes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..._derivatives import Inputs


class Signature(NamedTuple):
    """Which of the fields of Inputs a call has, and how many arrays are in each."""

    features: int
    has_grad_output: bool
    has_levels: bool
    has_seed: bool
    tangents: int
    deciding: int

    def group(self, values: Sequence[Any]) -> Inputs:
        """One value per array, grouped as the inputs."""
        left = iter(values)

        def take(count: int) -> tuple[Any, ...]:
            return tuple([next(left) for _ in range(count)])

        def take_if(is_given: bool) -> Any:
            return next(left) if is_given else None

        return Inputs(
            take(self.features),
            take_if(self.has_grad_output),
            next(left),
            take_if(self.has_levels),
            take_if(self.has_seed),
            take(self.tangents),
            take(self.deciding),
        )

    def flatten(self, values: Inputs) -> list[Any]:
        """The values of the arrays that a call has, such as their gradients."""
        return [
            *values.features,
            *([values.grad_output] if self.has_grad_output else []),
            values.rois,
            *([values.levels] if self.has_levels else []),
            *([values.drawn_seed] if self.has_seed else []),
            *values.tangents,
            *values.deciding,
        ]


def signature_of(inputs: Inputs) -> Signature:
    return Signature(
        len(inputs.features),
        inputs.grad_output is not None,
        inputs.levels is not None,
        inputs.drawn_seed is not None,
        len(inputs.tangents),
        len(inputs.deciding),
    )
