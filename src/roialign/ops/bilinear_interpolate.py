"""Bilinear interpolation of a map at points, with RoIAlign's border rule."""

from __future__ import annotations

import math
from typing import Any

from .. import _validate
from .._docstrings import parameters_of
from .._frameworks import framework_of, operator_call
from .._recording import recordable
from .._spec import SeparableSpec
from .._typing import AnyArray, Backend, NeedPoints
from .roi_align import roi_align

#: A point is a RoI of zero size with one bin and one sample.
BILINEAR_INTERPOLATE = SeparableSpec(rule="grid", sampling_ratio=(1, 1))


@recordable
@parameters_of(roi_align)
def bilinear_interpolate(features: AnyArray, x: AnyArray, y: AnyArray, *, backend: Backend | None = None) -> AnyArray:
    """Interpolate a map bilinearly at points.

    Concretely, ``out[..., s]`` is the bilinear interpolation of ``features[..., :, :]`` at ``(x[s], y[s])``. The centre
    of the pixel in row q and column p is at ``(x, y) = (p, q)``. Up to one pixel beyond the outermost pixel centres,
    the map keeps its edge values. Further out it is zero. :func:`roi_align` interpolates its sample points in the same
    way.

    Parameters
    ----------
    features : array ``[..., H, W]``
        A NumPy array or a torch tensor of dtype float64, float32, float16 or bfloat16.
    x, y : real arrays, of the kind of `features`, or numbers
        Feature coordinates, in pixels. They are broadcast against each other to a common shape S.
    backend : as in :func:`roi_align`

    Returns
    -------
    array ``[..., *S]`` with the dtype of `features`

    Raises
    ------
    TypeError, ValueError
        If the map has fewer than two dimensions or no pixels, or if a coordinate is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> import roialign
    >>> square = np.array([[0.0, 1.0], [2.0, 3.0]])
    >>> roialign.bilinear_interpolate(square, np.array([0.5, 1.0, -0.5, 9.0]), np.array([0.5, 0.25, 0.0, 0.0]))
    array([1.5, 1.5, 0. , 0. ])

    References
    ----------
    He, Gkioxari, Dollar, Girshick, "Mask R-CNN", ICCV 2017, https://arxiv.org/abs/1703.06870 (RoIAlign); Jaderberg,
    Simonyan, Zisserman, Kavukcuoglu, "Spatial Transformer Networks", NeurIPS 2015, https://arxiv.org/abs/1506.02025
    (the derivative with respect to points)
    """
    call, lead, shape = _call(features, x, y, backend)
    output: AnyArray = _to_last(call.forward((1, 1)), lead, shape)
    return output


@recordable
@parameters_of(bilinear_interpolate)
def bilinear_interpolate_backward(
    grad_output: AnyArray,
    features: AnyArray,
    x: AnyArray,
    y: AnyArray,
    *,
    need: NeedPoints = ("features", "points"),
    backend: Backend | None = None,
) -> tuple[AnyArray | Any, tuple[AnyArray, AnyArray] | Any]:
    """The gradients of :func:`bilinear_interpolate` with respect to the map and the points.

    Concretely, with ``L = sum(grad_output * bilinear_interpolate(features, x, y))``, the result is dL/dfeatures and the
    pair (dL/dx, dL/dy). Both arrays of the pair have the shape S that x and y are broadcast to. At an integer
    coordinate, where the interpolation has a kink, the derivative is the one from the right.

    Parameters
    ----------
    grad_output : array ``[..., *S]`` with the dtype of `features`
    features, x, y, backend : as in :func:`bilinear_interpolate`
    need : sequence of "features" and "points", default both
        Which gradients to compute.

    Returns
    -------
    (grad_features, (grad_x, grad_y))
        `grad_features` is like `features`; `grad_x` and `grad_y` are float64. A gradient that is not in `need` is None.

    Raises
    ------
    TypeError, ValueError
        As for :func:`bilinear_interpolate`.

    Examples
    --------
    >>> import numpy as np
    >>> import roialign
    >>> square = np.array([[0.0, 1.0], [2.0, 3.0]])
    >>> grad_square, (grad_x, grad_y) = roialign.bilinear_interpolate_backward(np.ones(()), square, 0.25, 0.5)
    >>> grad_square, float(grad_x), float(grad_y)
    (array([[0.375, 0.125],
           [0.375, 0.125]]), 1.0, 2.0)
    """
    _validate.check_need(need, ("features", "points"))
    call, lead, shape = _call(features, x, y, backend)
    gradient = framework_of(features).checks.check_array(grad_output, "grad_output")
    if gradient.shape != lead + shape:
        raise ValueError(f"grad_output: expected shape {lead + shape}, got {gradient.shape}")
    points = gradient.reshape(math.prod(lead), math.prod(shape)).T[:, :, None, None]
    grad_features, grad_rows = call.backward(points, need, ("features", "points"))
    return (
        None if grad_features is None else grad_features[0].reshape(features.shape),
        # Both corners of a point's box lie on the point, so their gradients add up.
        None
        if grad_rows is None
        else ((grad_rows[:, 1] + grad_rows[:, 3]).reshape(shape), (grad_rows[:, 2] + grad_rows[:, 4]).reshape(shape)),
    )


def _call(features: Any, x: object, y: object, backend: str | None) -> tuple[Any, tuple[int, ...], tuple[int, ...]]:
    array = framework_of(features).checks.check_array(features, "features")
    if array.ndim < 2:
        raise ValueError(f"features: expected at least 2 dimensions [..., H, W], got shape {tuple(array.shape)}")
    lead = tuple(array.shape[:-2])
    rows, shape = framework_of(features).rois.rows_of_points(x, y, array)
    one_image = array.reshape(1, math.prod(lead), *array.shape[-2:])
    call = operator_call(BILINEAR_INTERPOLATE, [one_image], [1.0], rows, backend=backend, rois_name="points")
    return call, lead, shape


def _to_last(points: Any, lead: tuple[int, ...], shape: tuple[int, ...]) -> Any:
    """``[K, C, 1, 1]`` to ``[*lead, *shape]``."""
    return points[:, :, 0, 0].T.reshape(lead + shape)
