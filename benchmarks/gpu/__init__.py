"""Check the kernels on a CUDA device and measure their speed."""
