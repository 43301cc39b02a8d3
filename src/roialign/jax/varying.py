"""Arrays within `jax.shard_map`, which keeps track of the axes of the mesh over which each array varies.

JAX needs to know it of every result: it decides which results are the same on all devices, and which gradients are
summed over them. JAX 0.5 does not keep track.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
from jax import Array
from jax.sharding import PartitionSpec


def alike(arrays: Sequence[Array]) -> list[Array]:
    """The arrays, all varying over the axes over which any of them does."""
    axes = _axes_of_all(arrays)
    return [_over(array, axes) for array in arrays] if axes else list(arrays)


def varying_as(results: Sequence[Array], arrays: Sequence[Array]) -> tuple[Array, ...]:
    """Results of a callback, of which JAX does not know that they vary as its arguments do."""
    axes = _axes_of_all(arrays)
    return tuple([_over(result, axes) for result in results] if axes else results)


def outline(shape: tuple[int, ...], dtype: Any, given: Any) -> Any:
    """The abstract value of a result that varies as an argument with the abstract value `given` does."""
    if not _axes(given):
        return jax.core.ShapedArray(shape, dtype)
    whole = given.sharding.update(spec=PartitionSpec(*[None] * len(shape)))
    return given.update(shape=shape, dtype=dtype, weak_type=False, sharding=whole)


def _axes(kind: Any) -> frozenset[Any]:
    """The axes over which arrays of this abstract value vary, by the version of JAX."""
    kept = getattr(kind, "manual_axis_type", None)
    axes: frozenset[Any] = getattr(kind, "vma", frozenset()) if kept is None else kept.varying
    return axes


def _axes_of_all(arrays: Sequence[Any]) -> frozenset[Any]:
    if not hasattr(jax, "typeof"):
        return frozenset()
    return frozenset().union(*[_axes(jax.typeof(array)) for array in arrays])


def _over(array: Any, axes: frozenset[Any]) -> Any:
    missing = tuple(sorted(axes - _axes(jax.typeof(array)), key=str))
    if not missing:
        return array
    lax: Any = jax.lax
    return lax.pcast(array, missing, to="varying") if hasattr(lax, "pcast") else lax.pvary(array, missing)
