"""The pointwise family: CPU tensors to the compiled core, by pointer."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ... import _core
from ...numpy.cpu.pointwise import core_spec
from ..memory import memory_of
from ..wiring.pointwise import PointwiseCall
from ..wiring.primitive import Inputs
from .host_pointwise import put_together, spec_of, tangent_of, where_of
from .separable import SCALAR_TYPES
from .threads import team


def forward(call: PointwiseCall, inputs: Inputs, out: Tensor) -> None:
    """Write D_T f(X; b) into `out`."""
    images, geometry, levels = where_of(call, inputs, inputs.features[0].shape[0])
    _core.pointwise_forward(
        core_spec(spec_of(call, inputs)),
        SCALAR_TYPES[out.dtype],
        [memory_of(level) for level in inputs.features],
        call.scales,
        images,
        geometry,
        levels,
        memory_of(out),
        tangent_of(call, inputs),
        [memory_of(level) for level in inputs.deciding],
        team(out),
    )


def adjoint_features(call: PointwiseCall, inputs: Inputs, grad_features: Sequence[Tensor]) -> None:
    """Write (D_T f)^T G into the maps, every element of them."""
    images, geometry, levels = where_of(call, inputs, grad_features[0].shape[0])
    _core.pointwise_adjoint_features(
        core_spec(spec_of(call, inputs)),
        SCALAR_TYPES[inputs.grad_output.dtype],
        memory_of(inputs.grad_output),
        [memory_of(level) for level in inputs.deciding],
        call.scales,
        images,
        geometry,
        levels,
        [memory_of(level) for level in grad_features],
        tangent_of(call, inputs),
        team(inputs.grad_output, *grad_features),
    )


def adjoint_boxes(call: PointwiseCall, inputs: Inputs, grad_rois: Tensor) -> None:
    """Write the gradient of <G, D_T f(X; b)> in the geometry into all columns but the first."""
    images, geometry, levels = where_of(call, inputs, inputs.features[0].shape[0])
    gradient = geometry.still()
    _core.pointwise_adjoint_geometry(
        core_spec(spec_of(call, inputs)),
        SCALAR_TYPES[inputs.grad_output.dtype],
        memory_of(inputs.grad_output),
        [memory_of(level) for level in inputs.features],
        call.scales,
        images,
        geometry,
        levels,
        gradient,
        [memory_of(level) for level in inputs.deciding],
        team(inputs.grad_output),
    )
    put_together(gradient, grad_rois)
