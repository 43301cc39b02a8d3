"""Deformable RoI pooling: RoIAlign with an offset for every bin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import _validate
from .._docstrings import parameters_of
from .._frameworks import operator_call
from .._recording import recordable
from .._spec import PointwiseSpec
from .._typing import AnyArray, Backend, Invalid, Layout, NeedOffsets, Number, Pair, Sampling, Seed
from .roi_align import roi_align, roi_align_backward


@recordable
@parameters_of(roi_align)
def deform_roi_pool(
    features: AnyArray,
    rois: AnyArray | Sequence[AnyArray],
    offset: AnyArray | None,
    output_size: Pair,
    spatial_scale: Number = 1.0,
    sampling_ratio: Pair = 0,
    gamma: float = 0.1,
    *,
    mask: AnyArray | None = None,
    sampling: Sampling = "grid",
    batch_indices: AnyArray | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid | None = None,
    seed: Seed = None,
    out: AnyArray | None = None,
    backend: Backend | None = None,
) -> AnyArray:
    """Deformable RoI pooling: RoIAlign with an offset, and optionally a weight, for every bin.

    Concretely, ``out[k, c, i, j]`` is ``mask[k, i, j]`` times the mean of ``features[n, c]`` over the sample points of
    bin (i, j) of RoI k on image n. The bins are those of :func:`roi_align` with ``aligned=True``, each moved by
    ``gamma * w * offset[k, 0, i, j]`` along x and ``gamma * h * offset[k, 1, i, j]`` along y, where w and h are the
    width and height of the box. The offsets and the mask are usually predicted by a network.

    Parameters
    ----------
    features, rois, output_size, spatial_scale : as in :func:`roi_align`
    sampling_ratio : int or (int, int), default 0
        Sample points per bin along y and x, at most 256. 0 or -1 is adaptive: ``ceil(bin length)`` points.
    offset : real array ``[K, 2, PH, PW]``, or None for no offsets
        The (x, y) offset of every bin, in units of `gamma` times the box size. The shape is the same in both layouts.
    gamma : float, default 0.1
        The factor that scales `offset`.
    mask : real array ``[K, PH, PW]``, optional
        A factor for every bin, as in modulated deformable pooling (Deformable ConvNets v2).
    sampling : "grid" (default) or "random"
        Regular points, or one random point in each cell of the bin's regular grid. Both coordinates are drawn
        independently for each point.
    batch_indices, layout, invalid, seed, out, backend : as in :func:`roi_align`

    Returns
    -------
    array ``[K, C, PH, PW]``, or ``[K, PH, PW, C]`` with ``layout="NHWC"``; with the dtype of `features`

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid. The message names the argument and the row, what was expected and what was given.

    Examples
    --------
    The map rises by 1 per pixel along x, and the box is 4 wide. An offset of 0.5 along x moves every bin by
    0.1 * 4 * 0.5 = 0.2 pixels:

    >>> import numpy as np
    >>> import roialign
    >>> ramp = np.tile(np.arange(8.0), (8, 1)).reshape(1, 1, 8, 8)
    >>> box, offset = np.array([[0, 2.0, 2.0, 6.0, 6.0]]), np.zeros((1, 2, 2, 2))
    >>> offset[:, 0] = 0.5
    >>> roialign.deform_roi_pool(ramp, box, offset, 2)
    array([[[[2.7, 4.7],
             [2.7, 4.7]]]])

    References
    ----------
    Dai et al., "Deformable Convolutional Networks", ICCV 2017, https://arxiv.org/abs/1703.06211
    Zhu, Hu, Lin, Dai, "Deformable ConvNets v2", CVPR 2019, https://arxiv.org/abs/1811.11168
    """
    call = _call(
        features,
        rois,
        offset,
        spatial_scale,
        sampling_ratio,
        gamma,
        mask,
        sampling,
        batch_indices,
        layout,
        invalid,
        seed,
        backend,
        drawn=True,
    )
    output: AnyArray = call.forward(_validate.check_output_size(output_size), out)
    return output


@recordable
@parameters_of(deform_roi_pool, roi_align_backward)
def deform_roi_pool_backward(
    grad_output: AnyArray,
    features: AnyArray,
    rois: AnyArray | Sequence[AnyArray],
    offset: AnyArray | None,
    spatial_scale: Number = 1.0,
    sampling_ratio: Pair = 0,
    gamma: float = 0.1,
    *,
    need: NeedOffsets = ("features", "rois", "offset", "mask"),
    mask: AnyArray | None = None,
    sampling: Sampling = "grid",
    batch_indices: AnyArray | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid | None = None,
    seed: int | None = None,
    backend: Backend | None = None,
) -> tuple[Any, ...]:
    """The gradients of :func:`deform_roi_pool` with respect to the features, boxes, offsets and mask.

    Concretely, with ``L = sum(grad_output * deform_roi_pool(features, rois, offset, ...))``, they are dL/dfeatures,
    dL/drois (in image pixels), dL/doffset and dL/dmask. At a kink, where a sample point has an integer coordinate, the
    derivative is the one from the right. Beyond the outermost pixel centres, where the map is constant, it is zero.

    Parameters
    ----------
    grad_output : array with the shape, layout and dtype of the forward result
    features, rois, offset, spatial_scale, ... : as in :func:`deform_roi_pool`
    need : sequence of "features", "rois", "offset" and "mask", default all
        Which gradients to compute.
    seed : as in :func:`roi_align_backward`

    Returns
    -------
    (grad_features, grad_rois, grad_offset, grad_mask)
        Each is like its argument. A gradient is None if it is not in `need` or if its argument was not given.

    Raises
    ------
    TypeError, ValueError
        As for :func:`deform_roi_pool`.

    Examples
    --------
    >>> import numpy as np
    >>> import roialign
    >>> ramp = np.tile(np.arange(8.0), (8, 1)).reshape(1, 1, 8, 8)
    >>> box, offset = np.array([[0, 2.0, 2.0, 6.0, 6.0]]), np.zeros((1, 2, 1, 1))
    >>> gradients = roialign.deform_roi_pool_backward(np.ones((1, 1, 1, 1)), ramp, box, offset)
    >>> gradients[2].ravel()  # 0.1 * 4 along x, nothing along y
    array([0.4, 0. ])
    """
    call = _call(
        features,
        rois,
        offset,
        spatial_scale,
        sampling_ratio,
        gamma,
        mask,
        sampling,
        batch_indices,
        layout,
        invalid,
        seed,
        backend,
        drawn=False,
    )
    grad_features, *others = call.backward(grad_output, need, ("features", "rois", "offset", "mask"))
    return None if grad_features is None else grad_features[0], *others


def _call(
    features: object,
    rois: object,
    offset: object,
    spatial_scale: object,
    sampling_ratio: object,
    gamma: object,
    mask: object,
    sampling: object,
    batch_indices: object,
    layout: str,
    invalid: str | None,
    seed: object,
    backend: str | None,
    *,
    drawn: bool,
) -> Any:
    return operator_call(
        deform_roi_pool_spec(sampling_ratio, gamma, sampling),
        [features],
        [_validate.check_number(spatial_scale, "spatial_scale", positive=True)],
        rois,
        offset=offset,
        mask=mask,
        batch_indices=batch_indices,
        layout=layout,
        invalid=invalid,
        backend=backend,
        seed=seed,
        drawn=drawn,
    )


def deform_roi_pool_spec(sampling_ratio: object, gamma: object, sampling: object) -> PointwiseSpec:
    """The specification of the operator, from validated arguments and without the seed of random sampling."""
    _validate.check_choice(sampling, "sampling", ("grid", "random"))
    return PointwiseSpec(
        rule=sampling,  # type: ignore[arg-type]
        sampling_ratio=_validate.check_sampling_ratio(sampling_ratio, _validate.LARGEST_POINTWISE_RATIO),
        offset=0.5,
        jitters_points=True,
        gamma=_validate.check_number(gamma, "gamma"),
    )
