"""Derivatives by JAX: of first and second order, in both modes, and those that do not exist."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import roialign
from tests.jax.arrays import features, float64, pyramid, rois, values

__all__ = ["float64"]

pytestmark = pytest.mark.usefixtures("float64")

SCALES = [1 / 4, 1 / 8]
LINEAR: dict[str, Callable[..., Any]] = {
    "grid": lambda f, r: roialign.roi_align(f, r, (2, 3), 1 / 4, 2),
    "adaptive": lambda f, r: roialign.roi_align(f, r, (2, 3), 1 / 4, aligned=False),
    "random": lambda f, r: roialign.roi_align(f, r, (2, 3), 1 / 4, 2, sampling="random", seed=11),
    "exact": lambda f, r: roialign.roi_align(f, r, (2, 3), 1 / 4, sampling="exact"),
    "prroi": lambda f, r: roialign.prroi_pool(f, r, (2, 3), 1 / 4),
    "channels last": lambda f, r: roialign.roi_align(f.transpose(0, 2, 3, 1), r, (2, 3), 1 / 4, 2, layout="NHWC"),
    "crop": lambda f, r: roialign.crop_and_resize(
        f, r[:, 1:] / 40, r[:, 0].astype(int), (2, 3), "bilinear", 0.5, layout="NCHW"
    ),
    "points": lambda f, r: roialign.bilinear_interpolate(f[0], r[:, 1] / 4, r[:, 2] / 4),
}
POINTWISE: dict[str, Callable[..., Any]] = {
    "max": lambda f, r: roialign.roi_align(f, r, (2, 3), 1 / 4, 2, mode="max"),
    "rotated": lambda f, r: roialign.roi_align_rotated(f, turned(r), (2, 3), 1 / 4, 2),
    "deformable": lambda f, r: roialign.deform_roi_pool(
        f,
        r,
        jnp.sin(jnp.arange(36.0)).reshape(3, 2, 2, 3) + r[:, 1, None, None, None] / 50,
        (2, 3),
        1 / 4,
        2,
        mask=jnp.cos(r[:, 2, None, None] / 40) * jnp.ones((3, 2, 3)),
    ),
}


def turned(rows: Any) -> Any:
    image, x1, y1, x2, y2 = rows.T
    return jnp.stack([image, (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, x1 / 7], axis=1)


def of_boxes(function: Callable[..., Any]) -> Callable[..., Any]:
    """The operator of features and boxes ``[K, 4]``: images are no coordinates. Differences come as NumPy arrays."""

    def pool(maps: Any, boxes: Any) -> Any:
        given = jax.tree.map(jnp.asarray, maps)
        return function(given, jnp.concatenate([rois()[:, :1], jnp.asarray(boxes)], axis=1))

    return pool


@pytest.mark.parametrize("name", LINEAR)
def test_second_order(name: str) -> None:
    """Both modes over both modes."""
    check_grads(of_boxes(LINEAR[name]), (features(), rois()[:, 1:]), order=2, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", POINTWISE)
def test_first_order(name: str) -> None:
    check_grads(of_boxes(POINTWISE[name]), (features(), rois()[:, 1:]), order=1, atol=1e-5, rtol=1e-5)


def test_pyramid() -> None:
    def pool(maps: Any, rows: Any) -> Any:
        return roialign.multiscale_roi_align(maps, rows, (2, 3), SCALES, canonical_size=20, canonical_level=3)

    found = jax.jit(pool)(pyramid(), rois())
    right = pool([np.asarray(level) for level in pyramid()], np.asarray(rois()))
    np.testing.assert_array_equal(found, right)
    check_grads(of_boxes(pool), (pyramid(), rois()[:, 1:]), order=2, atol=1e-5, rtol=1e-5)
    (first, second) = jax.grad(lambda maps: pool(maps, rois())[0].sum())(pyramid())
    assert bool(first.any()) != bool(second.any()), "a level without boxes gets zeros"


def test_the_twins_are_differentiable() -> None:
    def backward(gradient: Any, maps: Any, boxes: Any) -> Any:
        rows = jnp.concatenate([rois()[:, :1], jnp.asarray(boxes)], axis=1)
        return roialign.roi_align_backward(jnp.asarray(gradient), jnp.asarray(maps), rows, 1 / 4, sampling="exact")

    check_grads(backward, (values(3, 3, 2, 3, seed=5), features(), rois()[:, 1:]), order=1, atol=1e-5, rtol=1e-5)


def test_hessian_and_jacobians_agree() -> None:
    pool, boxes = of_boxes(LINEAR["exact"]), rois()[:, 1:]
    forward, backward = (transform(pool, argnums=1)(features(), boxes) for transform in (jax.jacfwd, jax.jacrev))
    np.testing.assert_allclose(forward, backward, rtol=1e-10, atol=1e-12)

    def loss(b: Any) -> Any:
        return (pool(features(), b) ** 2).sum()

    over = [outer(inner(loss))(boxes) for outer in (jax.jacfwd, jax.jacrev) for inner in (jax.jacfwd, jax.jacrev)]
    for hessian in over[1:]:
        np.testing.assert_allclose(hessian, over[0], rtol=1e-9, atol=1e-11)
    assert float(abs(over[0]).max()) > 0.01


@pytest.mark.parametrize(("name", "order"), [("exact", 2), ("max", 1)])
def test_a_higher_order_in_the_boxes_is_a_clear_error(name: str, order: int) -> None:
    def loss(b: Any) -> Any:
        return (of_boxes({**LINEAR, **POINTWISE}[name])(features(), b) ** 2).sum()

    function: Callable[..., Any] = loss
    for _ in range(order + 1):
        function = jax.jacrev(function)
    with pytest.raises(NotImplementedError, match=f"with respect to boxes are implemented up to order {order}"):
        function(rois()[:, 1:])


def test_only_what_is_needed_is_computed() -> None:
    """Without a gradient in the boxes, the maps of a mean are not even kept."""

    def gradient(maps: Any) -> Any:
        return jax.grad(lambda m: LINEAR["grid"](m, rois()).sum())(maps)

    text = str(jax.make_jaxpr(gradient)(features()))
    assert "separable_adjoint_features" in text
    assert "separable_adjoint_boxes" not in text
    _, pull = jax.vjp(lambda m: LINEAR["grid"](m, rois()), features())
    kept = [leaf for leaf in jax.tree.leaves(pull) if hasattr(leaf, "shape")]
    assert kept
    assert all(leaf.shape != features().shape for leaf in kept)
