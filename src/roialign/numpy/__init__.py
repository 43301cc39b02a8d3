"""The operators for NumPy arrays: validation, calls and backends."""

from . import backends, call, checks, levels, overlaps, plain, rois

__all__ = ["backends", "call", "checks", "levels", "overlaps", "plain", "rois"]
