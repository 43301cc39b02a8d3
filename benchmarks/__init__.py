"""Benchmarks against other packages: ``python -m benchmarks``. Results are checked before anything is timed."""
