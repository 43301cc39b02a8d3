"""One process per implementation: a line protocol on standard input and output. Needs NumPy and the implementation."""
