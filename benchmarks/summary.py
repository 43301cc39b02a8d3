"""Statistics of repeated measurements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Summary:
    """Median and quartiles of the milliseconds per call, over the rounds in which it was measured."""

    median: float
    lower_quartile: float
    upper_quartile: float
    rounds: int
    calls: int
    cpu_over_wall: float | None


def summarise(walls: Sequence[float], cpus: Sequence[float | None], calls: int) -> Summary:
    """Summarise the seconds per call in each round, as CPU time of all threads and as wall time. A round has `calls`
    calls."""
    if not walls:
        raise ValueError("walls: expected at least one measurement, got none")
    lower, median, upper = (float(value) * 1e3 for value in np.percentile(walls, [25, 50, 75]))
    shares = [cpu / wall for cpu, wall in zip(cpus, walls, strict=True) if cpu is not None and wall > 0]
    return Summary(median, lower, upper, len(walls), calls, float(np.median(shares)) if shares else None)


def calls_per_round(seconds: float, target: float = 0.02, most: int = 1000) -> int:
    """Return how many calls of this duration to time together, so that the clock's resolution and overhead do not
    matter."""
    return most if seconds <= 0 else int(min(most, max(1, -(-target // seconds))))
