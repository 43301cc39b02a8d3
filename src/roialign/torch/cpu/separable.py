"""The separable family on CPU tensors, by the compiled core and without copies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ... import _core
from ..._core_specs import core_separable
from ..._derivatives import Inputs, Operator
from ..._typing import Array
from ..memory import memory_of
from .host import keep_report, regions_of, spec_of, tangents_of
from .threads import team
from .types import SCALAR_TYPES


def forward(operator: Operator[Any], inputs: Inputs, out: Tensor) -> None:
    """Write D_T f(X; b) into `out`."""
    regions = regions_of(operator, inputs, inputs.features[0].shape[0])
    suspicions = _core.forward(
        core_separable(spec_of(operator, inputs)),
        SCALAR_TYPES[out.dtype],
        [memory_of(level) for level in inputs.features],
        operator.scales,
        regions.rows,
        regions.levels,
        _boxes_of(operator, inputs),
        memory_of(out),
        team(out),
    )
    keep_report(suspicions, regions, inputs)


def adjoint_features(operator: Operator[Any], inputs: Inputs, grad_features: Sequence[Tensor]) -> None:
    """Write (D_T f)^T G into every element of the maps."""
    regions = regions_of(operator, inputs, grad_features[0].shape[0])
    _core.adjoint_features(
        core_separable(spec_of(operator, inputs)),
        SCALAR_TYPES[inputs.grad_output.dtype],
        memory_of(inputs.grad_output),
        operator.scales,
        regions.rows,
        regions.levels,
        _boxes_of(operator, inputs),
        [memory_of(level) for level in grad_features],
        team(inputs.grad_output, *grad_features),
    )


def adjoint_boxes(operator: Operator[Any], inputs: Inputs, grad_rois: Tensor) -> None:
    """Write the gradient of <G, D_T f(X; b)> in the boxes into the last four columns."""
    regions = regions_of(operator, inputs, inputs.features[0].shape[0])
    grad_boxes: Any = np.empty((len(regions.rows), 4))
    _core.adjoint_boxes(
        core_separable(spec_of(operator, inputs)),
        SCALAR_TYPES[inputs.grad_output.dtype],
        memory_of(inputs.grad_output),
        [memory_of(level) for level in inputs.features],
        operator.scales,
        regions.rows,
        regions.levels,
        _boxes_of(operator, inputs),
        grad_boxes,
        team(inputs.grad_output),
    )
    grad_rois[:, 1:] = torch.from_numpy(grad_boxes)


def _boxes_of(operator: Operator[Any], inputs: Inputs) -> list[Array]:
    return [tangent.boxes for tangent in tangents_of(operator, inputs)] if inputs.tangents else []
