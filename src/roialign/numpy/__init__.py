"""NumPy arrays: their checks, their call, and the backends that compute with them."""

from . import backends, call, checks, levels, rois

__all__ = ["backends", "call", "checks", "levels", "rois"]
