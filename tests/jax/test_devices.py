"""Several devices: what varies over them is known to JAX, so that gradients are summed and mistakes are seen."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import roialign
from tests.tables.paths import ROOT

pytestmark = pytest.mark.skipif(not hasattr(jax, "shard_map"), reason="JAX does not keep track of what varies")

COUNT = 2
OPERATORS: dict[str, Callable[..., Any]] = {
    "mean": lambda f, r: roialign.roi_align(f, r, 2),
    "max": lambda f, r: roialign.roi_align(f, r, 2, mode="max"),
    "pyramid": lambda f, r: roialign.multiscale_roi_align([f, f], r, 2, [1, 1 / 2]),
    "rotated_iou": lambda f, r: roialign.rotated_iou(f[0, 0, :, :5], r),
}


def inputs() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    rows = np.column_stack([np.zeros(4), rng.uniform(0, 3, (4, 2)), rng.uniform(3, 8, (4, 2))])
    return jnp.asarray(rng.uniform(1, 2, (2, 4, 8, 9)), jnp.float32), jnp.asarray(rows, jnp.float32)


def mesh() -> Mesh:
    return Mesh(np.array(jax.devices()[:COUNT]), ("boxes",))


def gradients(operator: Callable[..., Any], where: Any) -> Callable[..., Any]:
    """Those of a sum over the boxes of all devices."""

    def loss(maps: Any, rows: Any) -> Any:
        own = (operator(maps, rows) ** 2).sum()
        return own if where is None else jax.lax.psum(own, "boxes")

    gradient = jax.grad(loss, argnums=(0, 1))
    if where is None:
        return gradient
    return jax.jit(jax.shard_map(gradient, mesh=where, in_specs=(P(), P("boxes")), out_specs=(P(), P("boxes"))))


def check_all() -> None:
    assert len(jax.devices()) == COUNT
    for operator in OPERATORS.values():
        for one, other in zip(
            gradients(operator, mesh())(*inputs()), gradients(operator, None)(*inputs()), strict=True
        ):
            assert np.asarray(other).any()
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    split = (NamedSharding(mesh(), P(None, "boxes")), NamedSharding(mesh(), P("boxes")))
    found = jax.jit(OPERATORS["mean"])(*map(jax.device_put, inputs(), split))
    np.testing.assert_allclose(found, OPERATORS["mean"](*inputs()), rtol=1e-6)


def test_gradients_on_two_devices() -> None:
    flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={COUNT}", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", "from tests.jax.test_devices import check_all; check_all()"],
        env={**os.environ, **flags},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("operator", [*OPERATORS.values(), lambda _, r: roialign.fpn_levels(r, [1, 1 / 2])])
def test_a_result_that_varies_is_not_taken_for_one_that_does_not(operator: Callable[..., Any]) -> None:
    wrong = jax.shard_map(operator, mesh=mesh(), in_specs=(P(), P("boxes")), out_specs=P())
    with pytest.raises(ValueError, match="out_specs"):
        jax.jit(wrong)(*inputs())
