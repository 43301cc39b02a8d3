"""roialign with JAX arrays, compiled by jax.jit: one call for all levels, gradients by JAX's differentiation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import roialign

from .work import Array, Inputs, Work, nchw

Pool = Callable[..., Any]


def versions() -> dict[str, str]:
    return {"roialign": str(roialign.build_info()["version"]), "jax": jax.__version__}


def prepare(inputs: Inputs) -> Work:
    more: dict[str, Any] = {
        "sampling_ratio": inputs.sampling_ratio,
        "sampling": "exact" if inputs.sampling == "exact" else "grid",
        "layout": inputs.layout,
    }
    size, scales = inputs.output_size, inputs.scales

    def pool(maps: list[Any], rois: Any) -> Any:
        if len(scales) == 1:
            return roialign.roi_align(maps[0], rois, size, scales[0], **more)
        return roialign.multiscale_roi_align(maps, rois, size, scales, **more)

    work = prepare_function(inputs, pool)
    work.select = lambda: roialign.set_num_threads(inputs.threads)
    return work


def prepare_function(inputs: Inputs, pool: Pool) -> Work:
    """Prepare a case for a function of maps, in the layout of the case, and RoIs."""
    maps = [jnp.asarray(level) for level in inputs.maps(inputs.layout, inputs.dtype)]
    rois = jnp.asarray(inputs.rois)
    if inputs.direction == "forward":
        function, arguments = jax.jit(pool), (maps, rois)
    else:
        gradient = jnp.asarray(inputs.grad_output(inputs.layout, inputs.dtype))
        argument = 0 if inputs.direction == "backward-features" else 1

        def pull(maps: list[Any], rois: Any, gradient: Any) -> Any:
            moving = (maps, rois)[argument]
            still = (lambda value: pool(value, rois)) if argument == 0 else (lambda value: pool(maps, value))
            return jax.vjp(still, moving)[1](gradient)[0]

        function, arguments = jax.jit(pull), (maps, rois, gradient)

    def run() -> Any:
        return jax.block_until_ready(function(*arguments))

    def answer() -> list[Array]:
        found = run()
        if inputs.direction == "backward-boxes":
            return [np.asarray(found)[:, 1:]]
        return [nchw(np.asarray(level), inputs.layout) for level in (found if isinstance(found, list) else [found])]

    return Work(run, answer)
