"""Assignment of boxes to levels, for NumPy arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .._levels import Assignment, assign_levels, finite_boxes
from .._typing import Array
from .checks import check_array, check_boxes


def fpn_levels(rois: object, scales: Sequence[float], assignment: Assignment) -> Array:
    """Compute :func:`roialign.fpn_levels` for an array or a list of arrays."""
    return assign_levels(_boxes_of(rois), scales, assignment)


def _boxes_of(rois: object) -> Array:
    """Return the boxes as a finite ``[K, 4]`` float64 array."""
    if isinstance(rois, (list, tuple)):
        per_image = [check_array(boxes, f"rois[{index}]") for index, boxes in enumerate(rois)]
        for index, boxes in enumerate(per_image):
            check_boxes(boxes, 4, f"rois[{index}]")
        return np.concatenate(
            [np.zeros((0, 4)), *[finite_boxes(boxes, f"rois[{index}]") for index, boxes in enumerate(per_image)]]
        )
    array = check_array(rois, "rois")
    if array.ndim != 2 or array.shape[1] not in (4, 5):
        raise ValueError(f"rois: expected shape [K, 4] or [K, 5], got {array.shape}")
    check_boxes(array, array.shape[1], "rois")
    return finite_boxes(array[:, -4:])
