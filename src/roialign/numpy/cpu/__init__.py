"""NumPy arrays to the compiled core."""
