"""The operators within the transforms of JAX: vmap, jit, scan, checkpoint, export, and keys of random sampling."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import roialign
from tests.jax.arrays import features, float64, pyramid, rois, values

__all__ = ["float64"]

pytestmark = pytest.mark.usefixtures("float64")

GRADIENTS = ("adjoint_features", "adjoint_boxes")
OPERATORS: dict[str, Callable[..., Any]] = {
    "mean": lambda f, r: roialign.roi_align(f, r, (2, 3), 1 / 4, 2),
    "channels last": lambda f, r: roialign.roi_align(f.transpose(0, 2, 3, 1), r, (2, 3), 1 / 4, 2, layout="NHWC"),
    "random": lambda f, r: roialign.roi_align(f, r, (2, 3), 1 / 4, 2, sampling="random", seed=3),
    "max": lambda f, r: roialign.roi_align(f, r, (2, 3), 1 / 4, 2, mode="max"),
    "position-sensitive": lambda f, r: roialign.ps_roi_align(jnp.concatenate([f, 2 * f], axis=1), r, (2, 3), 1 / 4, 2),
}


def gradient(operator: Callable[..., Any], argument: int) -> Callable[..., Any]:
    return jax.grad(lambda f, r: (operator(f, r) ** 3).sum(), argnums=argument)


def of_all(name: str) -> list[Callable[..., Any]]:
    """The operator, both gradients, and the gradient of one of them."""
    operator = OPERATORS[name]
    functions = [operator, gradient(operator, 0), gradient(operator, 1)]
    if name == "mean":
        functions.append(jax.grad(lambda f, r: (gradient(operator, 1)(f, r) ** 2).sum()))
    return functions


@pytest.mark.parametrize("name", OPERATORS)
def test_vmap(name: str) -> None:
    """Of the features, of the boxes, and of both, on any axis."""
    maps = jnp.stack([features(), 2 * features(), features() + 1], axis=2)
    rows = jnp.stack([rois(), rois() + jnp.array([0, 1, 2, 3, 4.0]), rois().at[:, 0].set(0)], axis=1)
    for axes in ((2, None), (None, 1), (2, 1)):
        given = (maps if axes[0] is not None else features(), rows if axes[1] is not None else rois())
        members = [
            [array if axis is None else jnp.take(array, index, axis) for array, axis in zip(given, axes, strict=True)]
            for index in range(3)
        ]
        for function in of_all(name):
            found = jax.jit(jax.vmap(function, axes))(*given)
            right = jnp.stack([function(*member) for member in members])
            np.testing.assert_allclose(found, right, rtol=1e-12, atol=1e-12)


def test_vmap_of_a_pyramid_whose_levels_are_given() -> None:
    levels = jnp.array([[0, 1, 0], [1, 1, 0]])

    def pool(maps: Any, of_boxes: Any) -> Any:
        return roialign.multiscale_roi_align(maps, rois(), (2, 3), [1 / 4, 1 / 8], levels=of_boxes)

    found = jax.vmap(pool, (None, 0))(pyramid(), levels)
    for member, own in zip(found, levels, strict=True):
        np.testing.assert_array_equal(member, pool(pyramid(), own))


def test_vmap_over_no_members_and_over_vmap() -> None:
    pool = OPERATORS["mean"]
    assert jax.vmap(pool, (0, None))(values(0, 2, 3, 7, 9), rois()).shape == (0, 3, 3, 2, 3)
    maps = values(2, 3, 2, 3, 7, 9)
    found = jax.vmap(jax.vmap(pool, (0, None)), (0, None))(maps, rois())
    for first, second in product(range(2), range(3)):
        np.testing.assert_allclose(found[first, second], pool(maps[first, second], rois()), rtol=1e-12)


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0)])
@pytest.mark.parametrize(("images", "channels", "boxes"), [(2, 3, 0), (2, 0, 3), (0, 3, 0), (0, 0, 0)])
def test_vmap_of_nothing(images: int, channels: int, boxes: int, axes: tuple[int | None, int | None]) -> None:
    given = values(4, images, channels, 7, 9), jnp.stack([rois()[:boxes]] * 4)
    arrays = [array if axis == 0 else array[0] for array, axis in zip(given, axes, strict=True)]
    for function, shape in zip(of_all("mean"), ((boxes, channels, 2, 3), given[0].shape[1:], (boxes, 5)), strict=False):
        found = jax.vmap(function, axes)(*arrays)
        assert found.shape == (4, *shape)
        assert not found.any()


@pytest.mark.parametrize("image", [2, -1, np.nextafter(np.float32(1), np.float32(0)), np.nan])
def test_an_image_that_a_member_does_not_have_is_an_error_in_every_member(image: float) -> None:
    rows = jnp.stack([rois(), rois(), rois(), rois().at[1, 0].set(image)]).astype(jnp.float32)
    maps = jnp.stack([features()] * 4)
    with pytest.raises((ValueError, jax.errors.JaxRuntimeError), match="expected an integer batch index"):
        jax.block_until_ready(jax.vmap(OPERATORS["mean"])(maps, rows))


def test_scan_and_checkpoint() -> None:
    """A loop over boxes, differentiated, with and without keeping what the forward pass computed."""

    def loss(maps: Any, rows: Any, step: Callable[..., Any]) -> Any:
        total, _ = jax.lax.scan(lambda carry, row: (carry + step(maps, row[None]).sum(), None), 0.0, rows)
        return total

    def cube(maps: Any, rows: Any) -> Any:
        return OPERATORS["mean"](maps, rows) ** 3

    right = gradient(OPERATORS["mean"], 0)(features(), rois())
    for step in (cube, jax.checkpoint(cube)):
        found = jax.jit(jax.grad(loss), static_argnums=2)(features(), rois(), step)
        np.testing.assert_allclose(found, right, rtol=1e-12, atol=1e-12)


def test_a_key_supplies_the_seed() -> None:
    def pool(key: Any) -> Any:
        return roialign.roi_align(features(), rois(), 2, 1 / 4, 2, sampling="random", seed=key)

    keys = jax.random.split(jax.random.key(5), 3)
    alone = [pool(key) for key in keys]
    assert not np.array_equal(alone[0], alone[1])
    for one, other in zip(jax.jit(jax.vmap(pool))(keys), alone, strict=True):
        np.testing.assert_array_equal(one, other)
    high, low = (int(part) for part in jax.random.bits(keys[0], (2,), jnp.uint32))
    np.testing.assert_array_equal(pool(high << 32 | low), alone[0])
    np.testing.assert_array_equal(pool(jax.random.key_data(keys[0])), alone[0])
    ones = jnp.ones_like(alone[0])
    for one, other in zip(*(backward(ones, seed) for seed in (keys[0], high << 32 | low)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_nothing_is_compiled_again_for_another_seed() -> None:
    def settings(seed: int) -> Any:
        def pool(maps: Any) -> Any:
            return roialign.roi_align(maps, rois(), 2, 1 / 4, 2, sampling="random", seed=seed)

        (call,) = [e for e in jax.make_jaxpr(pool)(features()).eqns if e.primitive.name.startswith("roialign")]
        return call.params

    assert settings(2**64 - 1) == settings(3)


def backward(gradient: Any, seed: Any) -> Any:
    return roialign.roi_align_backward(gradient, features(), rois(), 1 / 4, 2, sampling="random", seed=seed)


EXPORTED: dict[str, Callable[..., Any]] = {
    "mean": OPERATORS["mean"],
    "gradient": gradient(OPERATORS["mean"], 1),
    "max": gradient(OPERATORS["max"], 0),
    "crop": lambda f, r: roialign.crop_and_resize(f, r[:, 1:] / 40, r[:, 0].astype(int), 2, layout="NCHW"),
    "vmap": lambda f, r: jax.vmap(lambda row: OPERATORS["mean"](f, row[None]))(r),
}


@pytest.mark.parametrize("maps", ["2, 3, 7, 9", "n, c, h, w"])
@pytest.mark.parametrize("name", EXPORTED)
def test_an_exported_program_of_any_size(name: str, maps: str) -> None:
    """In a form that can be saved, for any number of boxes, and for maps of any size."""
    calls = [f"roialign_{f}_{g}" for f in ("separable", "pointwise") for g in ("forward", *GRADIENTS)]
    checks = [export.DisabledSafetyCheck.custom_call(call) for call in calls]
    scope = export.SymbolicScope()
    shapes = [export.symbolic_shape(shape, scope=scope) for shape in (maps, "k, 5")]
    program = export.export(jax.jit(EXPORTED[name]), disabled_checks=checks)(
        *[jax.ShapeDtypeStruct(shape, jnp.float64) for shape in shapes]
    )
    again = export.deserialize(program.serialize())
    for rows in (rois(), rois()[:1]):
        np.testing.assert_allclose(again.call(features(), rows), EXPORTED[name](features(), rows), rtol=1e-12)


SETTINGS: dict[str, Callable[..., Any]] = {
    "output_size": lambda value: roialign.roi_align(features(), rois(), value),
    "spatial_scale": lambda value: roialign.roi_align(features(), rois(), 2, value),
    "spatial_scales": lambda value: roialign.multiscale_roi_align(pyramid(), rois(), 2, jnp.stack([value, value / 2])),
    "aligned": lambda value: roialign.roi_align(features(), rois(), 2, aligned=value > 1),
    "extrapolation_value": lambda value: roialign.crop_and_resize(
        features(), rois()[:, 1:], jnp.zeros(3, int), 2, "bilinear", value
    ),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_may_not_be_traced(name: str) -> None:
    with pytest.raises(TypeError, match=name):
        jax.jit(SETTINGS[name])(2)
