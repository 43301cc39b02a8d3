"""RoIAlign on one feature map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import _validate
from .._docstrings import parameters_of
from .._frameworks import operator_call
from .._recording import recordable
from .._spec import PointwiseSpec, SeparableSpec, Spec
from .._typing import AnyArray, Backend, Invalid, Layout, Mode, NeedRois, Sampling, Seed


@recordable
def roi_align(
    features: AnyArray,
    rois: AnyArray | Sequence[AnyArray],
    output_size: int | tuple[int, int],
    spatial_scale: float = 1.0,
    sampling_ratio: int | tuple[int, int] = 0,
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
    """Pool each region of interest of a feature map into a fixed grid, without rounding any coordinate.

    Every RoI is cut into ``PH x PW`` bins, and a bin's answer is the mean, or the maximum, of the bilinearly
    interpolated map over the bin's sample points. Concretely, ``out[k, c, i, j]`` is the mean of ``features[n, c]``
    over the points of bin (i, j) of RoI k on image n. Along x, with ``o = 0.5`` if `aligned` else 0, the RoI starts at
    ``x1 * spatial_scale - o``, a bin is ``(x2 - x1) * spatial_scale / PW`` long, and its g points lie in the middles of
    g equal parts; along y alike. Pixel centres lie on the integers. The edge values of the map hold up to one pixel
    beyond the outermost pixel centres; further out the map is zero.

    Parameters
    ----------
    features : array ``[N, C, H, W]``, or ``[N, H, W, C]`` with ``layout="NHWC"``
        A NumPy array, or a torch tensor on the CPU or a CUDA device; the other arrays are of the same kind and on the
        same device. float64, float32, float16 or bfloat16 (in NumPy, of ml_dtypes), with any strides. A tensor whose
        channels lie together is computed so.
    rois : array ``[K, 5]``, list of N arrays ``[L, 4]``, or array ``[K, 4]`` with `batch_indices`
        Rows (image index, x1, y1, x2, y2), boxes in image pixels, of any real dtype; never rounded to the features'
        dtype. A box of zero size, an inverted one, or one off the map has the answer that the formula gives.
    output_size : int or (int, int)
        Bins along y and x, ``(PH, PW)``.
    spatial_scale : float, default 1.0
        Feature pixels per image pixel: 1 / stride.
    sampling_ratio : int or (int, int), default 0
        Points per bin along y and x. 0 or -1 is adaptive: ``ceil(bin length)`` of each bin. Not read by exact sampling.
    aligned : bool, default True
        Shift by half a pixel, so that image and feature coordinates agree at pixel centres. False is the convention of
        torchvision's default: no shift, and a RoI shorter than one feature pixel is lengthened to one.
    mode : "avg" (default) or "max"
        The mean over the points of a bin, or their maximum: points off the map count as zeros, a bin without points is
        zero, and NaN is larger than every number. A maximum takes at most 256 points per bin and axis.
    sampling : "grid" (default), "random" or "exact"
        Regular points; one random point in each part, drawn per axis and decided by `seed`; or the limit of infinitely
        many points: an integral with a closed form, or the maximum of the interpolated map over the bin. Exact is of
        the bin as a set: orientation is ignored, and an axis of zero length takes the value at the point.
    batch_indices : integer array ``[K]``, optional
        The image of every row of `rois`, where the rows do not begin with it.
    layout : "NCHW" (default) or "NHWC"
        The order of the axes of `features` and of the answer.
    invalid : "raise" (default on the CPU) or "zero" (default on a CUDA device)
        What a row with an image index out of range or with a coordinate that is not finite gets: an error, or zeros.
    seed : int, numpy.random.Generator or, with tensors, torch.Generator, optional
        For random sampling: the same int gives the same points on every backend. None draws a new one; with tensors,
        from torch's default generator.
    out : array, optional
        The answer is written here: shape and dtype of the answer, any strides. Not where a gradient is needed.
    backend : "cpu" (default on the CPU), "triton" (default on a CUDA device) or "reference"
        The compiled core, the kernels for CUDA devices, or the NumPy specification in float64.

    Returns
    -------
    array ``[K, C, PH, PW]``, or ``[K, PH, PW, C]`` with ``layout="NHWC"``; of the kind and dtype of `features`.
        A tensor is differentiable in `features` and in `rois`, up to second order, with the slopes of
        :func:`roi_align_backward`; it is in channels-last memory where `features` is.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, the row, what was expected and what came.

    Examples
    --------
    A stride of 16, a box of 96 x 96 image pixels, four points a bin:

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
    spec = roi_align_spec(sampling_ratio, aligned, mode, sampling)
    call = operator_call(
        spec,
        [features],
        [_validate.check_number(spatial_scale, "spatial_scale", positive=True)],
        rois,
        batch_indices=batch_indices,
        layout=layout,
        invalid=invalid,
        backend=backend,
        seed=seed,
    )
    answer: AnyArray = call.forward(_validate.check_output_size(output_size), out)
    return answer


