"""The value at the centre of every bin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import _validate
from .._docstrings import parameters_of
from .._frameworks import operator_call, operator_forward
from .._recording import recordable
from .._spec import SeparableSpec
from .._typing import AnyArray, Backend, Invalid, Layout, NeedRois
from .roi_align import roi_align, roi_align_backward

#: There is no half-pixel shift and no minimum length.
CENTRE_POOL = SeparableSpec(rule="centre")


@recordable
@parameters_of(roi_align)
def centre_pool(
    features: AnyArray,
    rois: AnyArray | Sequence[AnyArray],
    output_size: int | tuple[int, int],
    spatial_scale: float = 1.0,
    *,
    batch_indices: AnyArray | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid | None = None,
    out: AnyArray | None = None,
    backend: Backend | None = None,
) -> AnyArray:
    """Take the interpolated map at the centre of every bin of each RoI.

    Concretely, ``out[k, c, i, j] = f_c(x, y)``, where f_c is channel c of the map, interpolated as in
    :func:`roi_align`, and (x, y) is the centre of bin (i, j) of RoI k: ``x = x1 * spatial_scale + (j + 0.5) *
    bin_width`` and ``y = y1 * spatial_scale + (i + 0.5) * bin_height``.

    There are two differences from ``roi_align(..., sampling_ratio=1, aligned=False)``, which also takes one point per
    bin. A RoI shorter than one pixel is not lengthened, and an inverted RoI is sampled backwards.

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
    A map that holds its own x coordinate, and a box from 0 to 4 in two bins with their centres at 1 and 3:

    >>> import numpy as np
    >>> import roialign
    >>> ramp = np.arange(6.0).reshape(1, 1, 1, 6).repeat(6, axis=2)
    >>> roialign.centre_pool(ramp, np.array([[0, 0.0, 0.0, 4.0, 4.0]]), (1, 2))
    array([[[[1., 3.]]]])
    """
    answer: AnyArray = operator_forward(
        CENTRE_POOL,
        features,
        _validate.check_number(spatial_scale, "spatial_scale", positive=True),
        rois,
        _validate.check_output_size(output_size),
        out,
        batch_indices=batch_indices,
        layout=layout,
        invalid=invalid,
        backend=backend,
    )
    return answer


@recordable
@parameters_of(centre_pool, roi_align_backward)
def centre_pool_backward(
    grad_output: AnyArray,
    features: AnyArray,
    rois: AnyArray | Sequence[AnyArray],
    spatial_scale: float = 1.0,
    *,
    need: NeedRois = ("features", "rois"),
    batch_indices: AnyArray | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid | None = None,
    backend: Backend | None = None,
) -> tuple[AnyArray | Any, AnyArray | Any]:
    """The gradients of :func:`centre_pool` with respect to the features and the boxes.

    Concretely, with ``L = sum(grad_output * centre_pool(features, rois, ...))``, ``grad_features[n, c, y, x]`` is
    dL/dfeatures[n, c, y, x] and ``grad_rois[k]`` holds dL/dx1, dL/dy1, dL/dx2, dL/dy2 in image pixels.
    The gradient of the boxes jumps where a centre crosses a pixel centre.

    Parameters
    ----------
    grad_output : array with the shape, layout and dtype of the forward result
    features, rois, ... : as in :func:`centre_pool`
    need : as in :func:`roi_align_backward`

    Returns
    -------
    (grad_features, grad_rois)
        `grad_features` is like `features`, and `grad_rois` has the structure of `rois`. A gradient that is not in
        `need` is None.

    Raises
    ------
    TypeError, ValueError
        As for :func:`centre_pool`.

    Examples
    --------
    On a ramp, moving the left side moves the centre by half as much:

    >>> import numpy as np
    >>> import roialign
    >>> ramp = np.arange(6.0).reshape(1, 1, 1, 6).repeat(6, axis=2)
    >>> _, grad_rois = roialign.centre_pool_backward(
    ...     np.ones((1, 1, 1, 1)), ramp, np.array([[0, 0.0, 0.0, 3.0, 3.0]]), need=("rois",)
    ... )
    >>> grad_rois
    array([[0. , 0.5, 0. , 0.5, 0. ]])
    """
    call = operator_call(
        CENTRE_POOL,
        [features],
        [_validate.check_number(spatial_scale, "spatial_scale", positive=True)],
        rois,
        batch_indices=batch_indices,
        layout=layout,
        invalid=invalid,
        backend=backend,
    )
    grad_features, grad_rois = call.backward(grad_output, need)
    return (None if grad_features is None else grad_features[0]), grad_rois
