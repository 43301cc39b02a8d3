"""Compare detectors that differ only in their pooler: ``python -m benchmarks.localisation``."""
