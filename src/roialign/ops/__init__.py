"""The public operators, one file each: docstring, validation and specification."""
