"""Validation of arrays by shape and dtype, for frameworks whose arrays have the dtypes of NumPy.

Every error names the argument, what was expected and what was given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

SUPPORTED_DTYPES = ("float64", "float32", "float16", "bfloat16")


def names_of_levels(count: int) -> list[str]:
    """The name of each map in messages."""
    return ["features"] if count == 1 else [f"features[{index}]" for index in range(count)]


def check_map(array: Any, layout: str, name: str) -> None:
    if array.ndim != 4:
        raise ValueError(f"{name}: expected 4 dimensions {'[' + ', '.join(layout) + ']'}, got shape {array.shape}")
    check_float_dtype(array, name)
    if 0 in nchw_shape(array.shape, layout)[2:]:
        raise ValueError(f"{name}: expected a map of at least 1 x 1 pixels, got shape {array.shape} ({layout})")


def check_levels_alike(features: Sequence[Any], layout: str = "NCHW") -> None:
    """Check that all levels of a pyramid have the same images, channels and dtype."""
    first = features[0]
    images, channels = nchw_shape(first.shape, layout)[:2]
    for index, level in enumerate(features[1:], start=1):
        own = nchw_shape(level.shape, layout)[:2]
        if own != (images, channels):
            raise ValueError(
                f"features[{index}]: expected the images and channels of features[0], "
                f"{images} and {channels}, got {own[0]} and {own[1]}"
            )
        if level.dtype != first.dtype:
            raise TypeError(f"features[{index}]: expected the dtype of features[0], {first.dtype}, got {level.dtype}")


def check_float_dtype(array: Any, name: str) -> None:
    if not array.dtype.isnative:
        raise TypeError(
            f"{name}: expected the native byte order, got {array.dtype.str}; "
            f'convert it with {name}.astype({name}.dtype.newbyteorder("="))'
        )
    if not is_supported(array.dtype):
        raise TypeError(f"{name}: expected dtype {', '.join(SUPPORTED_DTYPES)}, got {array.dtype}")


def check_real(array: Any, name: str) -> None:
    if not is_real(array.dtype):
        raise TypeError(f"{name}: expected a real dtype (float or integer), got {array.dtype}")


@lru_cache
def is_supported(dtype: np.dtype[Any]) -> bool:
    return dtype.name in SUPPORTED_DTYPES and dtype.isnative


@lru_cache
def is_real(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "iu" or dtype.name in SUPPORTED_DTYPES


def check_boxes(boxes: Any, columns: int, name: str, count: str = "K") -> None:
    if boxes.ndim != 2 or boxes.shape[1] != columns:
        raise ValueError(f"{name}: expected shape [{count}, {columns}], got {boxes.shape}")
    check_real(boxes, name)


def check_indices(array: Any, count: int, name: str, owner: str) -> None:
    """Check that there is one integer per row."""
    if array.shape != (count,):
        raise ValueError(f"{name}: expected shape [{count}], one per row of {owner}, got {array.shape}")
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected an integer dtype, got {array.dtype}")


def check_per_bin(array: Any, name: str, shape: tuple[int, ...]) -> None:
    """Check an array with one or two real numbers for every bin."""
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {list(shape)}, got {list(array.shape)}")
    check_real(array, name)


def check_grad_output(
    gradient: Any, dtype: Any, count: int, layout: str, channels_of: Callable[[tuple[int, int]], int]
) -> None:
    """Check the gradient of an output. `channels_of` gives C for the number of bins, and `dtype` is its dtype."""
    axes = "[K, C, PH, PW]" if layout == "NCHW" else "[K, PH, PW, C]"
    if gradient.ndim != 4:
        raise ValueError(f"grad_output: expected 4 dimensions {axes}, got shape {gradient.shape}")
    rois, own, *bins = nchw_shape(gradient.shape, layout)
    channels = channels_of((bins[0], bins[1]))
    if (rois, own) != (count, channels) or 0 in bins:
        expected = [count, channels, "PH", "PW"] if layout == "NCHW" else [count, "PH", "PW", channels]
        raise ValueError(f"grad_output: expected shape {expected}, got {gradient.shape}")
    if gradient.dtype != dtype:
        raise TypeError(f"grad_output: expected the dtype of features, {dtype}, got {gradient.dtype}")


def nchw_shape(shape: Sequence[int], layout: str) -> tuple[int, int, int, int]:
    """The sizes of an array in the order (N, C, H, W)."""
    n, a, b, c = shape
    return (n, a, b, c) if layout == "NCHW" else (n, c, a, b)
