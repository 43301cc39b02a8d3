"""Assign boxes to the levels of a feature pyramid."""

from __future__ import annotations

from collections.abc import Sequence

from .. import _validate
from .._frameworks import framework_of
from .._levels import Assignment
from .._recording import recordable
from .._typing import AnyArray, Numbers


@recordable
def fpn_levels(
    rois: AnyArray | Sequence[AnyArray],
    spatial_scales: Numbers,
    *,
    canonical_size: float = 224,
    canonical_level: int = 4,
) -> AnyArray:
    """Assign each box to a level of a feature pyramid by its size.

    Concretely, a box of area A has the target level
    ``t = floor(canonical_level + log2(sqrt(A) / canonical_size) + 1e-6)``, which stands for a stride of 2**t image
    pixels. The strides ``1 / spatial_scales`` are rounded to the nearest power of two. ``out[k]`` is the index of the
    coarsest level whose stride is at most 2**t, or of the finest level if there is none. If the strides are consecutive
    powers of two, this is torchvision's rule. Strides are never inferred from the shapes of the maps.

    Parameters
    ----------
    rois : array ``[K, 4]`` or ``[K, 5]``, or list of arrays ``[L, 4]``
        Boxes in image pixels, with or without a leading image index. An empty box is assigned to the finest level.
    spatial_scales : sequence of float
        Feature pixels per image pixel of each level, strictly decreasing: the finest level first.
    canonical_size : float, default 224
        The side, in image pixels, of a square box that is assigned to `canonical_level`.
    canonical_level : int, default 4
        The level of a box of size `canonical_size`; 4 is the level of stride 16.

    Returns
    -------
    int64 array ``[K]`` (int32 for JAX arrays)
        Indices into `spatial_scales`.

    Raises
    ------
    TypeError, ValueError
        If the boxes have the wrong shape or are not finite, or if the scales are not positive and decreasing.

    Examples
    --------
    >>> import numpy as np
    >>> import roialign
    >>> boxes = np.array([[0, 0, 100, 100], [0, 0, 224, 224], [0, 0, 800, 800]])
    >>> roialign.fpn_levels(boxes, [1 / 4, 1 / 8, 1 / 16, 1 / 32])
    array([0, 2, 3])

    References
    ----------
    Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017, eq. 1, https://arxiv.org/abs/1612.03144
    """
    scales = _validate.check_scales(spatial_scales)
    first = rois[0] if isinstance(rois, (list, tuple)) and rois else rois
    levels: AnyArray = framework_of(first).levels.fpn_levels(rois, scales, Assignment(canonical_size, canonical_level))
    return levels
