"""One process per implementation, with a line protocol on standard input and output. Needs NumPy and the
implementation."""
