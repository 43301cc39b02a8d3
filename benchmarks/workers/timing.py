"""Time a series of calls."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass

from .work import Work


@dataclass(frozen=True)
class Timing:
    """Mean seconds per call of a series. `cpu` is the time of all threads, or None if unknown."""

    wall: float
    cpu: float | None


def time_calls(work: Work, calls: int, *, warm: bool) -> Timing:
    """Return the mean over this many calls, after one untimed call if `warm`."""
    if work.select is not None:
        work.select()
    if warm:
        work.run()
    enabled = gc.isenabled()
    gc.disable()
    try:
        surrounded = work.produce is not None or work.consume is not None
        timing = _surrounded(work, calls) if surrounded else _series(work, calls)
    finally:
        if enabled:
            gc.enable()
    if work.own_seconds is not None:
        return Timing(work.own_seconds(calls), None)
    return timing


def _series(work: Work, calls: int) -> Timing:
    run = work.run
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(calls):
        run()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Timing(wall / calls, cpu / calls)


def _surrounded(work: Work, calls: int) -> Timing:
    """Time calls that run between a producer of the input and a consumer of the output. Only the call is timed."""
    wall_sum, cpu_sum = 0.0, 0.0
    for _ in range(calls):
        if work.produce is not None:
            work.produce()
        cpu, wall = time.process_time(), time.perf_counter()
        answer = work.run()
        wall_sum += time.perf_counter() - wall
        cpu_sum += time.process_time() - cpu
        if work.consume is not None:
            work.consume(answer)
    return Timing(wall_sum / calls, cpu_sum / calls)
