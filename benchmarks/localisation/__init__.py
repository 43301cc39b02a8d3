"""Does alignment pay? Detectors that differ in their pooler alone: ``python -m benchmarks.localisation``."""
