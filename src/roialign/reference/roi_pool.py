"""RoIPool, the operator that RoIAlign replaced (Girshick, "Fast R-CNN", ICCV 2015): rounded bins and a maximum."""

from __future__ import annotations

import math

import numpy as np

from .._typing import Array, FloatArray


def roi_pool(features: Array, rois: Array, output_size: tuple[int, int], spatial_scale: float = 1.0) -> FloatArray:
    """Pool ``[N, C, H, W]`` features over ``[K, 5]`` RoIs by rounded bins, in torchvision's convention.

    Concretely, out[k, c, i, j] is the maximum of channel c over the whole pixels of :func:`integer_bins` i and j; an
    empty bin is 0.
    """
    features = np.asarray(features, dtype=np.float64)
    out = np.zeros((len(rois), features.shape[1], *output_size))
    for k, (image, x1, y1, x2, y2) in enumerate(np.asarray(rois, dtype=np.float64).tolist()):
        rows = integer_bins(y1, y2, spatial_scale, output_size[0], features.shape[2])
        columns = integer_bins(x1, x2, spatial_scale, output_size[1], features.shape[3])
        for i, (top, bottom) in enumerate(rows):
            for j, (left, right) in enumerate(columns):
                if bottom > top and right > left:
                    out[k, :, i, j] = features[int(image), :, top:bottom, left:right].max(axis=(1, 2))
    return out


def integer_bins(lower: float, upper: float, spatial_scale: float, bins: int, size: int) -> list[tuple[int, int]]:
    """The pixels ``[first, last)`` of every bin along one axis: corners rounded, both ends included, then clipped."""
    start, end = _round(lower * spatial_scale), _round(upper * spatial_scale)
    bin_length = max(end - start + 1, 1) / bins
    edges = [
        (math.floor(index * bin_length) + start, math.ceil((index + 1) * bin_length) + start) for index in range(bins)
    ]
    return [(min(max(first, 0), size), min(max(last, 0), size)) for first, last in edges]


def _round(value: float) -> int:
    """Round half away from zero, as C does and Python does not."""
    return int(math.copysign(math.floor(abs(value) + 0.5), value))
