"""Assignment of boxes to levels, for JAX arrays."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from .._levels import Assignment, assign_levels, check_assignment, finite_boxes
from . import checks, varying
from .dtypes import joined


def fpn_levels(rois: object, scales: Sequence[float], assignment: Assignment) -> Array:
    """Compute :func:`roialign.fpn_levels` for an array or a list of arrays, in float64 on the host."""
    boxes = _boxes_of(rois)
    compute = partial(_levels_on_host, scales=tuple(scales), assignment=check_assignment(scales, assignment))
    if checks.is_concrete(boxes):
        return jnp.asarray(compute(boxes))
    shape = jax.ShapeDtypeStruct(boxes.shape[:-1], jnp.int32)
    levels: Array = jax.pure_callback(compute, shape, jax.lax.stop_gradient(boxes), vmap_method="sequential")
    return varying.varying_as([levels], [boxes])[0]


def _levels_on_host(boxes: Any, scales: Sequence[float], assignment: Assignment) -> Any:
    return assign_levels(finite_boxes(np.asarray(boxes)), scales, assignment).astype(np.int32)


def _boxes_of(rois: object) -> Array:
    if isinstance(rois, (list, tuple)):
        per_image = [checks.check_array(boxes, f"rois[{index}]") for index, boxes in enumerate(rois)]
        for index, boxes in enumerate(per_image):
            checks.check_boxes(boxes, 4, f"rois[{index}]")
        return joined(per_image) if per_image else jnp.zeros((0, 4))
    array = checks.check_array(rois, "rois")
    if array.ndim != 2 or array.shape[1] not in (4, 5):
        raise ValueError(f"rois: expected shape [K, 4] or [K, 5], got {array.shape}")
    checks.check_boxes(array, array.shape[1], "rois")
    return array[:, -4:]
