"""The separable family for tensors: how an operator is written in a schema, and who computes it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import Tensor

from ..._levels import Assignment
from ..._spec import SeparableSpec
from ..backends import backend_for, export_of
from .pairing import Pairing
from .primitive import Inputs


@dataclass(frozen=True)
class SeparableCall:
    """An operator on levels of given scales, and what a call of it says besides tensors."""

    spec: SeparableSpec
    scales: tuple[float, ...]
    assignment: Assignment | None = None
    invalid: str | None = None
    backend: str | None = None
    argument: str = "rois"
    """What the user calls the boxes."""


class SeparableFamily:
    """The backends, and the schema."""

    name = "separable"
    more_arguments: ClassVar[dict[str, str]] = {}
    order = 2
    schema = (
        "float[] scales, str rule, SymInt[] sampling_ratio, float offset, float? minimum_length, "
        "bool normalised_boxes, float fill, SymInt seed, float[]? assignment, str? invalid, str? backend, str argument"
    )

    def flatten(self, call: SeparableCall) -> list[Any]:
        spec = call.spec
        return [
            list(call.scales),
            spec.rule,
            list(spec.sampling_ratio),
            spec.offset,
            None if spec.minimum_length == -math.inf else spec.minimum_length,
            spec.normalised_boxes,
            spec.fill,
            # 64 bits, signed in a schema
            spec.seed - (1 << 64) if spec.seed >= 1 << 63 else spec.seed,
            None if call.assignment is None else list(call.assignment),
            call.invalid,
            call.backend,
            call.argument,
        ]

    def unflatten(self, values: Sequence[Any]) -> SeparableCall:
        scales, rule, ratio, offset, minimum, normalised, fill, seed, assignment, invalid, backend, argument = values
        spec = SeparableSpec(
            rule=rule,
            sampling_ratio=tuple(ratio),
            offset=offset,
            minimum_length=-math.inf if minimum is None else minimum,
            normalised_boxes=normalised,
            fill=fill,
            seed=seed % (1 << 64),
        )
        assigned = Assignment(*assignment) if assignment else None
        return SeparableCall(spec, tuple(scales), assigned, invalid, backend, argument)

    def forward(self, call: SeparableCall, inputs: Inputs, out: Tensor) -> None:
        backend_for(self.name, out, call.backend).forward(call, inputs, out)

    def adjoint_features(self, call: SeparableCall, inputs: Inputs, grad_features: Sequence[Tensor]) -> None:
        backend_for(self.name, inputs.grad_output, call.backend).adjoint_features(call, inputs, grad_features)

    def adjoint_boxes(self, call: SeparableCall, inputs: Inputs, grad_rois: Tensor) -> None:
        backend_for(self.name, inputs.grad_output, call.backend).adjoint_boxes(call, inputs, grad_rois)

    def standard(self, call: SeparableCall, inputs: Inputs, output_size: tuple[int, ...]) -> Tensor:
        answer: Tensor = export_of(self.name).forward(call, inputs, output_size)
        return answer

    def linear_part(self, call: SeparableCall) -> SeparableCall:
        return replace(call, spec=replace(call.spec, fill=0.0)) if call.spec.fill else call

    def channels_of_answer(self, call: SeparableCall, channels: int, output_size: tuple[int, ...]) -> int:
        del call, output_size
        return channels

    def mixes_channels(self, call: SeparableCall) -> bool:
        del call
        return False

    def counts_rows(self, call: SeparableCall) -> bool:
        return call.spec.rule == "random"


SEPARABLE = Pairing(SeparableFamily())
