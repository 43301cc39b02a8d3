"""The backends for JAX arrays: the compiled core."""

from __future__ import annotations

NAMES = ("cpu",)


def check_backend(name: str | None) -> None:
    """Check that the named backend, or any if None, computes with JAX arrays."""
    if name is not None and name not in NAMES:
        raise ValueError(f"backend: expected 'cpu' or None for JAX arrays, got {name!r}")
