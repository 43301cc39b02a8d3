"""The operators on CPU tensors, by the compiled core or by the reference."""
