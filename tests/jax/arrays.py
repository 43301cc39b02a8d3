"""Arrays of JAX for the tests, and float64, which JAX has only on request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

DTYPES = {"float64": jnp.float64, "float32": jnp.float32, "float16": jnp.float16, "bfloat16": jnp.bfloat16}


@pytest.fixture
def float64() -> Iterator[None]:
    enabled = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64
    with enabled(True):
        yield


def values(*shape: int, seed: int = 0) -> Any:
    """Normal numbers."""
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape))


def features() -> Any:
    return values(2, 3, 7, 9)


def pyramid() -> list[Any]:
    return [values(2, 3, 12, 16), values(2, 3, 6, 8, seed=1)]


def rois() -> Any:
    """Boxes at generic points: no sample on a kink."""
    return jnp.asarray([[0, 1.31, 2.17, 29.43, 21.19], [1, -3.77, 5.29, 17.71, 36.13], [1, 8.93, 1.87, 12.61, 9.23]])
