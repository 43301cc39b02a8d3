"""Position-sensitive RoIPool."""

from __future__ import annotations

from collections.abc import Sequence

from .._docstrings import parameters_of
from .._frameworks import single_map_call, single_map_forward
from .._recording import recordable
from .._spec import PointwiseSpec
from .._typing import AnyArray, Backend, Invalid, Layout, Number, Pair
from .roi_align import roi_align

#: The specification of the operator.
PS_ROI_POOL = PointwiseSpec(mapping="rounded", rule="pixels", channels="position", unused_border=1)


@recordable
@parameters_of(roi_align)
def ps_roi_pool(
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
    """Position-sensitive RoIPool: the mean over the whole pixels of every bin, from its own group of channels.

    Concretely, ``out[k, c, i, j]`` is the mean of ``features[n, (c * PH + i) * PW + j]`` over the rows from
    ``floor(i * h / PH) + top`` to ``ceil((i + 1) * h / PH) + top - 1`` and the analogous columns. Here
    ``top = round(y1 * spatial_scale)``, with halves rounded away from zero, and
    ``h = max(round(y2 * spatial_scale) - top, 1)``. As in torchvision, bins are clipped one pixel before the end of the
    map; here the gradient uses the same bins, whereas torchvision's does not. An empty bin is zero.

    Parameters
    ----------
    features : array ``[N, C * PH * PW, H, W]``, or ``[N, H, W, C * PH * PW]`` with ``layout="NHWC"``
        The map, with the channels of all bins: float64, float32, float16 or bfloat16.
    rois, output_size, spatial_scale, ... : as in :func:`roi_align`

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
    >>> features = np.arange(4.0).reshape(1, 4, 1, 1) * np.ones((1, 1, 6, 6))
    >>> roialign.ps_roi_pool(features, np.array([[0, 1.0, 1.0, 5.0, 5.0]]), 2)
    array([[[[0., 1.],
             [2., 3.]]]])

    References
    ----------
    Dai, Li, He, Sun, "R-FCN: Object Detection via Region-based Fully Convolutional Networks", NeurIPS 2016,
    https://arxiv.org/abs/1605.06409
    """
    output: AnyArray = single_map_forward(
        PS_ROI_POOL, features, spatial_scale, rois, output_size, out, layout, batch_indices, invalid, backend
    )
    return output


@recordable
@parameters_of(ps_roi_pool)
def ps_roi_pool_backward(
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
    """The gradient of :func:`ps_roi_pool` with respect to the features.

    Concretely, with ``L = sum(grad_output * ps_roi_pool(features, rois, ...))``, it is dL/dfeatures. There is no
    gradient with respect to the boxes, because their coordinates are rounded.

    Parameters
    ----------
    grad_output : array with the shape, layout and dtype of the forward result
    features, rois, spatial_scale, ... : as in :func:`ps_roi_pool`

    Returns
    -------
    grad_features : array like `features`

    Raises
    ------
    TypeError, ValueError
        As for :func:`ps_roi_pool`.

    Examples
    --------
    >>> import numpy as np
    >>> import roialign
    >>> features, box = np.ones((1, 1, 5, 5)), np.array([[0, 1.0, 1.0, 3.0, 3.0]])
    >>> roialign.ps_roi_pool_backward(np.ones((1, 1, 1, 1)), features, box)[0, 0]
    array([[0.  , 0.  , 0.  , 0.  , 0.  ],
           [0.  , 0.25, 0.25, 0.  , 0.  ],
           [0.  , 0.25, 0.25, 0.  , 0.  ],
           [0.  , 0.  , 0.  , 0.  , 0.  ],
           [0.  , 0.  , 0.  , 0.  , 0.  ]])
    """
    call = single_map_call(
        PS_ROI_POOL,
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
