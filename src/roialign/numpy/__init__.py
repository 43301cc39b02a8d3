"""NumPy arrays: their checks, their call, and the backends that compute with them."""
