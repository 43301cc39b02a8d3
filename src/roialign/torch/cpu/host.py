"""Boxes on their way from tensors to a backend that runs on the host: validated there, once for every call."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ... import _validate
from ..._levels import levels_of
from ..._spec import SeparableSpec
from ..._typing import Array
from ..wiring.primitive import Inputs
from ..wiring.separable import SeparableCall


def rows_of(call: SeparableCall, inputs: Inputs, images: int) -> tuple[Array, Array]:
    """The rows (image, x1, y1, x2, y2) and the level of each."""
    rois = _validate.check_rois(array_of(inputs.rois), images, None, call.invalid, call.argument)
    levels = None if inputs.levels is None else inputs.levels.detach().numpy()
    return rois.rows, levels_of(rois.rows, call.scales, levels, call.assignment)


def spec_of(call: SeparableCall, inputs: Inputs) -> SeparableSpec:
    """The operator, with the seed that was drawn for it."""
    return call.spec if inputs.drawn_seed is None else replace(call.spec, seed=int(inputs.drawn_seed))


def tangents_of(inputs: Inputs) -> list[Array]:
    return [np.ascontiguousarray(array_of(tangent)[:, 1:], dtype=np.float64) for tangent in inputs.tangents]


def array_of(tensor: Tensor) -> Array:
    """The values as an array, shared where NumPy has the dtype."""
    values: Any = tensor.detach()
    return (values.double() if values.dtype == torch.bfloat16 else values).numpy()  # type: ignore[no-any-return]
