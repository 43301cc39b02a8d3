"""RoIAlign for rotated boxes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import _validate
from .._docstrings import parameters_of
from .._frameworks import single_map_call, single_map_forward
from .._recording import recordable
from .._spec import PointwiseSpec
from .._typing import AnyArray, Backend, Invalid, Layout, Mode, NeedRois, Number, Pair, Sampling, Seed
from .roi_align import roi_align, roi_align_backward


@recordable
@parameters_of(roi_align)
def roi_align_rotated(
    features: AnyArray,
    rois: AnyArray | Sequence[AnyArray],
    output_size: Pair,
    spatial_scale: Number = 1.0,
    sampling_ratio: Pair = 0,
    *,
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
    """RoIAlign for rotated boxes.

    Concretely, ``out[k, c, i, j]`` is the mean, or the maximum, of ``features[n, c]`` interpolated at the sample points
    of bin (i, j) of RoI k on image n. The box is divided into bins and points as in :func:`roi_align`, but along its
    own axes, whose origin is the centre (cx, cy) of the box. The point (u, v) on these axes is at
    ``x = v * sin(angle) + u * cos(angle) + cx``, ``y = v * cos(angle) - u * sin(angle) + cy`` on the map. A positive
    angle is counter-clockwise on the screen, where y points down.

    Parameters
    ----------
    features : as in :func:`roi_align`
    rois : array ``[K, 6]``, list of N arrays ``[L, 5]``, or array ``[K, 5]`` with `batch_indices`
        Rows (image index, centre x, centre y, width, height, angle), in image pixels and radians.
    output_size, spatial_scale : as in :func:`roi_align`
    sampling_ratio : int or (int, int), default 0
        Sample points per bin along y and x, at most 256. 0 or -1 is adaptive: ``ceil(bin length)`` points.
    aligned : bool, default True
        If True, shift the centre by half a pixel, so that pixel centres have integer feature coordinates. If False,
        there is no shift, and sides shorter than one feature pixel are lengthened to one.
    clockwise : bool, default False
        If True, positive angles are clockwise on the screen.
    mode : "avg" (default) or "max"
        The mean or the maximum over the sample points of a bin.
    sampling : "grid" (default) or "random"
        Regular points, or one random point in each cell of the bin's regular grid. Both coordinates are drawn
        independently for each point. Exact sampling is not available for rotated boxes.
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
    The map rises by 1 per pixel along x. The box has two rows and one column of bins. After a quarter turn, the two
    bins lie side by side:

    >>> import math
    >>> import numpy as np
    >>> import roialign
    >>> ramp = np.tile(np.arange(8.0), (8, 1)).reshape(1, 1, 8, 8)
    >>> upright = np.array([[0, 4.0, 4.0, 2.0, 4.0, 0.0]])
    >>> turned = np.array([[0, 4.0, 4.0, 2.0, 4.0, math.pi / 2]])
    >>> roialign.roi_align_rotated(ramp, upright, (2, 1))[0, 0].T
    array([[3.5, 3.5]])
    >>> roialign.roi_align_rotated(ramp, turned, (2, 1))[0, 0].T
    array([[2.5, 4.5]])

    References
    ----------
    Ma et al., "Arbitrary-Oriented Scene Text Detection via Rotation Proposals", IEEE TMM 2018,
    https://arxiv.org/abs/1703.01086
    """
    described = (roi_align_rotated_spec, sampling_ratio, aligned, clockwise, mode, sampling)
    output: AnyArray = single_map_forward(
        described, features, spatial_scale, rois, output_size, out, layout, batch_indices, invalid, backend, seed
    )
    return output


@recordable
@parameters_of(roi_align_rotated, roi_align_backward)
def roi_align_rotated_backward(
    grad_output: AnyArray,
    features: AnyArray,
    rois: AnyArray | Sequence[AnyArray],
    spatial_scale: Number = 1.0,
    sampling_ratio: Pair = 0,
    *,
    need: NeedRois = ("features", "rois"),
    aligned: bool = True,
    clockwise: bool = False,
    mode: Mode = "avg",
    sampling: Sampling = "grid",
    batch_indices: AnyArray | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid | None = None,
    seed: int | None = None,
    backend: Backend | None = None,
) -> tuple[AnyArray | Any, AnyArray | Any]:
    """The gradients of :func:`roi_align_rotated` with respect to the features and the boxes.

    Concretely, with ``L = sum(grad_output * roi_align_rotated(features, rois, ...))``, ``grad_features`` is
    dL/dfeatures and ``grad_rois[k]`` holds dL/dcx, dL/dcy, dL/dw, dL/dh and dL/dangle.

    Parameters
    ----------
    grad_output : array with the shape, layout and dtype of the forward result
    features, rois, spatial_scale, ... : as in :func:`roi_align_rotated`
    need, seed : as in :func:`roi_align_backward`

    Returns
    -------
    (grad_features, grad_rois)
        `grad_features` is like `features`, and `grad_rois` has the structure of `rois`. A gradient that is not in
        `need` is None.

    Raises
    ------
    TypeError, ValueError
        As for :func:`roi_align_rotated`.

    Examples
    --------
    The map rises along x only, and the weights compare the two bins, so only a rotation changes the result:

    >>> import numpy as np
    >>> import roialign
    >>> ramp = np.tile(np.arange(8.0), (8, 1)).reshape(1, 1, 8, 8)
    >>> box = np.array([[0, 4.0, 4.0, 2.0, 4.0, 0.0]])
    >>> weights = np.array([-1.0, 1.0]).reshape(1, 1, 2, 1)
    >>> _, grad_rois = roialign.roi_align_rotated_backward(weights, ramp, box, need=("rois",))
    >>> grad_rois
    array([[0., 0., 0., 0., 0., 2.]])
    """
    spec = roi_align_rotated_spec(sampling_ratio, aligned, clockwise, mode, sampling)
    call = single_map_call(
        spec,
        features,
        spatial_scale,
        rois,
        batch_indices=batch_indices,
        layout=layout,
        invalid=invalid,
        backend=backend,
        seed=seed,
        drawn=False,
    )
    grad_features, grad_rois = call.backward(grad_output, need)
    return (None if grad_features is None else grad_features[0]), grad_rois


def roi_align_rotated_spec(
    sampling_ratio: object, aligned: object, clockwise: object, mode: object, sampling: object
) -> PointwiseSpec:
    """The specification of RoIAlign for rotated boxes, without the seed of random sampling."""
    _validate.check_choice(mode, "mode", ("avg", "max"))
    if sampling == "exact":
        raise ValueError("sampling: expected 'grid' or 'random', got 'exact', which rotated boxes do not support")
    _validate.check_choice(sampling, "sampling", ("grid", "random"))
    shifted = _validate.check_bool(aligned, "aligned")
    return PointwiseSpec(
        mapping="rotated",
        rule=sampling,  # type: ignore[arg-type]
        reduction="max" if mode == "max" else "mean",
        sampling_ratio=_validate.check_sampling_ratio(sampling_ratio, _validate.LARGEST_POINTWISE_RATIO),
        offset=0.5 if shifted else 0.0,
        minimum_length=-math.inf if shifted else 1.0,
        jitters_points=True,
        clockwise=_validate.check_bool(clockwise, "clockwise"),
    )
