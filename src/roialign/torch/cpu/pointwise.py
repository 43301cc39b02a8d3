"""The pointwise family on CPU tensors, by the compiled core and without copies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ... import _core
from ..._core_specs import core_pointwise
from ..._derivatives import Inputs, Operator
from ..._regions import Geometry
from ..memory import Memory, memory_of
from .host import keep_report, put_together, regions_of, spec_of, tangents_of
from .threads import team
from .types import SCALAR_TYPES


def forward(operator: Operator[Any], inputs: Inputs, out: Tensor) -> None:
    """Write D_T f(X; b) into `out`."""
    regions = regions_of(operator, inputs, inputs.features[0].shape[0])
    suspicions = _core.pointwise_forward(
        core_pointwise(spec_of(operator, inputs)),
        SCALAR_TYPES[out.dtype],
        [memory_of(level) for level in inputs.features],
        operator.scales,
        regions.images,
        regions.geometry,
        regions.levels,
        memory_of(out),
        _tangent_of(operator, inputs),
        _deciding(inputs),
        team(out),
    )
    keep_report(suspicions, regions, inputs)


def adjoint_features(operator: Operator[Any], inputs: Inputs, grad_features: Sequence[Tensor]) -> None:
    """Write (D_T f)^T G into every element of the maps."""
    regions = regions_of(operator, inputs, grad_features[0].shape[0])
    _core.pointwise_adjoint_features(
        core_pointwise(spec_of(operator, inputs)),
        SCALAR_TYPES[inputs.grad_output.dtype],
        memory_of(inputs.grad_output),
        _deciding(inputs),
        operator.scales,
        regions.images,
        regions.geometry,
        regions.levels,
        [memory_of(level) for level in grad_features],
        _tangent_of(operator, inputs),
        team(inputs.grad_output, *grad_features),
    )


def adjoint_boxes(operator: Operator[Any], inputs: Inputs, grad_rois: Tensor) -> None:
    """Write the gradient of <G, D_T f(X; b)> in the geometry into all columns except the first."""
    regions = regions_of(operator, inputs, inputs.features[0].shape[0])
    geometry = regions.geometry
    gradient = geometry.still()
    _core.pointwise_adjoint_geometry(
        core_pointwise(spec_of(operator, inputs)),
        SCALAR_TYPES[inputs.grad_output.dtype],
        memory_of(inputs.grad_output),
        [memory_of(level) for level in inputs.features],
        operator.scales,
        regions.images,
        geometry,
        regions.levels,
        gradient,
        _deciding(inputs),
        team(inputs.grad_output),
    )
    put_together(gradient, grad_rois)


def _deciding(inputs: Inputs) -> list[Memory]:
    """The memory of the maps that decide a maximum."""
    return [memory_of(level) for level in inputs.deciding]


def _tangent_of(operator: Operator[Any], inputs: Inputs) -> Geometry | None:
    return tangents_of(operator, inputs)[0] if inputs.tangents else None
