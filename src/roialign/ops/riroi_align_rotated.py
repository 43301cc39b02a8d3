"""Rotation-invariant RoIAlign."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import _validate
from .._docstrings import parameters_of
from .._frameworks import single_map_call, single_map_forward
from .._recording import recordable
from .._spec import PointwiseSpec
from .._typing import AnyArray, Backend, Invalid, Layout, NeedRois, Number, Pair
from .roi_align import roi_align_backward
from .roi_align_rotated import roi_align_rotated

#: The maximum number of orientations. More channels would not fit into any memory.
LARGEST_ORIENTATIONS = 2**40


@recordable
@parameters_of(roi_align_rotated)
def riroi_align_rotated(
    features: AnyArray,
    rois: AnyArray | Sequence[AnyArray],
    output_size: Pair,
    spatial_scale: Number = 1.0,
    sampling_ratio: Pair = 0,
    *,
    num_orientations: int = 8,
    clockwise: bool = False,
    batch_indices: AnyArray | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid | None = None,
    out: AnyArray | None = None,
    backend: Backend | None = None,
) -> AnyArray:
    """Rotation-invariant RoIAlign: pool rotated boxes and rotate the orientation channels to match.

    The features come from a rotation-equivariant network. Their channels form groups of O = `num_orientations`; the
    orientation is the fastest index. Concretely, with the pooled channels ``p = roi_align_rotated(features, rois, ...,
    aligned=False)``, ``t = angle * O / (2 * pi)``, ``s = floor(t)`` and ``f = t - s``, channel o of a group is
    ``(1 - f) * p[(o - s) mod O] + f * p[(o - s + 1) mod O]``.

    Parameters
    ----------
    features : array ``[N, G * O, H, W]``, or ``[N, H, W, G * O]`` with ``layout="NHWC"``
        The map, with G groups of O orientation channels: float64, float32, float16 or bfloat16.
    rois, output_size, spatial_scale, sampling_ratio : as in :func:`roi_align_rotated`
    num_orientations : int, default 8
        The number O of orientation channels per group.
    clockwise : bool, default False
        If True, positive angles rotate the boxes clockwise on the screen. The channels are rotated by the angle as
        given in both cases, as in mmcv.
    batch_indices, layout, invalid, ... : as in :func:`roi_align_rotated`

    Returns
    -------
    array ``[K, G * O, PH, PW]``, or ``[K, PH, PW, G * O]`` with ``layout="NHWC"``; with the dtype of `features`

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid. The message names the argument and the row, what was expected and what was given.

    Examples
    --------
    A quarter turn rotates four orientation channels by one:

    >>> import math
    >>> import numpy as np
    >>> import roialign
    >>> features = np.arange(4.0).reshape(1, 4, 1, 1) * np.ones((1, 1, 6, 6))
    >>> box = np.array([[0, 3.0, 3.0, 2.0, 2.0, math.pi / 2]])
    >>> roialign.riroi_align_rotated(features, box, 1, num_orientations=4).ravel()
    array([3., 0., 1., 2.])

    References
    ----------
    Han et al., "ReDet: A Rotation-equivariant Detector for Aerial Object Detection", CVPR 2021,
    https://arxiv.org/abs/2103.07733
    """
    described = (_spec, sampling_ratio, num_orientations, clockwise)
    output: AnyArray = single_map_forward(
        described, features, spatial_scale, rois, output_size, out, layout, batch_indices, invalid, backend
    )
    return output


@recordable
@parameters_of(riroi_align_rotated, roi_align_backward)
def riroi_align_rotated_backward(
    grad_output: AnyArray,
    features: AnyArray,
    rois: AnyArray | Sequence[AnyArray],
    spatial_scale: Number = 1.0,
    sampling_ratio: Pair = 0,
    *,
    need: NeedRois = ("features", "rois"),
    num_orientations: int = 8,
    clockwise: bool = False,
    batch_indices: AnyArray | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid | None = None,
    backend: Backend | None = None,
) -> tuple[AnyArray | Any, AnyArray | Any]:
    """The gradients of :func:`riroi_align_rotated` with respect to the features and the boxes.

    Concretely, with ``L = sum(grad_output * riroi_align_rotated(features, rois, ...))``, ``grad_features`` is
    dL/dfeatures and ``grad_rois[k]`` holds dL/dcx, dL/dcy, dL/dw, dL/dh and dL/dangle. The gradient of the angle
    includes the part that comes from rotating the channels.

    Parameters
    ----------
    grad_output : array with the shape, layout and dtype of the forward result
    features, rois, spatial_scale, ... : as in :func:`riroi_align_rotated`
    need : as in :func:`roi_align_backward`

    Returns
    -------
    (grad_features, grad_rois)
        `grad_features` is like `features`, and `grad_rois` has the structure of `rois`. A gradient that is not in
        `need` is None.

    Raises
    ------
    TypeError, ValueError
        As for :func:`riroi_align_rotated`.

    Examples
    --------
    >>> import numpy as np
    >>> import roialign
    >>> features = np.arange(4.0).reshape(1, 4, 1, 1) * np.ones((1, 1, 6, 6))
    >>> box = np.array([[0, 3.0, 3.0, 2.0, 2.0, 0.0]])
    >>> first = np.array([1.0, 0.0, 0.0, 0.0]).reshape(1, 4, 1, 1)
    >>> _, grad_rois = roialign.riroi_align_rotated_backward(first, features, box, num_orientations=4)
    >>> grad_rois.round(4)  # four steps of one in a turn
    array([[0.    , 0.    , 0.    , 0.    , 0.    , 0.6366]])
    """
    call = single_map_call(
        _spec(sampling_ratio, num_orientations, clockwise),
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


def _spec(sampling_ratio: object, num_orientations: object, clockwise: object) -> PointwiseSpec:
    return PointwiseSpec(
        mapping="rotated",
        channels="orientation",
        sampling_ratio=_validate.check_sampling_ratio(sampling_ratio, _validate.LARGEST_POINTWISE_RATIO),
        minimum_length=1.0,
        clockwise=_validate.check_bool(clockwise, "clockwise"),
        orientations=_validate.check_int(num_orientations, "num_orientations", 1, LARGEST_ORIENTATIONS),
    )