@recordable
@parameters_of(roi_align)
def roi_align_backward(
    grad_output: AnyArray,
    features: AnyArray,
    rois: AnyArray | Sequence[AnyArray],
    spatial_scale: float = 1.0,
    sampling_ratio: int | tuple[int, int] = 0,
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
    """The gradients of :func:`roi_align`: its transpose applied to `grad_output`, and the slope along each coordinate.

    Concretely, with ``L = sum(grad_output * roi_align(features, rois, ...))``, ``grad_features[n, c, y, x]`` is
    dL/dfeatures[n, c, y, x] and ``grad_rois[k]`` holds dL/dx1, dL/dy1, dL/dx2, dL/dy2 in image pixels. At a kink (a
    sample point on an integer) the slope is the one to the right; the number of adaptive points counts as constant. The
    gradient of a maximum goes to the point that is it: of equal points to the first, upper rows first and the left ones
    of a row first, and to a point on the map rather than one off it. With tensors it is
    differentiable itself.

    Parameters
    ----------
    grad_output : array of the shape, layout and dtype of the forward answer
    features, rois, spatial_scale, ... : as in :func:`roi_align`
    need : sequence of "features" and "rois", default both
        Which gradients to compute.
    seed : int
        For random sampling: the int that the forward pass was given.

    Returns
    -------
    (grad_features, grad_rois)
        `grad_features` like `features`; `grad_rois` in the structure of `rois` (the index column 0; float64 for integer
        boxes). None in place of what is not needed.

    Raises
    ------
    TypeError, ValueError
        As :func:`roi_align`.

    Examples
    --------
    The mean over one pixel's neighbourhood spreads back over it:

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
    call = operator_call(
        spec,
        [features],
        [_validate.check_number(spatial_scale, "spatial_scale", positive=True)],
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


def roi_align_spec(sampling_ratio: object, aligned: bool, mode: object, sampling: object) -> Spec:
    """RoIAlign as a description, without the seed of random sampling."""
    _validate.check_choice(mode, "mode", ("avg", "max"))
    _validate.check_choice(sampling, "sampling", ("grid", "random", "exact"))
    mapping: dict[str, float] = {"offset": 0.5 if aligned else 0.0, "minimum_length": -math.inf if aligned else 1.0}
    if mode == "max":
        return PointwiseSpec(
            rule="lattice" if sampling == "exact" else sampling,  # type: ignore[arg-type]
            reduction="max",
            sampling_ratio=_validate.check_sampling_ratio(sampling_ratio, _validate.LARGEST_POINTWISE_RATIO),
            **mapping,  # type: ignore[arg-type]
        )
    return SeparableSpec(
        rule=sampling,  # type: ignore[arg-type]
        sampling_ratio=_validate.check_sampling_ratio(sampling_ratio),
        **mapping,  # type: ignore[arg-type]
    )
