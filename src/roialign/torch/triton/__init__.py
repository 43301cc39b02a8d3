"""The operators on CUDA tensors: launching of the Triton kernels and their block sizes."""
