"""The pointwise family for tensors: how an operator is written in a schema, and who computes it.

All numbers that describe a RoI lie in one row, ``(image, box, bin offsets, bin masks)``: so derivatives along all of
them are derivatives in "the boxes", as the pairing has them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..._levels import Assignment
from ..._spec import PointwiseSpec
from ..backends import backend_for, export_of
from .pairing import Pairing
from .primitive import Inputs


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
    more_arguments: ClassVar[dict[str, str]] = {"deciding": "Tensor[]?"}
    order = 2  # where one of them is along the masks alone, in which every operator is linear
    schema = (
        ", ".join(f"{kind} {name}" for name, kind in FIELDS.items())
        + ", float[] scales, float[]? assignment, str? invalid, str? backend, str argument, SymInt[] bins, "
        "bool has_offset, bool has_mask"
    )

    def flatten(self, call: PointwiseCall) -> list[Any]:
        values = {name: getattr(call.spec, name) for name in FIELDS}
        values["sampling_ratio"] = list(call.spec.sampling_ratio)
        values["minimum_length"] = None if call.spec.minimum_length == -math.inf else call.spec.minimum_length
        # 64 bits, signed in a schema
        values["seed"] = call.spec.seed - (1 << 64) if call.spec.seed >= 1 << 63 else call.spec.seed
        assignment = None if call.assignment is None else list(call.assignment)
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
        first = of_first_order(call, inputs, 1)
        if first is None:
            out.zero_()
        else:
            backend_for(self.name, out, call.backend).forward(call, first, out)

    def adjoint_features(self, call: PointwiseCall, inputs: Inputs, grad_features: Sequence[Tensor]) -> None:
        first = of_first_order(call, inputs, 1)
        if first is None:
            for gradient in grad_features:
                gradient.zero_()
        else:
            backend_for(self.name, inputs.grad_output, call.backend).adjoint_features(call, first, grad_features)

    def adjoint_boxes(self, call: PointwiseCall, inputs: Inputs, grad_rois: Tensor) -> None:
        first = of_first_order(call, inputs, 0)
        if first is not None:
            backend_for(self.name, inputs.grad_output, call.backend).adjoint_boxes(call, first, grad_rois)
            if inputs.tangents:
                grad_rois[:, mask_column(call) :] = 0

    def standard(self, call: PointwiseCall, inputs: Inputs, output_size: tuple[int, ...]) -> Tensor:
        answer: Tensor = export_of(self.name).forward(call, inputs, (output_size[0], output_size[1]))
        return answer

    def linear_part(self, call: PointwiseCall) -> PointwiseCall:
        return call

    def channels_of_answer(self, call: PointwiseCall, channels: int, output_size: tuple[int, ...]) -> int:
        return channels // math.prod(output_size) if call.spec.channels == "position" else channels

    def mixes_channels(self, call: PointwiseCall) -> bool:
        return call.spec.channels != "same"

    def counts_rows(self, call: PointwiseCall) -> bool:
        return call.spec.rule == "random"


def mask_column(call: PointwiseCall) -> int:
    """Where the masks begin in a row."""
    return 1 + call.spec.geometry + (2 * math.prod(call.bins) if call.has_offset else 0)


def of_first_order(call: PointwiseCall, inputs: Inputs, most: int) -> Inputs | None:
    """The same derivative with at most so many tangents; None where it is zero.

    An operator is linear in its masks: its derivative along them is the operator with those masks. A second derivative
    in all else that a row holds has no formula here. To tell the two apart takes looking at the tangents: such a second
    derivative waits for a GPU, which nothing else does.
    """
    if len(inputs.tangents) <= most:
        return inputs
    begin = mask_column(call)
    still = [not bool(tangent[:, 1:begin].any()) for tangent in inputs.tangents]
    if not any(still):
        what = "boxes, angles and bin offsets" if call.has_offset else "boxes"
        raise NotImplementedError(f"pointwise: derivatives in the {what} are available up to order 1")
    if not call.has_mask:
        return None
    along = inputs.tangents[still.index(True)]
    rest = [tangent.clone() for index, tangent in enumerate(inputs.tangents) if index != still.index(True)]
    for tangent in rest:
        tangent[:, begin:] = 0
    rows = torch.cat([inputs.rois[:, :begin].double(), along[:, begin:].double()], dim=1)
    return inputs._replace(rois=rows, tangents=tuple(rest))


POINTWISE = Pairing(PointwiseFamily())
