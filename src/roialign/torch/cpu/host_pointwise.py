"""The geometry of the pointwise family on its way from tensors to a backend that runs on the host."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from torch import Tensor

from ... import _validate
from ..._geometry import Geometry
from ..._levels import levels_of
from ..._spec import PointwiseSpec
from ..._typing import Array
from ..wiring.pointwise import PointwiseCall
from ..wiring.primitive import Inputs
from .host import array_of

#: Images, geometry and levels of the RoIs.
Where = tuple[Array, Geometry, Array]


def where_of(call: PointwiseCall, inputs: Inputs, images: int) -> Where:
    """The RoIs of a call, validated."""
    rows = array_of(inputs.rois)
    numbers = call.spec.geometry
    rois = _validate.check_rois(rows[:, : numbers + 1], images, None, call.invalid, call.argument, numbers).rows
    levels = None if inputs.levels is None else inputs.levels.detach().numpy()
    geometry = split(call, rows)._replace(boxes=np.ascontiguousarray(rois[:, 1:]))
    image = rois[:, 0].astype(np.int64)
    if geometry.offset is not None:
        finite = _validate.check_offset(geometry.offset, call.invalid)
        image = np.where(finite, image, -1)
        geometry = geometry._replace(offset=np.where(finite[:, None, None, None], geometry.offset, 0.0))
    return image, geometry, levels_of(rois, call.scales, levels, call.assignment)


def tangent_of(call: PointwiseCall, inputs: Inputs) -> Geometry | None:
    return split(call, array_of(inputs.tangents[0])) if inputs.tangents else None


def spec_of(call: PointwiseCall, inputs: Inputs) -> PointwiseSpec:
    """The operator, with the seed that was drawn for it."""
    return call.spec if inputs.drawn_seed is None else replace(call.spec, seed=int(inputs.drawn_seed))


def split(call: PointwiseCall, rows: Array) -> Geometry:
    """A row's numbers as what they are, in float64."""
    bins, place = math.prod(call.bins), call.spec.geometry + 1
    wide = rows.astype(np.float64)
    offset = mask = None
    if call.has_offset:
        offset = np.ascontiguousarray(wide[:, place : place + 2 * bins]).reshape(-1, 2, *call.bins)
        place += 2 * bins
    if call.has_mask:
        mask = np.ascontiguousarray(wide[:, place : place + bins]).reshape(-1, *call.bins)
    return Geometry(np.ascontiguousarray(wide[:, 1 : call.spec.geometry + 1]), offset, mask)


def put_together(gradient: Geometry, grad_rois: Tensor) -> None:
    """The way back for gradients, into the columns behind the image."""
    values: Array = np.concatenate(
        [part.reshape(len(part), math.prod(part.shape[1:])) for part in gradient if part is not None], axis=1
    )
    grad_rois[:, 1:] = grad_rois.new_tensor(values)
