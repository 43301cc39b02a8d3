"""Arrays of NumPy, and of any dtype, among those of JAX: nothing is cut off, rounded or left out silently."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import roialign
from tests.jax.arrays import float64
from tests.tables.tolerances import assert_same_bits

__all__ = ["float64"]

MAPS = jnp.asarray(np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32))
ROWS = jnp.array([[0, 1.0, 1, 5, 5], [1, 2, 2, 6, 6]])
WHOLE = ROWS.astype(jnp.int32)
BEYOND = np.array([0, 2**32])


def test_gradients_of_offsets_and_masks_given_as_numpy_arrays() -> None:
    rng = np.random.default_rng(1)
    offset, mask = (rng.uniform(0, 1, shape).astype(np.float32) for shape in ((2, 2, 2, 2), (2, 2, 2)))
    gradient = np.ones((2, 3, 2, 2), np.float32)
    right = roialign.deform_roi_pool_backward(gradient, np.asarray(MAPS), np.asarray(ROWS), offset, mask=mask)
    for as_given in ((offset, mask), (offset, jnp.asarray(mask)), (jnp.asarray(offset), mask)):
        found = roialign.deform_roi_pool_backward(gradient, MAPS, ROWS, as_given[0], mask=as_given[1])
        for one, other in zip(found, right, strict=True):
            assert_same_bits(np.asarray(one), other)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
def test_indices_of_every_dtype(dtype: str) -> None:
    index = jnp.array([0, 1], dtype)
    levels = roialign.multiscale_roi_align([MAPS, MAPS], ROWS, 2, [1, 1 / 2], levels=index)
    assert_same_bits(np.asarray(levels[:1]), np.asarray(roialign.roi_align(MAPS, ROWS[:1], 2)))
    assert_same_bits(np.asarray(levels[1:]), np.asarray(roialign.roi_align(MAPS, ROWS[1:], 2, 1 / 2)))
    for boxes in (ROWS[:, 1:], WHOLE[:, 1:], WHOLE[:, 1:].astype(jnp.uint64), ROWS[:, 1:].astype(jnp.bfloat16)):
        found = roialign.roi_align(MAPS, boxes, 2, batch_indices=index)
        assert_same_bits(np.asarray(found), np.asarray(roialign.roi_align(MAPS, ROWS, 2)))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_large_indices_are_not_cut_off(dtype: str) -> None:
    index = jnp.asarray(BEYOND).astype(dtype)
    with pytest.raises(ValueError, match=r"batch_indices\[1\]: expected .* index < 2, got 4294967296"):
        roialign.roi_align(MAPS, WHOLE[:, 1:], 2, batch_indices=index)
    largest = jnp.array([0, np.iinfo(dtype).max], dtype)
    with pytest.raises(ValueError, match=r"levels\[1\]: expected 0 <= level < 2, got 9223372036854775807"):
        roialign.multiscale_roi_align([MAPS, MAPS], ROWS, 2, [1, 1 / 2], levels=largest)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: roialign.roi_align(MAPS, np.asarray(WHOLE) + BEYOND[:, None], 2), "rois"),
        (lambda: roialign.roi_align(MAPS, ROWS[:, 1:], 2, batch_indices=BEYOND), "batch_indices"),
        (lambda: roialign.multiscale_roi_align([MAPS, MAPS], ROWS, 2, [1, 1 / 2], levels=BEYOND), "levels"),
    ],
)
def test_large_integers_of_numpy_are_not_cut_off(call: Any, name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name}: expected int32, unless jax_enable_x64 is set, got 42949"):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda: roialign.roi_align(MAPS, [ROWS[:, 1:], WHOLE[:, 1:]], 2),
        lambda: roialign.roi_align(MAPS, WHOLE[:, 1:], 2, batch_indices=jnp.array([0, 1], jnp.int8)),
        lambda: roialign.multiscale_roi_align([MAPS, MAPS], ROWS, 2, [1, 1 / 2], levels=jnp.array([0, 1], jnp.int8)),
        lambda: roialign.deform_roi_pool(MAPS, WHOLE, jnp.ones((2, 2, 2, 2)), 2),
        lambda: roialign.bilinear_interpolate(MAPS, jnp.array([1, 2]), 2.5),
        lambda: roialign.rotated_iou(ROWS, ROWS.astype(jnp.bfloat16)),
        lambda: roialign.fpn_levels([ROWS[:, 1:], WHOLE[:, 1:]], [1, 1 / 2]),
    ],
)
def test_dtypes_may_differ_for_those_who_forbid_jax_to_mix_them(call: Any) -> None:
    right = call()
    with jax.numpy_dtype_promotion("strict"):
        assert_same_bits(np.asarray(call()), np.asarray(right))
