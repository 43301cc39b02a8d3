"""ONNX's operator RoiAlign as a function for NumPy arrays and torch tensors.

Names, defaults and conventions follow the specification of each operator set:
https://onnx.ai/onnx/operators/onnx__RoiAlign.html
"""

from __future__ import annotations

from typing import Any

from .. import _validate
from .._frameworks import operator_call
from .._recording import recordable
from ..ops.roi_align import roi_align as _roi_align
from ..ops.roi_align import roi_align_spec
from ._names import renaming

__all__ = ["roi_align"]

#: Whether each coordinate transformation mode shifts by half a pixel. The shift is the default from operator set 16.
SHIFTED = {"half_pixel": True, "output_half_pixel": False}
#: The operator sets that changed RoiAlign, with the dtypes that each one allows.
DTYPES = {
    10: ("float16", "float32", "float64"),
    16: ("float16", "float32", "float64"),
    22: ("float16", "float32", "float64", "bfloat16"),
}


@recordable
@renaming(features="X")
def roi_align(
    X: Any,  # noqa: N803  # the specification's name
    rois: Any,
    batch_indices: Any,
    *,
    mode: str = "avg",
    output_height: int = 1,
    output_width: int = 1,
    sampling_ratio: int = 0,
    spatial_scale: float = 1.0,
    coordinate_transformation_mode: str | None = None,
    opset: int = 22,
) -> Any:
    """ONNX's operator RoiAlign.

    Concretely, with ``mode="avg"`` it is ``roialign.roi_align(X, rois, (output_height, output_width), spatial_scale,
    sampling_ratio, batch_indices=batch_indices, aligned=coordinate_transformation_mode == "half_pixel")``. With
    ``mode="max"``, ``out[k, c, i, j]`` is the maximum, over the sample points of bin (i, j), of
    ``max(w1 * v1, .., w4 * v4)``. Here v and w are the values and the bilinear weights of the four pixels around the
    point. A point outside the map counts as zero.

    Parameters
    ----------
    X : array or tensor ``[N, C, H, W]``
        The feature map: float16, float32 or float64, or bfloat16 from operator set 22.
    rois : array or tensor ``[K, 4]``
        Rows (x1, y1, x2, y2) in image pixels.
    batch_indices : int64 array or tensor ``[K]``
        The image index of each row of `rois`.
    mode : "avg" or "max", default "avg"
        The mean over the sample points of a bin, or what ONNX calls their maximum. That is the maximum of the products
        of weight and pixel value, not of the interpolated values: a map of ones gives 0.25 in the middle of four
        pixels. For the maximum of the interpolated values, use ``roialign.roi_align(mode="max")``.
    output_height, output_width : int, default 1
        The number of bins along y and x.
    sampling_ratio : int, default 0
        Sample points per bin and axis. 0 is adaptive: ``ceil(bin length)`` points.
    spatial_scale : float, default 1.0
        Feature pixels per image pixel.
    coordinate_transformation_mode : "half_pixel" or "output_half_pixel"
        "half_pixel" shifts by half a pixel. "output_half_pixel" does not, and lengthens a RoI that is shorter than one
        feature pixel to one. The default is "half_pixel" from operator set 16. Operator set 10 does not have this
        attribute and never shifts.
    opset : int, default 22
        The version of the operator set that the model imports, at least 10.

    Returns
    -------
    array or tensor ``[K, C, output_height, output_width]``

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid. The message names the argument and the row, what was expected and what was given.

    Examples
    --------
    >>> import numpy as np
    >>> from roialign.compat.onnx import roi_align
    >>> ramp = np.arange(16.0).reshape(1, 1, 4, 4)
    >>> box = np.array([[0.0, 0.0, 2.0, 2.0]])
    >>> roi_align(ramp, box, np.array([0])).item(), roi_align(ramp, box, np.array([0]), opset=10).item()
    (2.5, 5.0)

    References
    ----------
    He, Gkioxari, Dollar, Girshick, "Mask R-CNN", ICCV 2017, https://arxiv.org/abs/1703.06870
    """
    _validate.check_int(opset, "opset", 0)
    versions = [known for known in DTYPES if known <= opset]
    if not versions:
        raise ValueError(f"opset: expected at least 10, the first with RoiAlign, got {opset}")
    version = versions[-1]
    if coordinate_transformation_mode is None:
        coordinate_transformation_mode = "half_pixel" if version >= 16 else "output_half_pixel"
    elif version < 16:
        raise ValueError(
            "coordinate_transformation_mode: expected None before operator set 16, which added the attribute, "
            f"got {coordinate_transformation_mode!r} with opset={opset}"
        )
    _validate.check_choice(coordinate_transformation_mode, "coordinate_transformation_mode", tuple(SHIFTED))
    _validate.check_choice(mode, "mode", ("avg", "max"))
    dtype = str(getattr(X, "dtype", None)).removeprefix("torch.")
    if dtype not in DTYPES[version]:
        raise TypeError(f"X: expected dtype {', '.join(DTYPES[version])} for operator set {opset}, got {dtype}")
    bins = (
        _validate.check_int(output_height, "output_height", 1),
        _validate.check_int(output_width, "output_width", 1),
    )
    shifted = SHIFTED[coordinate_transformation_mode]
    if mode == "max":
        return _corner_max(X, rois, batch_indices, bins, sampling_ratio, spatial_scale, shifted)
    return _roi_align(X, rois, bins, spatial_scale, sampling_ratio, batch_indices=batch_indices, aligned=shifted)


def _corner_max(
    features: Any,
    rois: Any,
    batch_indices: Any,
    output_size: tuple[int, int],
    sampling_ratio: int,
    spatial_scale: float,
    shifted: bool,
) -> Any:
    samples: Any = roi_align_spec(sampling_ratio, shifted, "max", "grid")
    spec = samples._replace(reduction="corner_max")
    scale = _validate.check_number(spatial_scale, "spatial_scale", positive=True)
    call = operator_call(spec, [features], [scale], rois, batch_indices=batch_indices)
    return call.forward(_validate.check_output_size(output_size))
