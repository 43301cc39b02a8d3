"""The device to measure: a CUDA device, or the CPU with Triton's interpreter in a rehearsal."""

from __future__ import annotations

import os
from dataclasses import replace

from ..workloads import WORKLOADS, Workload

#: Environment variable of a rehearsal. Set it, and TRITON_INTERPRET, before importing anything of the project.
VARIABLE = "ROIALIGN_REHEARSE"
IS_REHEARSAL = os.environ.get(VARIABLE) == "1"
DEVICE = "cpu" if IS_REHEARSAL else "cuda"
BACKEND = "triton" if IS_REHEARSAL else None


def workload_of(name: str) -> Workload:
    """Return a standard workload, or a version with small maps, few RoIs and few channels in a rehearsal."""
    workload = WORKLOADS[name]
    if not IS_REHEARSAL:
        return workload
    levels = tuple(
        replace(level, height=-(-level.height // 40), width=-(-level.width // 40), scale=level.scale / 40)
        for level in workload.levels[:2]
    )
    return replace(workload, levels=levels, channels=8, rois=2, images=min(workload.images, 2))
