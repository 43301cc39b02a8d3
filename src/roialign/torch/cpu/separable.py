"""CPU tensors to the compiled core, by pointer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ... import _core
from ...numpy.cpu.separable import core_spec
from ..memory import memory_of
from ..wiring.primitive import Inputs
from ..wiring.separable import SeparableCall
from .host import rows_of, spec_of, tangents_of
from .threads import team

SCALAR_TYPES = {
    torch.float64: _core.ScalarType.float64,
    torch.float32: _core.ScalarType.float32,
    torch.float16: _core.ScalarType.float16,
    torch.bfloat16: _core.ScalarType.bfloat16,
}


def forward(call: SeparableCall, inputs: Inputs, out: Tensor) -> None:
    """Write D_T f(X; b) into `out`."""
    rows, levels = rows_of(call, inputs, inputs.features[0].shape[0])
    _core.forward(
        core_spec(spec_of(call, inputs)),
        SCALAR_TYPES[out.dtype],
        [memory_of(level) for level in inputs.features],
        call.scales,
        rows,
        levels,
        tangents_of(inputs),
        memory_of(out),
        team(out),
    )


def adjoint_features(call: SeparableCall, inputs: Inputs, grad_features: Sequence[Tensor]) -> None:
    """Write (D_T f)^T G into the maps, every element of them."""
    rows, levels = rows_of(call, inputs, grad_features[0].shape[0])
    _core.adjoint_features(
        core_spec(spec_of(call, inputs)),
        SCALAR_TYPES[inputs.grad_output.dtype],
        memory_of(inputs.grad_output),
        call.scales,
        rows,
        levels,
        tangents_of(inputs),
        [memory_of(level) for level in grad_features],
        team(inputs.grad_output, *grad_features),
    )


def adjoint_boxes(call: SeparableCall, inputs: Inputs, grad_rois: Tensor) -> None:
    """Write the gradient of <G, D_T f(X; b)> in the boxes into the last four columns."""
    rows, levels = rows_of(call, inputs, inputs.features[0].shape[0])
    grad_boxes: Any = np.empty((len(rows), 4))
    _core.adjoint_boxes(
        core_spec(spec_of(call, inputs)),
        SCALAR_TYPES[inputs.grad_output.dtype],
        memory_of(inputs.grad_output),
        [memory_of(level) for level in inputs.features],
        call.scales,
        rows,
        levels,
        tangents_of(inputs),
        grad_boxes,
        team(inputs.grad_output),
    )
    grad_rois[:, 1:] = torch.from_numpy(grad_boxes)
