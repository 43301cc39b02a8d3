"""RoIPool, the operator that RoIAlign replaced (Girshick, "Fast R-CNN", ICCV 2015): rounded bins and a maximum."""

from __future__ import annotations

import numpy as np

from .._regions import Geometry
from .._spec import PointwiseSpec
from .._typing import Array, FloatArray
from .bin_grid import integer_bin
from .map_boxes import map_boxes_rounded
from .pointwise import forward

#: torchvision's convention: the pixels at both ends are part of the RoI.
ROI_POOL = PointwiseSpec(mapping="rounded", rule="pixels", reduction="max", extra_pixels=1)


def roi_pool(features: Array, rois: Array, output_size: tuple[int, int], spatial_scale: float = 1.0) -> FloatArray:
    """Pool ``[N, C, H, W]`` features over ``[K, 5]`` RoIs with rounded bins.

    Concretely, out[k, c, i, j] is the maximum of channel c over the whole pixels of :func:`integer_bins` i and j. An
    empty bin is 0.
    """
    rows = np.asarray(rois, dtype=np.float64)
    levels = np.zeros(len(rows), dtype=np.int64)
    where = (rows[:, 0].astype(np.int64), Geometry(rows[:, 1:]), levels, output_size)
    return forward(ROI_POOL, [np.asarray(features, dtype=np.float64)], [spatial_scale], *where)


def integer_bins(lower: float, upper: float, spatial_scale: float, bins: int, size: int) -> list[tuple[int, int]]:
    """The pixels ``[first, last)`` of every bin along one axis: corners rounded, both ends included, then clipped."""
    start, length = map_boxes_rounded(lower, upper, spatial_scale, ROI_POOL.extra_pixels)
    return [integer_bin(start, length, bins, index, size) for index in range(bins)]
