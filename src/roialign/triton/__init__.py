"""The operators on CUDA tensors: Triton kernels, compiled on first use and stored in Triton's cache on disk.

The five steps have the same names as in :mod:`roialign.reference`. They are ``@triton.jit`` helpers. A *table* kernel
computes steps 1 to 4 and merges the points of every bin into weights per pixel, in float64 and without contraction to
fused multiply-add. The kernels of a family then read maps and gradients, apply the weights, and sum in float32 (float64
for float64).

No two programs add to the same memory. Each element of the result is computed by one program, in a fixed order, so the
same input gives the same bits.
"""
