"""The benchmark: workloads, peers, conformance before any timing, interleaved medians. Run ``python -m benchmarks``."""
