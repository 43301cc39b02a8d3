"""The operators on CUDA tensors: Triton kernels, compiled at their first use and kept in Triton's cache on disk.

The five steps are here under the names that they have in :mod:`roialign.reference`, as ``@triton.jit`` helpers. A
*table* kernel walks through steps 1 to 4 and merges the points of every bin into weights per pixel, in float64 and
without contraction to fused multiply-add; the kernels of a family then read maps and gradients, weigh them and sum in
float32 (float64 for float64).

No kernel adds to memory that another one adds to: whoever owns a place of the answer computes all of it, in an order
that does not change. So the same input gives the same bits.
"""
