"""Reads one input: an image, whose pixels are the feature map, or a feature map."""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from ..numpy.checks import check_float_dtype

Array = np.ndarray[Any, np.dtype[Any]]

#: What Pillow and NumPy raise on a file that is not there, is damaged, is something else, or does not fit in memory.
READ_ERRORS = (
    OSError,
    ValueError,
    EOFError,
    SyntaxError,
    MemoryError,
    RuntimeError,  # an encrypted archive, a codec that gives up
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
    Image.DecompressionBombError,
)
#: Pillow's modes whose values do not fit in eight bits: its own conversion to RGB would clip them.
DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")


@dataclass(frozen=True, slots=True)
class FeatureMap:
    """One input as features."""

    features: Array
    """``[1, C, H, W]``, a view where the input lies otherwise."""
    is_image: bool
    """Whether the channels are red, green and blue."""


class InputError(Exception):
    """An input that cannot be read, and why."""


def read_input(path: Path, *, layout: str = "NCHW", array_name: str | None = None, stride: int = 1) -> FeatureMap:
    """Read an input, and average it over squares of `stride` x `stride` pixels.

    ``.npy`` and ``.npz`` are feature maps ``[C, H, W]`` or ``[1, C, H, W]``, or as `layout` says; of an ``.npz`` with
    several arrays, `array_name` is taken. Anything else is an image: see :func:`read_image`.

    Raises
    ------
    InputError
        Saying why it cannot be read.
    """
    with _explained():
        if path.is_dir():
            raise InputError("expected a file, found a folder")
        if path.suffix.lower() in (".npy", ".npz"):
            features, is_image = read_feature_map(path, layout, array_name), False
        else:
            features, is_image = read_image(path).transpose(2, 0, 1)[None], True
        return FeatureMap(average_pool(features, stride), is_image)


def read_image(path: Path) -> Array:
    """An image as float32 pixels ``[H, W, 3]``, from 0 to 255.

    It is turned upright as its EXIF orientation says, and a palette or another colour space becomes RGB. Grey is
    repeated for the three channels, with all its values where they are 16 bits or floats; transparent pixels are shown
    over black. Of several frames the first is taken.
    """
    with Image.open(path) as opened:
        upright = ImageOps.exif_transpose(opened)
        if upright.mode in DEEP_MODES:
            return np.repeat(np.asarray(upright, dtype=np.float32)[:, :, None], 3, axis=2)
        if upright.has_transparency_data:
            rgba = upright.convert("RGBA")
            upright = Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba)
        return np.asarray(upright.convert("RGB"), dtype=np.float32)


def read_feature_map(path: Path, layout: str, array_name: str | None) -> Array:
    """A feature map of a ``.npy`` or ``.npz`` file, seen as ``[1, C, H, W]``."""
    with path.open("rb") as file:  # NumPy leaves a file that it opened open where it is no archive
        loaded = np.load(file, allow_pickle=False)
        array = loaded if isinstance(loaded, np.ndarray) else _array_of_archive(loaded, array_name)
    found = list(array.shape)
    axes = "C, H, W" if layout == "NCHW" else "H, W, C"
    if array.ndim == 3:
        array = array[None]
    if array.ndim != 4 or array.shape[0] != 1 or 0 in array.shape:
        raise InputError(f"expected a feature map [{axes}] or [1, {axes}], found shape {found}")
    try:
        check_float_dtype(array, "feature map")
    except TypeError as error:
        raise InputError(str(error)) from error
    return array if layout == "NCHW" else array.transpose(0, 3, 1, 2)


def _array_of_archive(archive: Mapping[str, Array], name: str | None) -> Array:
    """The array of that name, or the only one."""
    names = list(archive)
    if name is None and len(names) == 1:
        return archive[names[0]]
    if name is not None and name in names:
        return archive[name]
    expected = "one array" if name is None else f"an array {name!r}"
    more = "; name one of them" if name is None and names else ""
    raise InputError(f"expected {expected}, found {', '.join(names) or 'none'}{more}")


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


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except READ_ERRORS as error:
        if isinstance(error, OSError) and error.strerror:
            raise InputError(error.strerror) from error
        raise InputError(str(error) or type(error).__name__) from error
