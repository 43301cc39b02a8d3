"""The dtypes of tables of numbers, whatever JAX has been told about float64 and about mixed dtypes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array


def wide(values: Array) -> Array:
    """The values in a type that the core reads: a float of 32 or 64 bits, or an integer of as many."""
    if values.dtype in (jnp.float32, jnp.float64, jnp.int32, jnp.int64):
        return values
    if not jnp.issubdtype(values.dtype, jnp.integer):
        return values.astype(jnp.float32)
    return values.astype(jnp.int32 if values.dtype.itemsize < 4 else float_dtype())


def joined(parts: Sequence[Array], axis: int = 0) -> Array:
    """Arrays side by side in one dtype, which users may have told JAX not to choose."""
    with jax.numpy_dtype_promotion("standard"):
        return jnp.concatenate(parts, axis=axis)


def common_dtype(*dtypes: Any) -> np.dtype[Any]:
    """The dtype that JAX converts to by default."""
    with jax.numpy_dtype_promotion("standard"):
        return jnp.result_type(*dtypes)


def like(gradient: Array, given: Array) -> Array:
    """A gradient in the dtype of what was given, if that is a float."""
    return gradient.astype(given.dtype) if jnp.issubdtype(given.dtype, jnp.floating) else gradient


def float_dtype() -> np.dtype[Any]:
    """float64 if JAX has been told to use it, else float32."""
    return jax.dtypes.canonicalize_dtype(np.float64)


def gradient_dtype(given: Any) -> np.dtype[Any]:
    """The dtype of the gradient of an array: its own, if that is a float."""
    dtype: np.dtype[Any] = given.dtype
    return dtype if jnp.issubdtype(dtype, jnp.floating) else float_dtype()
