"""RoIPool, the operator that RoIAlign replaced."""

from __future__ import annotations

from collections.abc import Sequence

from .._docstrings import parameters_of
from .._frameworks import single_map_call, single_map_forward
from .._recording import recordable
from .._spec import PointwiseSpec
from .._typing import AnyArray, Backend, Invalid, Layout, Number, Pair
from .roi_align import roi_align

#: The specification of the operator.
ROI_POOL = PointwiseSpec(mapping="rounded", rule="pixels", reduction="max", extra_pixels=1)


@recordable
@parameters_of(roi_align)
def roi_pool(
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
    """RoIPool: the maximum over the whole pixels of every bin of each RoI.

    Concretely, ``out[k, c, i, j]`` is the maximum of ``features[n, c]`` over the rows from ``floor(i * h / PH) + top``
    to ``ceil((i + 1) * h / PH) + top - 1`` and the analogous columns. Here ``top = round(y1 * spatial_scale)``, with
    halves rounded away from zero, and ``h = max(round(y2 * spatial_scale) - top + 1, 1)``. This is torchvision's
    convention. Bins are clipped to the map, and an empty bin is zero. NaN counts as larger than every number.

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
    >>> import numpy as np
    >>> import roialign
    >>> ramp = np.arange(36.0).reshape(1, 1, 6, 6)
    >>> roialign.roi_pool(ramp, np.array([[0, 1.0, 1.0, 4.0, 4.0]]), 2)
    array([[[[14., 16.],
             [26., 28.]]]])

    References
    ----------
    Girshick, "Fast R-CNN", ICCV 2015, https://arxiv.org/abs/1504.08083
    """
    output: AnyArray = single_map_forward(
        ROI_POOL, features, spatial_scale, rois, output_size, out, layout, batch_indices, invalid, backend
    )
    return output


@recordable
@parameters_of(roi_pool)
def roi_pool_backward(
    grad_output: AnyArray,
    features: AnyArray,
    rois: AnyArray | Sequence[AnyArray],
    spatial_scale: Number = 1.0,
    *,
    batch_indices: AnyArray | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid | None = None,
    backend: Backend | None = None,
) -> AnyArray:
    """The gradient of :func:`roi_pool` with respect to the features.

    Concretely, with ``L = sum(grad_output * roi_pool(features, rois, ...))``, it is dL/dfeatures. The gradient of a bin
    goes to the pixel with the maximum; if several pixels are equal, it goes to the first one in row-major order. There
    is no gradient with respect to the boxes, because their coordinates are rounded.

    Parameters
    ----------
    grad_output : array with the shape, layout and dtype of the forward result
    features, rois, spatial_scale, ... : as in :func:`roi_pool`

    Returns
    -------
    grad_features : array like `features`

    Raises
    ------
    TypeError, ValueError
        As for :func:`roi_pool`.

    Examples
    --------
    >>> import numpy as np
    >>> import roialign
    >>> ramp, box = np.arange(9.0).reshape(1, 1, 3, 3), np.array([[0, 0.0, 0.0, 1.0, 1.0]])
    >>> roialign.roi_pool_backward(np.ones((1, 1, 1, 1)), ramp, box)[0, 0]
    array([[0., 0., 0.],
           [0., 1., 0.],
           [0., 0., 0.]])
    """
    call = single_map_call(
        ROI_POOL,
        features,
        spatial_scale,
        rois,
        batch_indices=batch_indices,
        layout=layout,
        invalid=invalid,
        backend=backend,
    )
    grad_features, _ = call.backward(grad_output, ("features",))
    grad: AnyArray = grad_features[0]
    return grad
