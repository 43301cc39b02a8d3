"""Validation of NumPy arrays. Every error names the argument, what was expected and what was given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import _array_checks
from .._array_checks import check_boxes, check_levels_alike, check_map, check_real, is_real, is_supported
from .._typing import Array
from .._validate import check_places

__all__ = [
    "check_array",
    "check_boxes",
    "check_features",
    "check_grad_output",
    "check_indices",
    "check_levels_alike",
    "check_out",
    "check_per_bin",
    "check_real",
    "float_image",
    "is_real",
    "is_supported",
    "nchw",
]


def check_array(value: object, name: str) -> Array:
    """Return the value if it is a NumPy array, else raise an error."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"{name}: expected a numpy.ndarray, got a masked array, whose mask would be ignored; "
            f"fill it with {name}.filled(0)"
        )
    if isinstance(value, np.ndarray):
        return value
    kind = type(value)
    full_name = f"{kind.__module__}.{kind.__qualname__}"
    framework = kind.__module__.partition(".")[0]
    if framework in ("torch", "jax", "jaxlib"):
        raise TypeError(f"{name}: expected a numpy.ndarray, like the other arguments, got {full_name}")
    raise TypeError(f"{name}: expected a numpy.ndarray, got {full_name}")


def check_features(features: object, layout: str, name: str = "features") -> Array:
    """Return a view of `features` as ``[N, C, H, W]``, never a copy."""
    array = check_array(features, name)
    check_map(array, layout, name)
    return nchw(array, layout)


def float_image(image: Array) -> Array:
    """Return the image, converted to float32 if it has integers."""
    return image.astype(np.float32) if image.dtype.kind in "iu" else image


def check_indices(values: object, count: int, name: str, owner: str) -> Array:
    """Check that there is one integer per row."""
    array = check_array(values, name)
    _array_checks.check_indices(array, count, name, owner)
    return array


def check_per_bin(values: object, name: str, shape: tuple[int, ...]) -> Array:
    """Check an array with one or two real numbers for every bin."""
    array = check_array(values, name)
    _array_checks.check_per_bin(array, name, shape)
    return array


def check_grad_output(
    grad_output: object, features: Array, count: int, layout: str, channels_of: Callable[[tuple[int, int]], int]
) -> Array:
    """Return a view of the output gradient as ``[K, C, PH, PW]``. `channels_of` gives C for the number of bins."""
    gradient = check_array(grad_output, "grad_output")
    _array_checks.check_grad_output(gradient, features.dtype, count, layout, channels_of)
    return nchw(gradient, layout)


def check_out(
    out: object, shape: tuple[int, ...], dtype: np.dtype[Any], inputs: Sequence[Array], name: str = "out"
) -> Array:
    """Check a buffer for the result."""
    array = check_array(out, name)
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
    if array.dtype != dtype:
        raise TypeError(f"{name}: expected dtype {dtype}, got {array.dtype}")
    if not array.flags.writeable:
        raise ValueError(f"{name}: expected a writeable array, got a read-only array")
    check_places(array.shape, array.strides, array.itemsize, name)
    if any(np.may_share_memory(array, given) for given in inputs):
        raise ValueError(f"{name}: expected memory that no input uses, got memory shared with an input")
    return array


def nchw(array: Array, layout: str) -> Array:
    """Return a view of a four-dimensional array as NCHW."""
    return array if layout == "NCHW" else array.transpose(0, 3, 1, 2)
