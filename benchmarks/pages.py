"""The pages of the documentation that the benchmarks write their tables to."""

from __future__ import annotations

from .process import ROOT

FOLDER = ROOT / "docs" / "performance"
CPU = FOLDER / "cpu.md"
OPERATORS = FOLDER / "operators.md"
GPU = FOLDER / "gpu.md"
GPU_PREDICTIONS = FOLDER / "gpu-predictions.md"
