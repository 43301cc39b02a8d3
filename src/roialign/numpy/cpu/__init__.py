"""Calls of the compiled core with NumPy arrays."""
