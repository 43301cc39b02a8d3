"""The device to measure: a CUDA device, or the CPU in a rehearsal or where kernels are only compiled."""

from __future__ import annotations

import os
from dataclasses import replace

from ..workloads import WORKLOADS, Workload
from .variables import COMPILE_ONLY, REHEARSE

IS_REHEARSAL = os.environ.get(REHEARSE) == "1"
IS_ON_CPU = IS_REHEARSAL or os.environ.get(COMPILE_ONLY) == "1"
DEVICE = "cpu" if IS_ON_CPU else "cuda"
BACKEND = "triton" if IS_ON_CPU else None


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
