"""Precise RoI Pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._docstrings import parameters_of
from .._frameworks import single_map_call, single_map_forward
from .._recording import recordable
from .._spec import SeparableSpec
from .._typing import AnyArray, Backend, Invalid, Layout, NeedRois, Number, Pair
from .roi_align import roi_align, roi_align_backward

#: There is no half-pixel shift, and an inverted RoI counts as empty.
PRROI_POOL = SeparableSpec(rule="prroi", minimum_length=0.0)


@recordable
@parameters_of(roi_align)
def prroi_pool(
    features: AnyArray,
    rois: AnyArray | Sequence[AnyArray],
    output_size: Pair,
    spatial_scale: Number = 1.0,
    *,
    batch_indices: AnyArray | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid | None = None,
    out: AnyArray | None = None,
    backend: Backend | None = None,
) -> AnyArray:
    """Precise RoI Pooling: integrate the interpolated map over every bin of each RoI.

    Concretely, ``out[k, c, i, j]`` is ``1 / A`` times the integral of ``f_c(x, y)`` over bin (i, j) of RoI k, where A
    is the area of the bin and ``f_c(x, y) = sum over p, q of features[n, c, q, p] * max(0, 1 - |x - p|) * max(0, 1 -
    |y - q|)`` interpolates the zero-padded map. If a RoI has no area, the result is 0.

    There are three differences from ``roi_align(..., sampling="exact")``. There is no half-pixel shift. Beyond its edge
    the map falls to zero within one pixel, instead of keeping the edge value. An inverted box counts as empty.

    Parameters
    ----------
    features, rois, output_size, spatial_scale, ... : as in :func:`roi_align`

    Returns
    -------
    array ``[K, C, PH, PW]``, or ``[K, PH, PW, C]`` with ``layout="NHWC"``; with the dtype of `features`

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid. The message names the argument and the row, what was expected and what was given.

    Examples
    --------
    A single pixel of value 1, integrated from its centre to one pixel away along both axes:

    >>> import numpy as np
    >>> import roialign
    >>> pixel = np.ones((1, 1, 1, 1))
    >>> roialign.prroi_pool(pixel, np.array([[0, 0.0, 0.0, 1.0, 1.0]]), 1)
    array([[[[0.25]]]])

    References
    ----------
    Jiang, Luo, Mao, Xiao, Jiang, "Acquisition of Localization Confidence for Accurate Object Detection", ECCV 2018,
    https://arxiv.org/abs/1807.11590
    """
    output: AnyArray = single_map_forward(
        PRROI_POOL, features, spatial_scale, rois, output_size, out, layout, batch_indices, invalid, backend
    )
    return output


@recordable
@parameters_of(prroi_pool, roi_align_backward)
def prroi_pool_backward(
    grad_output: AnyArray,
    features: AnyArray,
    rois: AnyArray | Sequence[AnyArray],
    spatial_scale: Number = 1.0,
    *,
    need: NeedRois = ("features", "rois"),
    batch_indices: AnyArray | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid | None = None,
    backend: Backend | None = None,
) -> tuple[AnyArray | Any, AnyArray | Any]:
    """The gradients of :func:`prroi_pool` with respect to the features and the boxes.

    Concretely, with ``L = sum(grad_output * prroi_pool(features, rois, ...))``, ``grad_features[n, c, y, x]`` is
    dL/dfeatures[n, c, y, x] and ``grad_rois[k]`` holds dL/dx1, dL/dy1, dL/dx2, dL/dy2 in image pixels.
    Both are continuous functions of the boxes.

    Parameters
    ----------
    grad_output : array with the shape, layout and dtype of the forward result
    features, rois, ... : as in :func:`prroi_pool`
    need : as in :func:`roi_align_backward`

    Returns
    -------
    (grad_features, grad_rois)
        `grad_features` is like `features`, and `grad_rois` has the structure of `rois`. A gradient that is not in
        `need` is None.

    Raises
    ------
    TypeError, ValueError
        As for :func:`prroi_pool`.

    Examples
    --------
    Growing the box away from a lone pixel lowers the mean:

    >>> import numpy as np
    >>> import roialign
    >>> pixel = np.ones((1, 1, 1, 1))
    >>> _, grad_rois = roialign.prroi_pool_backward(
    ...     np.ones((1, 1, 1, 1)), pixel, np.array([[0, 0.0, 0.0, 1.0, 1.0]]), need=("rois",)
    ... )
    >>> grad_rois
    array([[ 0.  , -0.25, -0.25, -0.25, -0.25]])
    """
    call = single_map_call(
        PRROI_POOL,
        features,
        spatial_scale,
        rois,
        batch_indices=batch_indices,
        layout=layout,
        invalid=invalid,
        backend=backend,
    )
    grad_features, grad_rois = call.backward(grad_output, need)
    return (None if grad_features is None else grad_features[0]), grad_rois
