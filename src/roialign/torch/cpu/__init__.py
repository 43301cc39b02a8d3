"""CPU tensors to the compiled core, and to the reference."""
