"""One file per public operator: its docstring, its validation, its description."""
