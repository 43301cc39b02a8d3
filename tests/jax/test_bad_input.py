"""What a user can get wrong with arrays of JAX: an error at once, or when a compiled function runs."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import roialign

MAPS = jnp.ones((2, 3, 8, 8))
#: An error in a compiled function, by the version of JAX.
WHEN_RUN = (ValueError, jax.errors.JaxRuntimeError)
ROWS = jnp.array([[0, 1.0, 1, 5, 5], [1, 2, 2, 6, 6]])


def pool(rows: Any = ROWS, maps: Any = MAPS, **options: Any) -> Any:
    return roialign.roi_align(maps, rows, 2, **options)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: pool(ROWS[:, 1:]), ValueError, r"rois: expected shape \[K, 5\]"),
        (lambda: pool(ROWS.at[1, 0].set(2)), ValueError, r"rois\[1\]: expected an integer batch index"),
        (lambda: pool(ROWS.at[1, 3].set(jnp.nan)), ValueError, r"rois\[1\]: expected finite coordinates"),
        (lambda: pool([ROWS[:1, 1:], ROWS[1:, 1:] / 0]), ValueError, r"rois\[1\]\[0\]: expected finite"),
        (lambda: pool([ROWS[:, 1:]]), ValueError, r"one array of boxes per image \(2\), got 1"),
        (lambda: pool(ROWS.astype(bool)), TypeError, "rois: expected a real dtype"),
        (lambda: pool(ROWS.tolist()), TypeError, r"rois\[0\]: expected a jax.Array, like features, got builtins.list"),
        (lambda: pool(None), TypeError, "rois: expected a jax.Array, like features, got builtins.NoneType"),
        (lambda: pool(maps=MAPS[0]), ValueError, r"features: expected 4 dimensions \[N, C, H, W\]"),
        (lambda: pool(maps=MAPS.astype(int)), TypeError, "features: expected dtype float64, float32"),
        (lambda: pool(maps=MAPS[:, :, :0]), ValueError, "features: expected a map of at least 1 x 1 pixels"),
        (lambda: pool(out=jnp.ones((2, 3, 2, 2))), ValueError, "out: expected None for JAX arrays"),
        (lambda: pool(backend="triton"), ValueError, "backend: expected 'cpu' or None for JAX arrays, got 'triton'"),
        (lambda: pool(sampling="random"), ValueError, "seed: expected an int or a key of jax.random"),
        (
            lambda: jax.jit(lambda maps: pool(maps=maps, sampling="random", seed=np.random.default_rng(0)))(MAPS),
            TypeError,
            "seed: expected an int or a key of jax.random within a function that JAX traces, got a numpy Generator",
        ),
        (lambda: pool(sampling="random", seed=jnp.ones(2)), TypeError, "seed: expected an int or a key of jax.random"),
        (lambda: pool(sampling="random", seed=jnp.uint32(3)), TypeError, "seed: expected an int or one key"),
        (lambda: pool(sampling="random", seed=jax.random.split(jax.random.key(0))), ValueError, "seed: expected"),
        (lambda: pool(np.asarray(ROWS), np.asarray(MAPS), batch_indices=jnp.array([0, 1])), ValueError, "rois"),
        (
            lambda: roialign.roi_align(np.asarray(MAPS), ROWS, 2),
            TypeError,
            "rois: expected a numpy.ndarray, like the other arguments, got jax",
        ),
        (
            lambda: roialign.multiscale_roi_align([MAPS, MAPS[:1]], ROWS, 2, [1, 1 / 2]),
            ValueError,
            r"features\[1\]: expected the images and channels of features\[0\], 2 and 3, got 1 and 3",
        ),
        (
            lambda: roialign.multiscale_roi_align([MAPS, MAPS], ROWS, 2, [1, 1 / 2], levels=jnp.array([0, 2])),
            ValueError,
            r"levels\[1\]: expected 0 <= level < 2, got 2",
        ),
        (lambda: roialign.roi_align_backward(MAPS[:1], MAPS, ROWS), ValueError, "grad_output: expected shape"),
        (lambda: roialign.ps_roi_align(MAPS, ROWS, 2), ValueError, "features: expected a multiple of PH"),
        (
            lambda: roialign.deform_roi_pool(MAPS, ROWS, jnp.full((2, 2, 2, 2), jnp.nan), 2),
            ValueError,
            r"offset\[0\]: expected finite numbers",
        ),
        (lambda: roialign.fpn_levels(ROWS.at[0, 1].set(jnp.nan), [1, 0.5]), ValueError, r"rois\[0\]: expected finite"),
    ],
)  # fmt: skip
def test_errors(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (ROWS.at[1, 0].set(2), "row 1 of rois: expected an integer batch index 0 <= index < 2, got 2"),
        (ROWS.at[0, 0].set(-1), "row 0 of rois: expected an integer batch index 0 <= index < 2, got -1"),
        (ROWS.at[0, 0].set(0.5), "row 0 of rois: expected an integer batch index 0 <= index < 2, got 0.5"),
        (ROWS.at[1, 3].set(jnp.nan), r"row 1 of rois: expected finite coordinates, got \(2, 2, nan, 6\)"),
        (ROWS.at[1, 1].set(-jnp.inf), r"row 1 of rois: expected finite coordinates, got \(-inf, 2, 6, 6\)"),
    ],
)
def test_values_in_a_compiled_function(rows: Any, message: str) -> None:
    compiled = jax.jit(pool)
    compiled(ROWS)
    of_mean, of_maximum = (jax.jit(jax.grad(lambda r, mode=mode: pool(r, mode=mode).sum())) for mode in ("avg", "max"))
    for function in (compiled, of_mean, of_maximum):
        with pytest.raises(WHEN_RUN, match=message):
            jax.block_until_ready(function(rows))
    zeros = jax.jit(lambda r: pool(r, invalid="zero"))(rows)
    bad = int(np.flatnonzero(~np.isclose(rows, ROWS).all(axis=1))[0])
    assert not zeros[bad].any()
    assert zeros[1 - bad].all()


def test_levels_and_offsets_in_a_compiled_function() -> None:
    pyramid = jax.jit(lambda levels: roialign.multiscale_roi_align([MAPS, MAPS], ROWS, 2, [1, 1 / 2], levels=levels))
    with pytest.raises(WHEN_RUN, match=r"levels\[1\]: expected 0 <= level < 2, got -3"):
        jax.block_until_ready(pyramid(jnp.array([0, -3])))
    deformable = jax.jit(lambda offset: roialign.deform_roi_pool(MAPS, ROWS, offset, 2))
    with pytest.raises(WHEN_RUN, match=r"row 1 of offset: expected finite numbers up to 1e\+100, got nan"):
        jax.block_until_ready(deformable(jnp.zeros((2, 2, 2, 2)).at[1, 0, 0, 0].set(jnp.nan)))


def test_hostile_boxes_change_nothing_outside() -> None:
    """Boxes of any size, far outside, inverted and empty, in all operators at once: finite answers, as NumPy has."""
    rng = np.random.default_rng(0)
    corners = rng.choice([-1e30, -1e9, -3.0, 0.0, 2.5, 7.0, 8.0, 1e9, 1e30], (200, 4)).astype(np.float32)
    rows = np.column_stack([rng.integers(0, 2, 200), corners]).astype(np.float32)
    maps = rng.standard_normal((2, 3, 8, 8)).astype(np.float32)
    for options in ({}, {"mode": "max"}, {"sampling": "exact"}):
        right = roialign.roi_align(maps, rows, 2, **options)
        assert np.isfinite(right).all()
        np.testing.assert_array_equal(pool(jnp.asarray(rows), jnp.asarray(maps), **options), right)


# Valid, but probably a mistake


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pool(ROWS.at[0, 3].set(-4)), r"1 box of 2 with x2 < x1 or y2 < y1"),
        (lambda: pool(ROWS, spatial_scale=16), r"no box touches its map of 8 x 8 pixels.*give 1 / 16"),
        (lambda: pool(ROWS.at[:, 1:].add(100), mode="max"), "no box touches its map"),
        (
            lambda: roialign.roi_align_rotated(MAPS, jnp.array([[0, 4.0, 4, -2, 3, 0.1]]), 2),
            "1 box of 1 with a negative width or height",
        ),
        (
            lambda: roialign.multiscale_roi_align([MAPS, MAPS], ROWS.at[:, 1:].add(100), 2, [1, 0.5]),
            "no box touches its map",
        ),
    ],
)
def test_warnings_of_eager_calls(call: Any, message: str) -> None:
    with pytest.warns(roialign.RoIWarning, match=message):
        call()


@pytest.mark.filterwarnings("error::roialign.RoIWarning")
def test_no_warnings_of_usual_and_of_compiled_calls() -> None:
    pool()
    roialign.deform_roi_pool(MAPS, ROWS.at[:, 1:].add(100), jnp.zeros((2, 2, 2, 2)), 2)
    jax.jit(pool)(ROWS.at[0, 3].set(-4))
    jax.vmap(pool)(ROWS.at[0, 3].set(-4)[None])


def test_more_images_than_float32_can_count() -> None:
    maps = jnp.zeros((2**24 + 1, 1, 1, 1), jnp.float16)
    with pytest.raises(ValueError, match=r"features: expected at most 16777216 images, .* got 16777217"):
        roialign.roi_align(maps, ROWS[:, 1:], 1, batch_indices=jnp.array([0, 2**24]))
    found = roialign.roi_align(maps.at[-1].set(1), jnp.array([[2**24, 0, 0, 1, 1]]), 1)
    assert found.item() == 1, "integers count further"
    pool = jax.vmap(lambda of_maps, rows: roialign.roi_align(of_maps, rows, 1))
    members = jnp.zeros((2, 2**23 + 1, 1, 1, 1), jnp.float16).at[:, -1, 0, 0, 0].set(jnp.array([1, 2], jnp.float16))
    last = jnp.array([[[2**23, 0.0, 0, 1, 1]]] * 2)
    assert pool(members, last).reshape(-1).tolist() == [1, 2]
