"""Conversion of RoIs from tensors for the CPU backends. Their values are validated here, once per call."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..._derivatives import Inputs, Operator
from ..._levels import levels_of
from ..._regions import Geometry, Regions
from ..._rows import check_offset_rows, check_rows
from ..._typing import Array
from ..._warnings import RoIReport, last_call
from ..memory import memory_of


def regions_of(operator: Operator[Any], inputs: Inputs, images: int) -> Regions:
    """Return the validated RoIs of a call."""
    given, numbers = array_of(inputs.rois), operator.spec.geometry()
    rows = np.ascontiguousarray(given[:, : numbers + 1], dtype=np.float64)
    rows = check_rows(rows, images, operator.invalid, operator.argument)
    offset, mask = _per_bin(operator, given)
    if offset is not None:
        rows, offset = check_offset_rows(rows, offset, operator.invalid)
    levels = None if inputs.levels is None else inputs.levels.detach().numpy()
    return Regions(operator.scales, rows, levels_of(rows, operator.scales, levels, operator.assignment), offset, mask)


def keep_report(suspicions: int, regions: Regions, inputs: Inputs) -> None:
    """Store the core's report about the RoIs, for the call that may warn about them."""
    if suspicions:
        last_call.report = RoIReport(
            suspicions, regions, [(level.shape[2], level.shape[3]) for level in inputs.features]
        )


def spec_of(operator: Operator[Any], inputs: Inputs) -> Any:
    """Return the specification of the operator, with the seed that was drawn for it."""
    spec: Any = operator.spec
    return spec if inputs.drawn_seed is None else spec._replace(seed=int(inputs.drawn_seed))


def tangents_of(operator: Operator[Any], inputs: Inputs) -> list[Geometry]:
    """Return the tangents of the RoIs."""
    given = [array_of(tangent) for tangent in inputs.tangents]
    numbers = operator.spec.geometry()
    return [
        Geometry(np.ascontiguousarray(rows[:, 1 : numbers + 1], dtype=np.float64), *_per_bin(operator, rows))
        for rows in given
    ]


def put_together(gradient: Geometry, grad_rois: Tensor) -> None:
    """Write the gradients into the columns after the image index."""
    if gradient.offset is None and gradient.mask is None:
        grad_rois[:, 1:] = torch.from_numpy(gradient.boxes)
        return
    values: Array = np.concatenate(
        [part.reshape(len(part), math.prod(part.shape[1:])) for part in gradient if part is not None], axis=1
    )
    grad_rois[:, 1:] = torch.from_numpy(values)


def array_of(tensor: Tensor) -> Array:
    """Return the values as an array, without a copy if NumPy supports the dtype."""
    values: Any = tensor.detach()
    memory_of(values)  # raises an error if there is none, where NumPy would make some up
    return (values.double() if values.dtype == torch.bfloat16 else values).numpy()  # type: ignore[no-any-return]


def _per_bin(operator: Operator[Any], rows: Array) -> tuple[Array | None, Array | None]:
    """Return the bin offsets and masks, which follow the box in a row, as float64."""
    bins, place = math.prod(operator.bins), operator.spec.geometry() + 1
    offset = mask = None
    if operator.has_offset:
        part = np.ascontiguousarray(rows[:, place : place + 2 * bins], dtype=np.float64)
        offset = part.reshape(-1, 2, *operator.bins)
        place += 2 * bins
    if operator.has_mask:
        part = np.ascontiguousarray(rows[:, place : place + bins], dtype=np.float64)
        mask = part.reshape(-1, *operator.bins)
    return offset, mask
