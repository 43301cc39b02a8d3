"""Reads one input: an image, whose pixels are the feature map, or a feature map."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..files.arrays import read_feature_map
from ..files.images import read_image, read_picture
from ..files.orientation import Annotated
from ..files.problems import FileError as InputError
from ..files.problems import Remark

__all__ = ["FeatureMap", "InputError", "average_pool", "read_image", "read_input"]

Array = np.ndarray[Any, np.dtype[Any]]


#: Sides of a map that may be an image's channels, and the least side of what may be an image.
COLOURS, SMALLEST_IMAGE = (1, 3, 4), 16


@dataclass(frozen=True, slots=True)
class FeatureMap:
    """One input as features."""

    features: Array
    """``[1, C, H, W]``, a view where the input lies otherwise."""
    is_image: bool
    """Whether the channels are red, green and blue."""
    remarks: tuple[Remark, ...] = ()
    """What is to be known about it."""


def read_input(
    path: Path,
    *,
    layout: str = "NCHW",
    array_name: str | None = None,
    stride: int = 1,
    annotated: Annotated | None = None,
) -> FeatureMap:
    """Read an input, and average it over squares of `stride` x `stride` pixels.

    ``.npy`` and ``.npz`` are feature maps ``[C, H, W]`` or ``[1, C, H, W]``, or as `layout` says; of an ``.npz`` with
    several arrays, `array_name` is taken. Anything else is an image, turned upright unless `annotated` says that the
    boxes are of the image as stored: see :func:`~roialign.files.images.read_picture`.

    Raises
    ------
    InputError
        Saying why it cannot be read.
    """
    if path.suffix.lower() in (".npy", ".npz"):
        features = read_feature_map(path, layout, array_name)
        strange = features.size - int(np.isfinite(features).sum())
        what = f"{strange} of {features.size} values are NaN or infinity: so is what is pooled of them"
        layout_remark = _layout_remark(features.shape) if layout == "NCHW" else None
        remarks = [Remark(what, "range") if strange else None, layout_remark]
        is_image = False
    else:
        picture = read_picture(path, annotated)
        features = picture.pixels.transpose(2, 0, 1)[None]
        remarks, is_image = [picture.remark, picture.range_remark()], True
    told = tuple(remark for remark in remarks if remark is not None)
    return FeatureMap(average_pool(features, stride), is_image, told)


def _layout_remark(shape: tuple[int, ...]) -> Remark | None:
    """That a map may have its channels last, as images in NumPy have."""
    _, channels, height, width = shape
    if width not in COLOURS or min(channels, height) < SMALLEST_IMAGE:
        return None
    return Remark(f"read as {channels} channels of {height} x {width}: if it is [H, W, C], --layout NHWC", "layout")


def average_pool(features: Array, stride: int) -> Array:
    """The mean over squares of `stride` x `stride` pixels; at the lower right border, over what there is of them.

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
