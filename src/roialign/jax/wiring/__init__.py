"""The differentiable functions of the families as primitives of JAX."""
