"""Which device is measured: a CUDA device, or, in a rehearsal, the CPU, where Triton's interpreter runs the kernels."""

from __future__ import annotations

import os
from dataclasses import replace

from ..workloads import WORKLOADS, Workload

#: The environment variable of a rehearsal; set before anything of the project is imported, beside TRITON_INTERPRET.
VARIABLE = "ROIALIGN_REHEARSE"
IS_REHEARSAL = os.environ.get(VARIABLE) == "1"
DEVICE = "cpu" if IS_REHEARSAL else "cuda"
BACKEND = "triton" if IS_REHEARSAL else None


def workload_of(name: str) -> Workload:
    """One of the canonical workloads; in a rehearsal with small maps, few RoIs and few channels."""
    workload = WORKLOADS[name]
    if not IS_REHEARSAL:
        return workload
    levels = tuple(
        replace(level, height=-(-level.height // 40), width=-(-level.width // 40), scale=level.scale / 40)
        for level in workload.levels[:2]
    )
    return replace(workload, levels=levels, channels=8, rois=2, images=min(workload.images, 2))
