"""CUDA tensors to the Triton kernels: what is launched, with which blocks."""
