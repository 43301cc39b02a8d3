"""Reads an input: a feature map, or an image, whose pixels are used as a feature map."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .._typing import Array
from ..files.arrays import read_feature_map
from ..files.images import read_picture
from ..files.orientation import UPRIGHT, Annotated, Turning
from ..files.problems import FileError as InputError
from ..files.problems import Remark

__all__ = ["FeatureMap", "InputError", "average_pool", "read_input"]


#: The possible numbers of channels of an image, and the smallest height of what may be an image.
COLOURS, SMALLEST_IMAGE = (1, 3, 4), 16


@dataclass(frozen=True, slots=True)
class FeatureMap:
    """The features of one input."""

    features: Array
    """``[1, C, H, W]``, a view if the file has another layout."""
    is_image: bool
    """Whether the channels are red, green and blue."""
    remarks: tuple[Remark, ...] = ()
    """Remarks for the user."""
    turning: Turning = UPRIGHT
    """Whether an image was turned upright, and why."""


def read_input(
    path: Path,
    *,
    layout: str = "NCHW",
    array_name: str | None = None,
    stride: int = 1,
    annotated: Annotated | None = None,
) -> FeatureMap:
    """Read an input, and average it over squares of `stride` x `stride` pixels.

    ``.npy`` and ``.npz`` files are feature maps ``[C, H, W]`` or ``[1, C, H, W]``, channels last if `layout` is
    NHWC. From an ``.npz`` file with several arrays, `array_name` is read. Any other file is an image. It is turned
    upright unless `annotated` shows that the boxes refer to the image as stored; see
    :func:`~roialign.files.images.read_picture`.

    Raises
    ------
    InputError
        If the input cannot be read.
    """
    if path.suffix.lower() in (".npy", ".npz"):
        features = read_feature_map(path, layout, array_name)
        not_finite = features.size - int(np.isfinite(features).sum())
        what = f"{not_finite} of {features.size} values are NaN or infinity, and so are the features pooled from them"
        layout_remark = _layout_remark(features.shape) if layout == "NCHW" else None
        remarks = [Remark(what, "range") if not_finite else None, layout_remark]
        is_image, turning = False, UPRIGHT
    else:
        picture = read_picture(path, annotated)
        features = picture.pixels.transpose(2, 0, 1)[None]
        remarks, is_image, turning = [picture.remark, picture.range_remark()], True, picture.turning
    given = tuple(remark for remark in remarks if remark is not None)
    return FeatureMap(average_pool(features, stride), is_image, given, turning)


def _layout_remark(shape: tuple[int, ...]) -> Remark | None:
    """Return a remark if a map probably has its channels last, as images usually have in NumPy."""
    _, channels, height, width = shape
    if width not in COLOURS or min(channels, height) < SMALLEST_IMAGE:
        return None
    return Remark(
        f"read as {channels} channels of {height} x {width}: if it is [H, W, C], give --layout NHWC", "layout"
    )


def average_pool(features: Array, stride: int) -> Array:
    """Average over squares of `stride` x `stride` pixels. At the right and lower borders, squares may be incomplete.

    >>> average_pool(np.arange(6.0).reshape(1, 1, 2, 3), 2)
    array([[[[2. , 3.5]]]])
    """
    if stride == 1:
        return features
    pooled = features
    for axis in (2, 3):
        size = pooled.shape[axis]
        starts = np.arange(0, size, stride)
        counts = np.minimum(starts + stride, size) - starts
        shape = [1, 1, 1, 1]
        shape[axis] = len(starts)
        pooled = np.add.reduceat(pooled, starts, axis=axis, dtype=np.float64) / counts.reshape(shape)
    return pooled.astype(features.dtype)
