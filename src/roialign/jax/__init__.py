"""The operators for JAX arrays on the CPU. The functions of :mod:`roialign` accept them directly.

They can be used within `jax.jit`, `jax.grad`, `jax.jvp`, `jax.vmap` and their combinations. The compiled core runs as
foreign functions of XLA, so nothing is copied and no Python runs within a compiled function.
"""

from . import _installed, backends, call, checks, levels, overlaps, plain, rois  # noqa: F401

__all__ = ["backends", "call", "checks", "levels", "overlaps", "plain", "rois"]
