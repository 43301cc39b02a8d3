"""Validation of JAX arrays, by shape and dtype only, so that it also works while JAX traces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from .. import _array_checks
from .._array_checks import check_boxes, check_levels_alike, check_per_bin, check_real, nchw_shape

__all__ = [
    "check_array",
    "check_boxes",
    "check_features",
    "check_grad_output",
    "check_indices",
    "check_levels_alike",
    "check_per_bin",
    "check_real",
    "float_image",
    "is_concrete",
]


def is_concrete(*arrays: Array | None) -> bool:
    """Whether all arrays have values, because JAX does not trace them."""
    return not any(isinstance(array, jax.core.Tracer) for array in arrays)


def check_array(value: object, name: str) -> Array:
    """Return a JAX array. NumPy arrays are converted, as all functions of JAX do."""
    if isinstance(value, Array):
        return value
    if type(value) is np.ndarray:
        check_real(value, name)
        return _converted(value, name)
    kind = type(value)
    raise TypeError(f"{name}: expected a jax.Array, like features, got {kind.__module__}.{kind.__qualname__}")


def _converted(value: np.ndarray[Any, Any], name: str) -> Array:
    """The array for JAX, which has no integers of 64 bits unless it is told to, and would cut them off."""
    array = jnp.asarray(value)
    if value.dtype.kind in "iu" and array.dtype.itemsize < value.dtype.itemsize and value.size:
        kept = np.iinfo(array.dtype)
        for number in (value.min(), value.max()):
            if not kept.min <= number <= kept.max:
                raise ValueError(f"{name}: expected {array.dtype}, unless jax_enable_x64 is set, got {number}")
    return array


def check_features(features: object, layout: str, name: str) -> Array:
    """Return the features. They must be on the CPU, if they are anywhere yet."""
    array = check_array(features, name)
    _array_checks.check_map(array, layout, name)
    if is_concrete(array) and any(device.platform != "cpu" for device in array.devices()):
        raise ValueError(f"{name}: expected an array on the CPU, got one on {array.device}; use jax.device_put")
    return array


def float_image(image: Array) -> Array:
    """Return the image, converted to float32 if it has integers."""
    return image.astype(jnp.float32) if jnp.issubdtype(image.dtype, jnp.integer) else image


def check_indices(values: object, count: int, name: str, owner: str) -> Array:
    """Check that there is one integer per row."""
    array = check_array(values, name)
    _array_checks.check_indices(array, count, name, owner)
    if array.dtype in (jnp.int32, jnp.int64, jnp.uint32):
        return array
    if array.dtype.itemsize < 4:
        return array.astype(jnp.int32)
    # Of 64 bits without a sign. What is too large is no index, and stays none.
    return jnp.minimum(array, np.uint64(2**63 - 1)).astype(jnp.int64)


def check_grad_output(
    grad_output: object, features: Array, count: int, layout: str, channels_of: Callable[[tuple[int, int]], int]
) -> Array:
    """Return the gradient of the output. `channels_of` gives C for the number of bins."""
    gradient = check_array(grad_output, "grad_output")
    _array_checks.check_grad_output(gradient, features.dtype, count, layout, channels_of)
    return gradient


def bins_of(result: Any, layout: str) -> tuple[int, int]:
    """The number of bins (PH, PW) of a result, or of its gradient."""
    return nchw_shape(result.shape, layout)[2:]
