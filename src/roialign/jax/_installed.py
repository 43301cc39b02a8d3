"""Imported first: raises an error that says what to install if JAX is missing."""

from .._extras import require

require("jax", "jax")
