"""The names of environment variables. Set them before importing :mod:`benchmarks.gpu.device`."""

#: 1 in a rehearsal, which runs everything at tiny sizes in Triton's interpreter. Set TRITON_INTERPRET too.
REHEARSE = "ROIALIGN_REHEARSE"
#: 1 in `benchmarks.gpu prepare`, which compiles kernels and launches none.
COMPILE_ONLY = "ROIALIGN_COMPILE_ONLY"
