"""The pointwise family for tensors: how an operator is written in a schema, and who computes it.

All numbers that describe a RoI lie in one row, ``(image, box, bin offsets, bin masks)``: so derivatives along all of
them are derivatives in "the boxes", as the pairing has them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from torch import Tensor

from .._levels import Assignment
from .._spec import PointwiseSpec
from ._pairing import Pairing
from ._separable import POINTWISE as MODULES
from ._separable import backend_for
from ._wiring import Inputs


@dataclass(frozen=True)
class PointwiseCall:
    """An operator on levels of given scales, and what a call of it says besides tensors."""

    spec: PointwiseSpec
    scales: tuple[float, ...]
    assignment: Assignment | None = None
    invalid: str | None = None
    backend: str | None = None
    argument: str = "rois"
    bins: tuple[int, int] = (1, 1)
    has_offset: bool = False
    has_mask: bool = False


#: The fields of a PointwiseSpec, and their types in a schema.
FIELDS = {
    "mapping": "str",
    "rule": "str",
    "reduction": "str",
    "channels": "str",
    "sampling_ratio": "SymInt[]",
    "offset": "float",
    "minimum_length": "float?",
    "seed": "SymInt",
    "jitters_points": "bool",
    "clockwise": "bool",
    "orientations": "SymInt",
    "gamma": "float",
    "extra_pixels": "SymInt",
    "unused_border": "SymInt",
}
assert tuple(FIELDS) == tuple(field.name for field in fields(PointwiseSpec))


class PointwiseFamily:
    """The backends, and the schema."""

    name = "pointwise"
    more_arguments: ClassVar[dict[str, str]] = {"deciding": "Tensor[]"}
    order = 1
    schema = (
        ", ".join(f"{kind} {name}" for name, kind in FIELDS.items())
        + ", float[] scales, float[] assignment, str? invalid, str? backend, str argument, SymInt[] bins, "
        "bool has_offset, bool has_mask"
    )

    def flatten(self, call: PointwiseCall) -> list[Any]:
        values = {name: getattr(call.spec, name) for name in FIELDS}
        values["sampling_ratio"] = list(call.spec.sampling_ratio)
        values["minimum_length"] = None if call.spec.minimum_length == -math.inf else call.spec.minimum_length
        # 64 bits, signed in a schema
        values["seed"] = call.spec.seed - (1 << 64) if call.spec.seed >= 1 << 63 else call.spec.seed
        assignment = [] if call.assignment is None else list(call.assignment)
        rest = [list(call.scales), assignment, call.invalid, call.backend, call.argument, list(call.bins)]
        return [*values.values(), *rest, call.has_offset, call.has_mask]

    def unflatten(self, values: Sequence[Any]) -> PointwiseCall:
        given = dict(zip(FIELDS, values, strict=False))
        scales, assignment, invalid, backend, argument, bins, has_offset, has_mask = values[len(FIELDS) :]
        given["sampling_ratio"] = tuple(given["sampling_ratio"])
        given["minimum_length"] = -math.inf if given["minimum_length"] is None else given["minimum_length"]
        given["seed"] = given["seed"] % (1 << 64)
        assigned = Assignment(*assignment) if assignment else None
        spec = PointwiseSpec(**given)
        return PointwiseCall(
            spec, tuple(scales), assigned, invalid, backend, argument, tuple(bins), has_offset, has_mask
        )

    def forward(self, call: PointwiseCall, inputs: Inputs, out: Tensor) -> None:
        backend_for(out, call.backend, MODULES).forward(call, inputs, out)

    def adjoint_features(self, call: PointwiseCall, inputs: Inputs, grad_features: Sequence[Tensor]) -> None:
        backend_for(inputs.grad_output, call.backend, MODULES).adjoint_features(call, inputs, grad_features)

    def adjoint_boxes(self, call: PointwiseCall, inputs: Inputs, grad_rois: Tensor) -> None:
        backend_for(inputs.grad_output, call.backend, MODULES).adjoint_boxes(call, inputs, grad_rois)

    def standard(self, call: PointwiseCall, inputs: Inputs, output_size: tuple[int, ...]) -> Tensor:
        from .export_points import forward  # needs what only an export does

        return forward(call, inputs, (output_size[0], output_size[1]))

    def linear_part(self, call: PointwiseCall) -> PointwiseCall:
        return call

    def mixes_channels(self, call: PointwiseCall) -> bool:
        return call.spec.channels != "same"

    def counts_rows(self, call: PointwiseCall) -> bool:
        return call.spec.rule == "random"


POINTWISE = Pairing(PointwiseFamily())
