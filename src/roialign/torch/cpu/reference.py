"""Both families on CPU tensors, by the reference, which computes in NumPy and float64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..._derivatives import Inputs, Operator
from ..._typing import Array
from ...reference import backend
from .host import put_together, regions_of, spec_of, tangents_of


def forward(operator: Operator[Any], inputs: Inputs, out: Tensor) -> None:
    """Write D_T f(X; b) into `out`."""
    regions = regions_of(operator, inputs, inputs.features[0].shape[0])
    result = np.empty(out.shape)
    features, deciding = _float64(inputs.features), _float64(inputs.deciding)
    spec, tangents = spec_of(operator, inputs), tangents_of(operator, inputs)
    backend.forward(spec, features, regions, result, tangents, deciding)
    out.copy_(torch.from_numpy(result))


def adjoint_features(operator: Operator[Any], inputs: Inputs, grad_features: Sequence[Tensor]) -> None:
    """Write (D_T f)^T G into the maps."""
    regions = regions_of(operator, inputs, grad_features[0].shape[0])
    results = [np.zeros(level.shape) for level in grad_features]
    deciding = _float64(inputs.deciding) or results
    (gradient,) = _float64([inputs.grad_output])
    spec, tangents = spec_of(operator, inputs), tangents_of(operator, inputs)
    backend.adjoint_features(spec, gradient, deciding, regions, results, tangents)
    for level, result in zip(grad_features, results, strict=True):
        level.copy_(torch.from_numpy(result))


def adjoint_boxes(operator: Operator[Any], inputs: Inputs, grad_rois: Tensor) -> None:
    """Write the gradient of <G, D_T f(X; b)> in the rows into all columns except the first."""
    regions = regions_of(operator, inputs, inputs.features[0].shape[0])
    features, deciding = _float64(inputs.features), _float64(inputs.deciding)
    (gradient,) = _float64([inputs.grad_output])
    spec, tangents = spec_of(operator, inputs), tangents_of(operator, inputs)
    put_together(backend.adjoint_geometry(spec, gradient, features, regions, tangents, deciding), grad_rois)


def _float64(tensors: Sequence[Tensor]) -> list[Array]:
    """Copy the values of tensors to float64 arrays."""
    return [tensor.detach().double().numpy() for tensor in tensors]
