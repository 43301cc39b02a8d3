"""The pages of the documentation that the benchmarks write their tables to."""

from __future__ import annotations

from pathlib import Path

from .process import ROOT

FOLDER = ROOT / "docs" / "performance"
CPU = FOLDER / "cpu.md"
CPU_INTEL = FOLDER / "cpu-intel.md"
OPERATORS = FOLDER / "operators.md"
GPU = FOLDER / "gpu.md"
GPU_PREDICTIONS = FOLDER / "gpu-predictions.md"


def cpu_page(model: str) -> Path:
    """Return the page for results of this CPU. Intel has its own, because its caches favour other layouts."""
    return CPU_INTEL if "intel" in model.lower() else CPU
