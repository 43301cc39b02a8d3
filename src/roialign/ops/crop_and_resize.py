"""crop_and_resize: crop normalised boxes and resample the crops to one size."""

from __future__ import annotations

from typing import Any

from .. import _validate
from .._docstrings import parameters_of
from .._frameworks import framework_of, operator_call
from .._recording import recordable
from .._spec import SeparableSpec
from .._typing import AnyArray, Backend, Interpolation, Invalid, Layout, NeedBoxes, Pair
from .roi_align import roi_align


@recordable
@parameters_of(roi_align)
def crop_and_resize(
    features: AnyArray,
    boxes: AnyArray,
    box_indices: AnyArray,
    crop_size: Pair,
    method: Interpolation = "bilinear",
    extrapolation_value: float = 0.0,
    *,
    layout: Layout = "NHWC",
    invalid: Invalid | None = None,
    out: AnyArray | None = None,
    backend: Backend | None = None,
) -> AnyArray:
    """Crop each box from its image and resample the crop, as TensorFlow's ``crop_and_resize`` does.

    Concretely, for crops of size ``CH x CW``, ``out[k, i, j, c]`` is channel c of the image
    ``features[box_indices[k]]``, interpolated at ``y = (y1 + i * (y2 - y1) / (CH - 1)) * (H - 1)`` and the analogous x.
    If CH is 1, y is the middle of the box. If the point lies outside ``[0, H - 1] x [0, W - 1]``, the value is
    `extrapolation_value`.

    Parameters
    ----------
    features : array ``[N, H, W, C]``, or ``[N, C, H, W]`` with ``layout="NCHW"``
        The images: float64, float32, float16 or bfloat16. Integers are converted to float32, as in TensorFlow.
    boxes : array ``[K, 4]``
        Rows (y1, x1, y2, x2) in normalised coordinates: 0 and 1 are the centres of the first and last pixel. If
        ``y1 > y2`` or ``x1 > x2``, the crop is flipped.
    box_indices : integer array ``[K]``
        The index of the image that each box belongs to.
    crop_size : int or (int, int)
        The number of rows and columns of each crop, ``(CH, CW)``. An int means a square crop.
    method : "bilinear" (default) or "nearest"
        Interpolate between the four pixels around a point, or take the nearest pixel. If two pixels are equally near,
        the one farther from 0 is taken.
    extrapolation_value : float, default 0.0
        The value of points outside the image.
    layout : "NHWC" (default) or "NCHW"
        The order of the axes of `features` and of the result.
    invalid, out, backend : as in :func:`roi_align`

    Returns
    -------
    array ``[K, CH, CW, C]``, or ``[K, C, CH, CW]`` with ``layout="NCHW"``
        It has the dtype of `features`, or float32 for integer images.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid. The message names the argument and the row, what was expected and what was given.

    Examples
    --------
    The whole image, flipped left to right:

    >>> import numpy as np
    >>> import roialign
    >>> image = np.array([[0.0, 1.0], [2.0, 3.0]]).reshape(1, 2, 2, 1)
    >>> crop = roialign.crop_and_resize(image, np.array([[0.0, 1.0, 1.0, 0.0]]), np.array([0]), (2, 3))
    >>> crop[0, :, :, 0]
    array([[1. , 0.5, 0. ],
           [3. , 2.5, 2. ]])

    References
    ----------
    TensorFlow, "tf.image.crop_and_resize", https://www.tensorflow.org/api_docs/python/tf/image/crop_and_resize
    """
    call = _call(features, boxes, box_indices, method, extrapolation_value, layout, invalid, backend)
    output: AnyArray = call.forward(_validate.check_output_size(crop_size, "crop_size"), out)
    return output


@recordable
@parameters_of(crop_and_resize)
def crop_and_resize_backward(
    grad_output: AnyArray,
    features: AnyArray,
    boxes: AnyArray,
    box_indices: AnyArray,
    method: Interpolation = "bilinear",
    extrapolation_value: float = 0.0,
    *,
    need: NeedBoxes = ("features", "boxes"),
    layout: Layout = "NHWC",
    invalid: Invalid | None = None,
    backend: Backend | None = None,
) -> tuple[AnyArray | Any, AnyArray | Any]:
    """The gradients of :func:`crop_and_resize` with respect to the images and the boxes.

    Concretely, with ``L = sum(grad_output * crop_and_resize(features, boxes, ...))``, ``grad_features`` is dL/dfeatures
    and ``grad_boxes[k]`` holds dL/dy1, dL/dx1, dL/dy2, dL/dx2. Points outside the image contribute no gradient. As in
    TensorFlow, the derivative along an axis is zero at a point whose coordinate on that axis is an integer. With
    ``method="nearest"`` the gradient with respect to the boxes is zero.

    Parameters
    ----------
    grad_output : array with the shape, layout and dtype of the forward result
    features, boxes, box_indices, ... : as in :func:`crop_and_resize`
    need : sequence of "features" and "boxes", default both
        Which gradients to compute.

    Returns
    -------
    (grad_features, grad_boxes)
        Like `features` and like `boxes`; float32 for integer images and float64 for integer boxes. A gradient that is
        not in `need` is None.

    Raises
    ------
    TypeError, ValueError
        As for :func:`crop_and_resize`.

    Examples
    --------
    >>> import numpy as np
    >>> import roialign
    >>> image = np.array([[0.0, 1.0], [2.0, 3.0]]).reshape(1, 2, 2, 1)
    >>> box, index = np.array([[0.25, 0.25, 0.25, 0.25]]), np.array([0])
    >>> grad_image, grad_boxes = roialign.crop_and_resize_backward(np.ones((1, 1, 1, 1)), image, box, index)
    >>> grad_image[0, :, :, 0], grad_boxes
    (array([[0.5625, 0.1875],
           [0.1875, 0.0625]]), array([[1. , 0.5, 1. , 0.5]]))
    """
    _validate.check_need(need, ("features", "boxes"))
    call = _call(features, boxes, box_indices, method, extrapolation_value, layout, invalid, backend)
    grad_features, grad_boxes = call.backward(grad_output, need, ("features", "boxes"))
    return (
        None if grad_features is None else grad_features[0],
        None if grad_boxes is None else framework_of(features).rois.with_axes_swapped(grad_boxes),
    )


def _call(
    features: object,
    boxes: object,
    box_indices: object,
    method: object,
    extrapolation_value: object,
    layout: str,
    invalid: str | None,
    backend: str | None,
) -> Any:
    _validate.check_choice(method, "method", ("bilinear", "nearest"))
    fill = _validate.check_number(extrapolation_value, "extrapolation_value")
    framework = framework_of(features)
    checks = framework.checks
    image: Any = checks.float_image(checks.check_array(features, "features"))
    array: Any = checks.check_array(boxes, "boxes")
    checks.check_boxes(array, 4, "boxes")
    indices = checks.check_indices(box_indices, array.shape[0], "box_indices", "boxes")
    return operator_call(
        SeparableSpec(rule="nearest" if method == "nearest" else "crop", normalised_boxes=True, fill=fill),
        [image],
        [1.0],
        framework.rois.with_axes_swapped(array),
        batch_indices=indices,
        layout=layout,
        invalid=invalid,
        backend=backend,
        rois_name="boxes",
        indices_name="box_indices",
    )
