"""The pointwise family: CPU tensors to the reference, which computes in NumPy and float64."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ...numpy.reference import pointwise as backend
from ..wiring.pointwise import PointwiseCall
from ..wiring.primitive import Inputs
from .host_pointwise import put_together, spec_of, tangent_of, where_of
from .reference import float64


def forward(call: PointwiseCall, inputs: Inputs, out: Tensor) -> None:
    """Write D_T f(X; b) into `out`."""
    where = where_of(call, inputs, inputs.features[0].shape[0])
    answer = np.empty(out.shape)
    features, deciding = [float64(level) for level in inputs.features], [float64(level) for level in inputs.deciding]
    spec, tangent = spec_of(call, inputs), tangent_of(call, inputs)
    backend.forward(spec, features, call.scales, *where, answer, tangent, deciding)
    out.copy_(torch.from_numpy(answer))


def adjoint_features(call: PointwiseCall, inputs: Inputs, grad_features: Sequence[Tensor]) -> None:
    """Write (D_T f)^T G into the maps."""
    where = where_of(call, inputs, grad_features[0].shape[0])
    answers = [np.zeros(level.shape) for level in grad_features]
    deciding = [float64(level) for level in inputs.deciding] or answers
    spec, tangent = spec_of(call, inputs), tangent_of(call, inputs)
    backend.adjoint_features(spec, float64(inputs.grad_output), deciding, call.scales, *where, answers, tangent)
    for level, answer in zip(grad_features, answers, strict=True):
        level.copy_(torch.from_numpy(answer))


def adjoint_boxes(call: PointwiseCall, inputs: Inputs, grad_rois: Tensor) -> None:
    """Write the gradient of <G, D_T f(X; b)> in the geometry into all columns but the first."""
    where = where_of(call, inputs, inputs.features[0].shape[0])
    features, deciding = [float64(level) for level in inputs.features], [float64(level) for level in inputs.deciding]
    gradient = float64(inputs.grad_output)
    answer = backend.adjoint_geometry(spec_of(call, inputs), gradient, features, call.scales, *where, deciding)
    put_together(answer, grad_rois)
