"""Position-sensitive RoIAlign."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import _validate
from .._docstrings import parameters_of
from .._frameworks import single_map_call, single_map_forward
from .._recording import recordable
from .._spec import PointwiseSpec
from .._typing import AnyArray, Backend, Invalid, Layout, NeedRois, Number, Pair
from .roi_align import roi_align, roi_align_backward


@recordable
@parameters_of(roi_align)
def ps_roi_align(
    features: AnyArray,
    rois: AnyArray | Sequence[AnyArray],
    output_size: Pair,
    spatial_scale: Number = 1.0,
    sampling_ratio: Pair = 0,
    *,
    batch_indices: AnyArray | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid | None = None,
    out: AnyArray | None = None,
    backend: Backend | None = None,
) -> AnyArray:
    """Position-sensitive RoIAlign: every bin is pooled from its own group of channels.

    Concretely, ``out[k, c, i, j]`` is ``roi_align(features[:, (c * PH + i) * PW + j], rois, ...)[k, i, j]``. In R-FCN,
    this is the score of class c for part (i, j) of the box, averaged over that part. Boxes are always shifted by half a
    pixel, as in ``roi_align(aligned=True)``.

    Parameters
    ----------
    features : array ``[N, C * PH * PW, H, W]``, or ``[N, H, W, C * PH * PW]`` with ``layout="NHWC"``
        The map, with the channels of all bins: float64, float32, float16 or bfloat16.
    rois, output_size, spatial_scale : as in :func:`roi_align`
    sampling_ratio : int or (int, int), default 0
        Sample points per bin along y and x, at most 256. 0 or -1 is adaptive: ``ceil(bin length)`` points.
    batch_indices, layout, invalid, ... : as in :func:`roi_align`

    Returns
    -------
    array ``[K, C, PH, PW]``, or ``[K, PH, PW, C]`` with ``layout="NHWC"``; with the dtype of `features`

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid. The message names the argument and the row, what was expected and what was given.

    Examples
    --------
    Four channels, one for each bin:

    >>> import numpy as np
    >>> import roialign
    >>> features = np.arange(4.0).reshape(1, 4, 1, 1) * np.ones((1, 1, 6, 6))
    >>> roialign.ps_roi_align(features, np.array([[0, 1.0, 1.0, 5.0, 5.0]]), 2)
    array([[[[0., 1.],
             [2., 3.]]]])

    References
    ----------
    Dai, Li, He, Sun, "R-FCN: Object Detection via Region-based Fully Convolutional Networks", NeurIPS 2016,
    https://arxiv.org/abs/1605.06409
    Li, Peng, Yu, Zhang, Deng, Sun, "Light-Head R-CNN", 2017, https://arxiv.org/abs/1711.07264
    """
    described = (_spec, sampling_ratio)
    output: AnyArray = single_map_forward(
        described, features, spatial_scale, rois, output_size, out, layout, batch_indices, invalid, backend
    )
    return output


@recordable
@parameters_of(ps_roi_align, roi_align_backward)
def ps_roi_align_backward(
    grad_output: AnyArray,
    features: AnyArray,
    rois: AnyArray | Sequence[AnyArray],
    spatial_scale: Number = 1.0,
    sampling_ratio: Pair = 0,
    *,
    need: NeedRois = ("features", "rois"),
    batch_indices: AnyArray | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid | None = None,
    backend: Backend | None = None,
) -> tuple[AnyArray | Any, AnyArray | Any]:
    """The gradients of :func:`ps_roi_align` with respect to the features and the boxes.

    Concretely, with ``L = sum(grad_output * ps_roi_align(features, rois, ...))``, ``grad_features`` is dL/dfeatures and
    ``grad_rois[k]`` holds dL/dx1, dL/dy1, dL/dx2, dL/dy2 in image pixels.

    Parameters
    ----------
    grad_output : array with the shape, layout and dtype of the forward result
    features, rois, spatial_scale, ... : as in :func:`ps_roi_align`
    need : as in :func:`roi_align_backward`

    Returns
    -------
    (grad_features, grad_rois)
        `grad_features` is like `features`, and `grad_rois` has the structure of `rois`. A gradient that is not in
        `need` is None.

    Raises
    ------
    TypeError, ValueError
        As for :func:`ps_roi_align`.

    Examples
    --------
    The gradient of each bin goes to its own channel:

    >>> import numpy as np
    >>> import roialign
    >>> features, box = np.ones((1, 4, 6, 6)), np.array([[0, 1.0, 1.0, 5.0, 5.0]])
    >>> gradient = np.arange(4.0).reshape(1, 1, 2, 2)
    >>> grad_features, _ = roialign.ps_roi_align_backward(gradient, features, box)
    >>> grad_features.sum(axis=(2, 3))
    array([[0., 1., 2., 3.]])
    """
    call = single_map_call(
        _spec(sampling_ratio),
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


def _spec(sampling_ratio: object) -> PointwiseSpec:
    ratio = _validate.check_sampling_ratio(sampling_ratio, _validate.LARGEST_POINTWISE_RATIO)
    return PointwiseSpec(channels="position", sampling_ratio=ratio, offset=0.5)
