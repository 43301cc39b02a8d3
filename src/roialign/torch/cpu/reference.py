"""CPU tensors to the reference, which computes in NumPy and float64."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..._typing import Array
from ...numpy.reference import separable as backend
from ..wiring.primitive import Inputs
from ..wiring.separable import SeparableCall
from .host import rows_of, spec_of, tangents_of


def forward(call: SeparableCall, inputs: Inputs, out: Tensor) -> None:
    """Write D_T f(X; b) into `out`."""
    rows, levels = rows_of(call, inputs, inputs.features[0].shape[0])
    answer = np.empty(out.shape)
    features = [float64(level) for level in inputs.features]
    backend.forward(spec_of(call, inputs), features, call.scales, rows, levels, answer, tangents_of(inputs))
    out.copy_(torch.from_numpy(answer))


def adjoint_features(call: SeparableCall, inputs: Inputs, grad_features: Sequence[Tensor]) -> None:
    """Write (D_T f)^T G into the maps."""
    rows, levels = rows_of(call, inputs, grad_features[0].shape[0])
    answers = [np.empty(level.shape) for level in grad_features]
    gradient = float64(inputs.grad_output)
    backend.adjoint_features(spec_of(call, inputs), gradient, call.scales, rows, levels, answers, tangents_of(inputs))
    for level, answer in zip(grad_features, answers, strict=True):
        level.copy_(torch.from_numpy(answer))


def adjoint_boxes(call: SeparableCall, inputs: Inputs, grad_rois: Tensor) -> None:
    """Write the gradient of <G, D_T f(X; b)> in the boxes into the last four columns."""
    rows, levels = rows_of(call, inputs, inputs.features[0].shape[0])
    features, gradient = [float64(level) for level in inputs.features], float64(inputs.grad_output)
    answer = backend.adjoint_boxes(
        spec_of(call, inputs), gradient, features, call.scales, rows, levels, tangents_of(inputs)
    )
    grad_rois[:, 1:] = torch.from_numpy(answer)


def float64(tensor: Tensor) -> Array:
    """The values of a tensor as an array of its own."""
    return tensor.detach().double().numpy()
