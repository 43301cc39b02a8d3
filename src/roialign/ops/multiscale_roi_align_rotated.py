"""RoIAlign for rotated boxes on a feature pyramid, in one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._docstrings import parameters_of
from .._recording import recordable
from .._typing import AnyArray, Backend, Invalid, Layout, Mode, NeedRois, Numbers, Pair, Sampling, Seed
from .fpn_levels import fpn_levels
from .multiscale_roi_align import multiscale_roi_align, pyramid_call, pyramid_forward
from .roi_align import roi_align_backward
from .roi_align_rotated import roi_align_rotated, roi_align_rotated_spec


@recordable
@parameters_of(roi_align_rotated, multiscale_roi_align, fpn_levels)
def multiscale_roi_align_rotated(
    features: Sequence[AnyArray],
    rois: AnyArray | Sequence[AnyArray],
    output_size: Pair,
    spatial_scales: Numbers,
    sampling_ratio: Pair = 0,
    *,
    levels: AnyArray | None = None,
    canonical_size: float = 224,
    canonical_level: int = 4,
    aligned: bool = True,
    clockwise: bool = False,
    mode: Mode = "avg",
    sampling: Sampling = "grid",
    batch_indices: AnyArray | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid | None = None,
    seed: Seed = None,
    out: AnyArray | None = None,
    backend: Backend | None = None,
) -> AnyArray:
    """Apply RoIAlign to each rotated RoI on one level of a feature pyramid.

    Concretely, ``out[k]`` is ``roi_align_rotated(features[l], rois[k], output_size, spatial_scales[l], ...)`` with
    l = ``levels[k]``. The rows of the result are in the order of `rois`, whatever their levels.

    Parameters
    ----------
    features, spatial_scales, levels, canonical_size, canonical_level : as in :func:`multiscale_roi_align`
    rois, output_size, sampling_ratio, aligned, ... : as in :func:`roi_align_rotated`

    Returns
    -------
    array ``[K, C, PH, PW]``, or ``[K, PH, PW, C]`` with ``layout="NHWC"``; with the dtype of `features`

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid. The message names the argument and the row, what was expected and what was given.

    Examples
    --------
    >>> import numpy as np
    >>> import roialign
    >>> pyramid = [np.ones((1, 8, 64, 64)), 2 * np.ones((1, 8, 32, 32))]
    >>> boxes = np.array([[0, 32.0, 32.0, 20.0, 30.0, 0.5], [0, 128.0, 128.0, 200.0, 200.0, 0.1]])
    >>> pooled = roialign.multiscale_roi_align_rotated(pyramid, boxes, 7, [1 / 4, 1 / 8])
    >>> pooled.shape, pooled.mean(axis=(1, 2, 3)).round(6)
    ((2, 8, 7, 7), array([1., 2.]))

    References
    ----------
    Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017, https://arxiv.org/abs/1612.03144
    """
    described = (roi_align_rotated_spec, sampling_ratio, aligned, clockwise, mode, sampling)
    output: AnyArray = pyramid_forward(
        described,
        features,
        rois,
        output_size,
        spatial_scales,
        levels,
        canonical_size,
        canonical_level,
        out,
        layout,
        batch_indices,
        invalid,
        backend,
        seed,
    )
    return output


@recordable
@parameters_of(multiscale_roi_align_rotated, roi_align_backward)
def multiscale_roi_align_rotated_backward(
    grad_output: AnyArray,
    features: Sequence[AnyArray],
    rois: AnyArray | Sequence[AnyArray],
    spatial_scales: Numbers,
    sampling_ratio: Pair = 0,
    *,
    need: NeedRois = ("features", "rois"),
    levels: AnyArray | None = None,
    canonical_size: float = 224,
    canonical_level: int = 4,
    aligned: bool = True,
    clockwise: bool = False,
    mode: Mode = "avg",
    sampling: Sampling = "grid",
    batch_indices: AnyArray | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid | None = None,
    seed: int | None = None,
    backend: Backend | None = None,
) -> tuple[list[AnyArray] | Any, AnyArray | Any]:
    """The gradients of :func:`multiscale_roi_align_rotated` with respect to the features and the boxes.

    Concretely, with ``L = sum(grad_output * multiscale_roi_align_rotated(features, rois, ...))``, ``grad_features[l]``
    is dL/dfeatures[l] and ``grad_rois[k]`` holds dL/dcx, dL/dcy, dL/dw, dL/dh and dL/dangle. The assignment to levels
    is treated as a constant. If no RoI uses a level, its gradient is zero.

    Parameters
    ----------
    grad_output : array with the shape, layout and dtype of the forward result
    features, rois, spatial_scales, ... : as in :func:`multiscale_roi_align_rotated`
    need, seed : as in :func:`roi_align_backward`

    Returns
    -------
    (grad_features, grad_rois)
        `grad_features` is a list of arrays like `features`. `grad_rois` has the structure of `rois`. A gradient that
        is not in `need` is None.

    Raises
    ------
    TypeError, ValueError
        As for :func:`multiscale_roi_align_rotated`.

    Examples
    --------
    >>> import numpy as np
    >>> import roialign
    >>> pyramid = [np.ones((1, 1, 16, 16)), np.ones((1, 1, 8, 8))]
    >>> boxes = [np.array([[22.0, 22.0, 36.0, 36.0, 0.3]])]
    >>> gradients, _ = roialign.multiscale_roi_align_rotated_backward(
    ...     np.ones((1, 1, 2, 2)), pyramid, boxes, [1 / 4, 1 / 8], need=("features",)
    ... )
    >>> [round(float(gradient.sum()), 6) for gradient in gradients]
    [4.0, 0.0]
    """
    spec = roi_align_rotated_spec(sampling_ratio, aligned, clockwise, mode, sampling)
    call = pyramid_call(
        spec,
        features,
        rois,
        spatial_scales,
        levels,
        canonical_size,
        canonical_level,
        batch_indices,
        layout,
        invalid,
        backend,
        seed,
        drawn=False,
    )
    gradients: tuple[list[AnyArray] | Any, AnyArray | Any] = call.backward(grad_output, need)
    return gradients
