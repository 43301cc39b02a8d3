"""RoIAlign on one feature map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import _validate
from .._docstrings import parameters_of
from .._frameworks import single_map_call, single_map_forward
from .._recording import recordable
from .._spec import PointwiseSpec, SeparableSpec, Spec
from .._typing import AnyArray, Backend, Invalid, Layout, Mode, NeedRois, Number, Pair, Sampling, Seed


@recordable
def roi_align(
    features: AnyArray,
    rois: AnyArray | Sequence[AnyArray],
    output_size: Pair,
    spatial_scale: Number = 1.0,
    sampling_ratio: Pair = 0,
    *,
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
    """Pool each region of interest of a feature map into a grid of fixed size, without rounding any coordinate.

    Every RoI is divided into ``PH x PW`` bins. The result for a bin is the mean, or the maximum, of the bilinearly
    interpolated map over the sample points of the bin. Concretely, ``out[k, c, i, j]`` is the mean of
    ``features[n, c]`` over the sample points of bin (i, j) of RoI k on image n. Along x, let ``o = 0.5`` if `aligned`,
    else 0. The RoI starts at ``x1 * spatial_scale - o``, and each bin is ``(x2 - x1) * spatial_scale / PW`` long. The
    bin is divided into g equal parts, with a sample point in the middle of each. The y axis is treated in the same way.

    Pixel centres have integer coordinates. Up to one pixel beyond the outermost pixel centres, the map keeps its edge
    values. Further out it is zero.

    Parameters
    ----------
    features : array ``[N, C, H, W]``, or ``[N, H, W, C]`` with ``layout="NHWC"``
        A NumPy array, or a torch tensor on the CPU or a CUDA device. The other arrays must be of the same kind and on
        the same device. The dtype is float64, float32, float16 or bfloat16 (in NumPy, from ml_dtypes). Any strides are
        allowed, and a channels-last tensor is processed in that memory format.
    rois : array ``[K, 5]``, list of N arrays ``[L, 4]``, or array ``[K, 4]`` with `batch_indices`
        Rows (image index, x1, y1, x2, y2), with boxes in image pixels. Any real dtype is allowed, and coordinates are
        never rounded to the dtype of `features`. The formula also applies to boxes of zero size, inverted boxes and
        boxes outside the map.
    output_size : int or (int, int)
        The number of bins along y and x, ``(PH, PW)``. An int means the same number along both.
    spatial_scale : float, default 1.0
        Feature pixels per image pixel: 1 / stride of the feature map.
    sampling_ratio : int or (int, int), default 0
        Sample points per bin along y and x. 0 or -1 is adaptive: ``ceil(bin length)`` points. Unused by exact sampling.
    aligned : bool, default True
        If True, shift coordinates by half a pixel, so that pixel centres have integer feature coordinates. If False,
        there is no shift, and a RoI shorter than one feature pixel is lengthened to one (torchvision's default).
    mode : "avg" (default) or "max"
        The mean or the maximum over the sample points of a bin. Points outside the map count as zero, and a bin without
        points is zero. For the maximum, NaN counts as larger than every number, and at most 256 points per bin and axis
        are allowed.
    sampling : "grid" (default), "random" or "exact"
        "grid" takes regular points. "random" takes one random point in each part of the bin, drawn separately for each
        axis; `seed` determines them. "exact" is the limit of infinitely many points: the mean is an integral in closed
        form, and the maximum is that of the interpolated map over the whole bin. Exact sampling ignores whether a box
        is inverted. Along an axis of zero length, it takes the value at the point.
    batch_indices : integer array ``[K]``, optional
        The image index of each row of `rois`, if the rows do not contain it.
    layout : "NCHW" (default) or "NHWC"
        The order of the axes of `features` and of the result.
    invalid : "raise" (default on the CPU) or "zero" (default on a CUDA device)
        What to do with a row whose image index is out of range or whose coordinates are not all finite: raise an error,
        or return zeros for it.
    seed : int, numpy.random.Generator, torch.Generator (tensors) or a key of jax.random (JAX arrays), optional
        The seed of random sampling. The same int gives the same points on every backend. If None, a new seed is drawn;
        for tensors, it comes from torch's default generator. JAX arrays need a seed.
    out : array, optional
        The array to write the result to, with the shape and dtype of the result and any strides. It cannot be used
        if a gradient is required, or with JAX arrays.
    backend : "cpu" (default on the CPU), "triton" (default on a CUDA device) or "reference"
        The compiled core, the Triton kernels for CUDA devices, or the specification in NumPy and float64.

    Returns
    -------
    array ``[K, C, PH, PW]``, or ``[K, PH, PW, C]`` with ``layout="NHWC"``
        Of the same kind and dtype as `features`. Tensors and JAX arrays are differentiable with respect to `features`
        and `rois`, up to second order; the gradients are those of :func:`roi_align_backward`. A tensor is channels-last
        if `features` is.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid. The message names the argument and the row, what was expected and what was given.

    Examples
    --------
    A map of stride 16, a box of 96 x 96 image pixels, and four sample points per bin:

    >>> import numpy as np
    >>> import roialign
    >>> ramp = np.arange(100.0).reshape(1, 1, 10, 10)
    >>> box = np.array([[0, 32.0, 32.0, 128.0, 128.0]])
    >>> roialign.roi_align(ramp, box, output_size=2, spatial_scale=1 / 16, sampling_ratio=2)
    array([[[[33., 36.],
             [63., 66.]]]])

    References
    ----------
    He, Gkioxari, Dollar, Girshick, "Mask R-CNN", ICCV 2017, https://arxiv.org/abs/1703.06870
    """
    described = (roi_align_spec, sampling_ratio, aligned, mode, sampling)
    output: AnyArray = single_map_forward(
        described, features, spatial_scale, rois, output_size, out, layout, batch_indices, invalid, backend, seed
    )
    return output


@recordable
@parameters_of(roi_align)
def roi_align_backward(
    grad_output: AnyArray,
    features: AnyArray,
    rois: AnyArray | Sequence[AnyArray],
    spatial_scale: Number = 1.0,
    sampling_ratio: Pair = 0,
    *,
    need: NeedRois = ("features", "rois"),
    aligned: bool = True,
    mode: Mode = "avg",
    sampling: Sampling = "grid",
    batch_indices: AnyArray | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid | None = None,
    seed: int | None = None,
    backend: Backend | None = None,
) -> tuple[AnyArray | Any, AnyArray | Any]:
    """The gradients of :func:`roi_align` with respect to the features and the boxes.

    Concretely, with ``L = sum(grad_output * roi_align(features, rois, ...))``, ``grad_features[n, c, y, x]`` is
    dL/dfeatures[n, c, y, x] and ``grad_rois[k]`` holds dL/dx1, dL/dy1, dL/dx2, dL/dy2 in image pixels. At a
    kink, where a sample point has an integer coordinate, the derivative is the one from the right. The number of
    adaptive points is treated as a constant. With ``mode="max"``, the gradient of a bin goes to the point with the
    maximum. If several points are equal, it goes to the first one in row-major order, and to a point on the map before
    one outside it. For tensors and JAX arrays, the gradients are themselves differentiable.

    Parameters
    ----------
    grad_output : array with the shape, layout and dtype of the forward result
    features, rois, spatial_scale, ... : as in :func:`roi_align`
    need : sequence of "features" and "rois", default both
        Which gradients to compute.
    seed : int
        The seed that was given to the forward pass, required for random sampling.

    Returns
    -------
    (grad_features, grad_rois)
        `grad_features` is like `features`. `grad_rois` has the structure of `rois`; its column of image indices is 0,
        and it is float64 for integer boxes. A gradient that is not in `need` is None.

    Raises
    ------
    TypeError, ValueError
        As for :func:`roi_align`.

    Examples
    --------
    The gradient of a mean over four pixels is spread evenly over them:

    >>> import numpy as np
    >>> import roialign
    >>> features = np.arange(16.0).reshape(1, 1, 4, 4)
    >>> box = np.array([[0, 1.0, 1.0, 3.0, 3.0]])
    >>> grad_features, grad_rois = roialign.roi_align_backward(np.ones((1, 1, 1, 1)), features, box, sampling_ratio=2)
    >>> grad_features[0, 0]
    array([[0.  , 0.  , 0.  , 0.  ],
           [0.  , 0.25, 0.25, 0.  ],
           [0.  , 0.25, 0.25, 0.  ],
           [0.  , 0.  , 0.  , 0.  ]])
    >>> grad_rois
    array([[0. , 0.5, 2. , 0.5, 2. ]])
    """
    spec = roi_align_spec(sampling_ratio, aligned, mode, sampling)
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


def roi_align_spec(sampling_ratio: object, aligned: object, mode: object, sampling: object) -> Spec:
    """The specification of RoIAlign, without the seed of random sampling."""
    _validate.check_choice(mode, "mode", ("avg", "max"))
    _validate.check_choice(sampling, "sampling", ("grid", "random", "exact"))
    offset, minimum_length = (0.5, -math.inf) if _validate.check_bool(aligned, "aligned") else (0.0, 1.0)
    if mode == "max":
        is_exact = sampling == "exact"  # which does not use the ratio
        largest = _validate.LARGEST_SAMPLING_RATIO if is_exact else _validate.LARGEST_POINTWISE_RATIO
        return PointwiseSpec(
            rule="lattice" if is_exact else sampling,  # type: ignore[arg-type]
            reduction="max",
            sampling_ratio=_validate.check_sampling_ratio(sampling_ratio, largest, " with mode='max'"),
            offset=offset,
            minimum_length=minimum_length,
        )
    ratio = _validate.check_sampling_ratio(sampling_ratio)
    return SeparableSpec(sampling, ratio, offset, minimum_length)  # type: ignore[arg-type]
