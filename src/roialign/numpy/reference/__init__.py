"""NumPy arrays to the reference."""
