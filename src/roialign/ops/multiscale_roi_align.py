"""RoIAlign on a feature pyramid, in one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._docstrings import parameters_of
from .._frameworks import operator_call, operator_forward
from .._plans import Described, check_pyramid, pyramid_plan
from .._recording import recordable
from .._spec import Spec
from .._typing import AnyArray, Backend, Invalid, Layout, Mode, NeedRois, Numbers, Pair, Sampling, Seed
from .fpn_levels import fpn_levels
from .roi_align import roi_align, roi_align_backward, roi_align_spec


@recordable
@parameters_of(roi_align, fpn_levels)
def multiscale_roi_align(
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
    mode: Mode = "avg",
    sampling: Sampling = "grid",
    batch_indices: AnyArray | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid | None = None,
    seed: Seed = None,
    out: AnyArray | None = None,
    backend: Backend | None = None,
) -> AnyArray:
    """Apply RoIAlign to each RoI on one level of a feature pyramid.

    Concretely, ``out[k]`` is ``roi_align(features[l], rois[k], output_size, spatial_scales[l], ...)`` with
    l = ``levels[k]``. The rows of the result are in the order of `rois`, whatever their levels.

    Parameters
    ----------
    features : sequence of arrays ``[N, C, H_l, W_l]``, or ``[N, H_l, W_l, C]`` with ``layout="NHWC"``
        One map per level, finest first, with the same N, C and dtype.
    rois, output_size : as in :func:`roi_align`
    spatial_scales : sequence of float
        Feature pixels per image pixel of each level.
    levels : integer array ``[K]``, optional
        The level of each RoI, as an index into `features`. By default, :func:`fpn_levels` assigns the levels from
        `canonical_size` and `canonical_level`. If `levels` is given, these two are ignored.
    canonical_size, canonical_level : as in :func:`fpn_levels`
    sampling_ratio, aligned, mode, sampling, batch_indices, ... : as in :func:`roi_align`

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
    >>> boxes = np.array([[0, 16.0, 16.0, 48.0, 48.0], [0, 0.0, 0.0, 250.0, 250.0]])
    >>> pooled = roialign.multiscale_roi_align(pyramid, boxes, 7, [1 / 4, 1 / 8])
    >>> pooled.shape, pooled.mean(axis=(1, 2, 3))
    ((2, 8, 7, 7), array([1., 2.]))

    References
    ----------
    Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017, https://arxiv.org/abs/1612.03144
    """
    described = (roi_align_spec, sampling_ratio, aligned, mode, sampling)
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
@parameters_of(multiscale_roi_align, roi_align_backward)
def multiscale_roi_align_backward(
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
    mode: Mode = "avg",
    sampling: Sampling = "grid",
    batch_indices: AnyArray | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid | None = None,
    seed: int | None = None,
    backend: Backend | None = None,
) -> tuple[list[AnyArray] | Any, AnyArray | Any]:
    """The gradients of :func:`multiscale_roi_align` with respect to the features and the boxes.

    Concretely, with ``L = sum(grad_output * multiscale_roi_align(features, rois, ...))``, ``grad_features[l]`` is
    dL/dfeatures[l] and ``grad_rois[k]`` holds dL/dx1, dL/dy1, dL/dx2, dL/dy2 in image pixels. The assignment to levels
    is treated as a constant. If no RoI uses a level, its gradient is zero.

    Parameters
    ----------
    grad_output : array with the shape, layout and dtype of the forward result
    features, rois, spatial_scales, ... : as in :func:`multiscale_roi_align`
    need, seed : as in :func:`roi_align_backward`

    Returns
    -------
    (grad_features, grad_rois)
        `grad_features` is a list of arrays like `features`. `grad_rois` has the structure of `rois`. A gradient that
        is not in `need` is None.

    Raises
    ------
    TypeError, ValueError
        As for :func:`multiscale_roi_align`.

    Examples
    --------
    >>> import numpy as np
    >>> import roialign
    >>> pyramid = [np.ones((1, 1, 16, 16)), np.ones((1, 1, 8, 8))]
    >>> boxes = [np.array([[4.0, 4.0, 40.0, 40.0]])]
    >>> gradients, _ = roialign.multiscale_roi_align_backward(
    ...     np.ones((1, 1, 2, 2)), pyramid, boxes, [1 / 4, 1 / 8], need=("features",)
    ... )
    >>> [round(float(gradient.sum()), 6) for gradient in gradients]
    [4.0, 0.0]
    """
    spec = roi_align_spec(sampling_ratio, aligned, mode, sampling)
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


def pyramid_forward(
    described: Described,
    features: Any,
    rois: object,
    output_size: object,
    spatial_scales: object,
    levels: object,
    canonical_size: float,
    canonical_level: float,
    out: object,
    layout: str,
    batch_indices: object,
    invalid: str | None,
    backend: str | None,
    seed: object,
) -> Any:
    """The result of an operator on a pyramid."""
    count, are_given = _count_levels(features), levels is not None
    settings = (pyramid_plan, described, count, spatial_scales, are_given, canonical_size, canonical_level, output_size)
    return operator_forward(settings, features, rois, out, layout, batch_indices, invalid, backend, seed, levels)


def pyramid_call(
    spec: Spec,
    features: Any,
    rois: object,
    spatial_scales: object,
    levels: object,
    canonical_size: float,
    canonical_level: float,
    batch_indices: object,
    layout: str,
    invalid: str | None,
    backend: str | None,
    seed: object,
    *,
    drawn: bool = True,
    **per_bin: object,
) -> Any:
    """Prepare a call on a pyramid, and assign the levels if they are not given.

    `per_bin` holds arguments with one value per bin, such as offsets.
    """
    count = _count_levels(features)
    scales, assignment = check_pyramid(
        count, spatial_scales, levels is not None, canonical_size, canonical_level, warns=drawn
    )
    return operator_call(
        spec,
        features,
        scales,
        rois,
        levels=levels,
        assignment=assignment,
        batch_indices=batch_indices,
        layout=layout,
        invalid=invalid,
        backend=backend,
        seed=seed,
        drawn=drawn,
        **per_bin,
    )


def _count_levels(features: object) -> int:
    if not isinstance(features, (list, tuple)):
        raise TypeError(f"features: expected a list of arrays, one per level, got {type(features).__name__}")
    if not features:
        raise ValueError("features: expected a list of arrays, one per level, got an empty one")
    return len(features)
