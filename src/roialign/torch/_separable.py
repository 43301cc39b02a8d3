"""The separable family for tensors: how an operator is written in a schema, and who computes it."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any, ClassVar

from torch import Tensor

from .. import _validate
from .._levels import Assignment
from .._spec import SeparableSpec
from ._pairing import Pairing
from ._wiring import Inputs


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
        backend_for(out, call.backend).forward(call, inputs, out)

    def adjoint_features(self, call: SeparableCall, inputs: Inputs, grad_features: Sequence[Tensor]) -> None:
        backend_for(inputs.grad_output, call.backend).adjoint_features(call, inputs, grad_features)

    def adjoint_boxes(self, call: SeparableCall, inputs: Inputs, grad_rois: Tensor) -> None:
        backend_for(inputs.grad_output, call.backend).adjoint_boxes(call, inputs, grad_rois)

    def standard(self, call: SeparableCall, inputs: Inputs, output_size: tuple[int, ...]) -> Tensor:
        from . import export  # of use to few

        return export.forward(call, inputs, output_size)

    def linear_part(self, call: SeparableCall) -> SeparableCall:
        return replace(call, spec=replace(call.spec, fill=0.0)) if call.spec.fill else call

    def mixes_channels(self, call: SeparableCall) -> bool:
        del call
        return False

    def counts_rows(self, call: SeparableCall) -> bool:
        return call.spec.rule == "random"


#: By device: the backends that compute there, the default first.
BACKENDS = {
    "cpu": {"cpu": "roialign.torch._cpu", "reference": "roialign.torch._reference"},
    "cuda": {"triton": "roialign.torch._triton"},
}
#: Where Triton's kernels run on a device other than a GPU: in its interpreter, if asked for.
INTERPRETED = {"cpu": "roialign.torch._triton"}
#: The modules of the pointwise family have this at the end of their names.
POINTWISE = "_pointwise"


def check_backend(features: Tensor, name: str | None) -> None:
    """That the named backend, or any, computes where the features are."""
    device = features.device.type
    if device not in BACKENDS:
        raise ValueError(f"features: expected a tensor on the CPU or on a CUDA device, got one on {features.device}")
    if name == "triton" and device in INTERPRETED and not is_interpreted():
        raise ValueError(
            f"backend: 'triton' runs on CUDA tensors, and features is a tensor on {device}; use 'cpu' (or, to try the "
            "kernels without a GPU, set TRITON_INTERPRET=1 before the first import of triton)"
        )
    if name is not None and not (name == "triton" and device in INTERPRETED):
        _validate.check_choice(name, "backend", tuple(BACKENDS[device]))


def backend_for(tensor: Tensor, name: str | None, family: str = "") -> ModuleType:
    """The module with a family's three functions for a device; the name of the family is the module's ending."""
    return _load(tensor.device.type, name, family)


@cache
def _load(device: str, name: str | None, family: str) -> ModuleType:
    table = BACKENDS[device]
    module = INTERPRETED[device] if name == "triton" and name not in table else table[name or next(iter(table))]
    return import_module(module + family)


def is_interpreted() -> bool:
    """Whether Triton is there, and interprets its kernels."""
    return os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "on", "yes") and _is_installed()


@cache
def _is_installed() -> bool:
    return find_spec("triton") is not None


SEPARABLE = Pairing(SeparableFamily())
