"""Validation of NumPy arrays. Every error names the argument, what was expected and what was given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from .._typing import Array
from .._validate import check_places

SUPPORTED_DTYPES = ("float64", "float32", "float16", "bfloat16")


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
    if framework == "torch":
        raise TypeError(f"{name}: expected a numpy.ndarray, like the other arguments, got {full_name}")
    if framework in ("jax", "jaxlib"):
        raise TypeError(
            f"{name}: expected a numpy.ndarray or a torch.Tensor, got {full_name}; convert it with numpy.asarray"
        )
    raise TypeError(f"{name}: expected a numpy.ndarray, got {full_name}")


def check_features(features: object, layout: str, name: str = "features") -> Array:
    """Return a view of `features` as ``[N, C, H, W]``, never a copy."""
    array = check_array(features, name)
    if array.ndim != 4:
        raise ValueError(f"{name}: expected 4 dimensions {'[' + ', '.join(layout) + ']'}, got shape {array.shape}")
    check_float_dtype(array, name)
    view = nchw(array, layout)
    if view.shape[2] == 0 or view.shape[3] == 0:
        raise ValueError(f"{name}: expected a map of at least 1 x 1 pixels, got shape {array.shape} ({layout})")
    return view


def float_image(image: Array) -> Array:
    """Return the image, converted to float32 if it has integers."""
    return image.astype(np.float32) if image.dtype.kind in "iu" else image


def check_levels_alike(features: Sequence[Array]) -> None:
    """Check that all levels of a pyramid have the same images, channels and dtype."""
    first = features[0]
    for index, level in enumerate(features[1:], start=1):
        if level.shape[:2] != first.shape[:2]:
            raise ValueError(
                f"features[{index}]: expected the images and channels of features[0], "
                f"{first.shape[0]} and {first.shape[1]}, got {level.shape[0]} and {level.shape[1]}"
            )
        if level.dtype != first.dtype:
            raise TypeError(f"features[{index}]: expected the dtype of features[0], {first.dtype}, got {level.dtype}")


def check_float_dtype(array: Array, name: str) -> None:
    if not array.dtype.isnative:
        raise TypeError(
            f"{name}: expected the native byte order, got {array.dtype.str}; "
            f'convert it with {name}.astype({name}.dtype.newbyteorder("="))'
        )
    if not is_supported(array.dtype):
        raise TypeError(f"{name}: expected dtype {', '.join(SUPPORTED_DTYPES)}, got {array.dtype}")


def check_real(array: Array, name: str) -> None:
    if not is_real(array.dtype):
        raise TypeError(f"{name}: expected a real dtype (float or integer), got {array.dtype}")


@lru_cache
def is_supported(dtype: np.dtype[Any]) -> bool:
    return dtype.name in SUPPORTED_DTYPES and dtype.isnative


@lru_cache
def is_real(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "iu" or dtype.name in SUPPORTED_DTYPES


def check_boxes(boxes: Array, columns: int, name: str, count: str = "K") -> None:
    if boxes.ndim != 2 or boxes.shape[1] != columns:
        raise ValueError(f"{name}: expected shape [{count}, {columns}], got {boxes.shape}")
    check_real(boxes, name)


def check_indices(values: object, count: int, name: str, owner: str) -> Array:
    """Check that there is one integer per row."""
    array = check_array(values, name)
    if array.ndim != 1 or len(array) != count:
        raise ValueError(f"{name}: expected shape [{count}], one per row of {owner}, got {array.shape}")
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected an integer dtype, got {array.dtype}")
    return array


def check_per_bin(values: object, name: str, shape: tuple[int, ...]) -> Array:
    """Check an array with one or two real numbers for every bin."""
    array = check_array(values, name)
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {list(shape)}, got {list(array.shape)}")
    check_real(array, name)
    return array


def check_grad_output(
    grad_output: object, features: Array, count: int, layout: str, channels_of: Callable[[tuple[int, int]], int]
) -> Array:
    """Return a view of the output gradient as ``[K, C, PH, PW]``. `channels_of` gives C for the number of bins."""
    gradient = check_array(grad_output, "grad_output")
    axes = "[K, C, PH, PW]" if layout == "NCHW" else "[K, PH, PW, C]"
    if gradient.ndim != 4:
        raise ValueError(f"grad_output: expected 4 dimensions {axes}, got shape {gradient.shape}")
    view = nchw(gradient, layout)
    bins = (view.shape[2], view.shape[3])
    channels = channels_of(bins)
    if view.shape[:2] != (count, channels) or 0 in bins:
        expected = [count, channels, "PH", "PW"] if layout == "NCHW" else [count, "PH", "PW", channels]
        raise ValueError(f"grad_output: expected shape {expected}, got {gradient.shape}")
    if gradient.dtype != features.dtype:
        raise TypeError(f"grad_output: expected the dtype of features, {features.dtype}, got {gradient.dtype}")
    return view


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
