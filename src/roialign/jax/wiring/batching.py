"""Batching for jax.vmap: an additional axis of any input, computed by one call of the same function.

Channels are independent. If only the features are batched, the members of the batch therefore become additional
channels. Otherwise each member adds its own boxes and, if its features are batched too, its own images.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from ..._derivatives import Inputs, Outputs, Setting
from ..rois import exceeds_float32
from .signature import Signature

Function = Callable[[Inputs], Outputs]
Batched = tuple[Outputs, tuple[int, ...]]


class Batch(NamedTuple):
    """The inputs of a batched call."""

    signature: Signature
    inputs: Inputs
    """Arrays that have a batch axis have it first."""
    has_axis: Inputs
    """Whether an array has it."""
    size: int

    @property
    def has_own_boxes(self) -> bool:
        axes = self.has_axis
        return any([axes.rois, axes.levels, axes.drawn_seed, *axes.tangents])

    @property
    def has_own_maps(self) -> bool:
        """Whether each member has its own images. Gradients of the features always are its own."""
        return not self.inputs.features or any([*self.has_axis.features, *self.has_axis.deciding])

    def map(self, function: Callable[[Array], Array]) -> Inputs:
        """Apply a function to all arrays, after repeating those that have no batch axis."""

        def repeated(array: Array, has_axis: bool) -> Array:
            return array if has_axis else jnp.broadcast_to(array, (self.size, *array.shape))

        flat = zip(self.signature.flatten(self.inputs), self.signature.flatten(self.has_axis), strict=True)
        return self.signature.group([function(repeated(array, has_axis)) for array, has_axis in flat])

    def member(self, index: int) -> Inputs:
        flat = zip(self.signature.flatten(self.inputs), self.signature.flatten(self.has_axis), strict=True)
        return self.signature.group([array[index] if has_axis else array for array, has_axis in flat])


def batch(function: Callable[[Setting, Inputs], Outputs], setting: Setting, given: Batch) -> Batched:
    """Return the results, and the batch axis of each."""
    spec, sums_channels = setting.operator.spec, bool(given.inputs.features) and given.signature.has_grad_output
    if given.size == 0:
        return _of_no_members(partial(function, setting), given)
    if not (given.has_own_boxes or sums_channels or spec.mixes_channels()):
        return _as_channels(function, setting, given)
    if given.has_axis.drawn_seed or spec.counts_rows():
        return _one_by_one(partial(function, setting), given)
    return _as_rows(function, setting, given)


def _as_channels(function: Callable[[Setting, Inputs], Outputs], setting: Setting, given: Batch) -> Batched:
    axis = 3 if setting.channels_last else 1

    def fold(array: Array) -> Array:
        moved = jnp.moveaxis(array, 0, axis)
        return moved.reshape(*moved.shape[:axis], given.size * moved.shape[axis + 1], *moved.shape[axis + 2 :])

    def unfold(array: Array) -> Array:
        return array.reshape(*array.shape[:axis], given.size, array.shape[axis] // given.size, *array.shape[axis + 1 :])

    folded = given.map(lambda array: fold(array) if array.ndim == 5 else array[0])
    results = function(_scaled(setting, 1, given.size), folded)
    return tuple([unfold(result) for result in results]), (axis,) * len(results)


def _as_rows(function: Callable[[Setting, Inputs], Outputs], setting: Setting, given: Batch) -> Batched:
    folded = given.map(lambda array: array.reshape(given.size * array.shape[1], *array.shape[2:]))
    if given.has_own_maps:
        images = setting.map_sizes[0]
        if folded.rois.dtype == jnp.float32 and exceeds_float32(images * given.size):
            return _one_by_one(partial(function, setting), given)
        folded = folded._replace(rois=_numbered_on(folded.rois, images, given.size))
        setting = _scaled(setting, 0, given.size)
    else:
        folded = folded._replace(features=given.inputs.features, deciding=given.inputs.deciding)
    results = function(setting, folded._replace(drawn_seed=given.inputs.drawn_seed))
    return tuple([_apart(result, given.size) for result in results]), (0,) * len(results)


def _apart(result: Array, size: int) -> Array:
    return result.reshape(size, result.shape[0] // size, *result.shape[1:])


def _one_by_one(function: Function, given: Batch) -> Batched:
    """One call per member, if the result of a box depends on its row."""
    members = [function(given.member(index)) for index in range(given.size)]
    results = [jnp.stack(parts) for parts in zip(*members, strict=True)]
    return tuple(results), (0,) * len(results)


def _of_no_members(function: Function, given: Batch) -> Batched:
    """Empty results for a batch without members, with the shapes of the results for one member."""
    member = given._replace(inputs=given.map(lambda array: jnp.zeros((1, *array.shape[1:]), array.dtype)))
    every = given.signature.group([True] * len(given.signature.flatten(given.inputs)))
    results = jax.eval_shape(lambda: function(member._replace(has_axis=every).member(0)))
    return tuple([jnp.zeros((0, *result.shape), result.dtype) for result in results]), (0,) * len(results)


def _numbered_on(rows: Array, images: int, size: int) -> Array:
    """Rows ``[B * K, 5]`` with images numbered over all members. Invalid image indices stay invalid."""
    image = rows[:, 0].reshape(size, rows.shape[0] // size)
    before = (images * jnp.arange(size, dtype=rows.dtype))[:, None]
    # A fraction would be lost beside a large number.
    step = jnp.where((image < images) & (image == jnp.floor(image)), jnp.where(image >= 0, before, 0), images * size)
    return rows.at[:, 0].set((image + step).reshape(-1).astype(rows.dtype))


def _scaled(setting: Setting, place: int, factor: int) -> Setting:
    """The setting with one of the sizes of every map multiplied."""
    sizes = [size * factor if index % 4 == place else size for index, size in enumerate(setting.map_sizes)]
    return setting._replace(map_sizes=tuple(sizes))
