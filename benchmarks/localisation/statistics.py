"""Paired differences between poolers, and their confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

Result = dict[str, Any]
#: Returns a figure of a result in percent, or NaN if the dataset has no such object.
Metric = Callable[[Result], float]

CONFIDENCE = 0.95
OVERLAPS = tuple(f"{overlap / 100:.2f}" for overlap in range(50, 100, 5))


@dataclass(frozen=True, slots=True)
class Difference:
    """The mean of paired differences, with Student's t interval."""

    mean: float
    low: float
    high: float
    pairs: int

    @property
    def is_sure(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        # Show a second digit if a value would be rounded to 0, because readers check whether the interval contains 0.
        digits = 2 if any(abs(value) < 0.05 for value in (self.mean, self.low, self.high)) else 1
        return f"{self.mean:+.{digits}f} [{self.low:+.{digits}f}, {self.high:+.{digits}f}]"


def difference_of(values: Sequence[float]) -> Difference:
    """Summarise paired differences. With one pair, the interval is infinite."""
    found = np.asarray([value for value in values if not math.isnan(value)], dtype=np.float64)
    if len(found) == 0:
        return Difference(math.nan, math.nan, math.nan, 0)
    mean = float(found.mean())
    if len(found) == 1:
        return Difference(mean, -math.inf, math.inf, 1)
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, len(found) - 1) * found.std(ddof=1) / math.sqrt(len(found)))
    return Difference(mean, mean - half, mean + half, len(found))


def metric(kind: str, name: str) -> Metric:
    """Return a metric, as in ``metric("box", "AP75")``. `name` is AP, AP and an overlap in percent, or AP_small,
    AP_medium, AP_large."""
    overlap = name.removeprefix("AP")

    def of_result(result: Result) -> float:
        figures = result[kind]
        value = figures["AP_by_iou"][f"0.{overlap}"] if overlap.isdigit() else figures[name]
        return math.nan if value is None else 100 * value

    return of_result


def chosen(results: Iterable[Result], **wanted: Any) -> list[Result]:
    """Return the results with these values, as in ``chosen(results, stride=32, pooler="exact")``."""
    return [result for result in results if all(result[name] == value for name, value in wanted.items())]


def paired(results: Sequence[Result], one: str, other: str, of: Metric, **wanted: Any) -> list[float]:
    """Return ``of(one) - of(other)`` of two poolers, for every dataset, stride and seed that has both."""
    others = {_cell(result): result for result in chosen(results, pooler=other, **wanted)}
    pairs = [(result, others.get(_cell(result))) for result in chosen(results, pooler=one, **wanted)]
    return [of(first) - of(second) for first, second in pairs if second is not None]


def paired_by_seed(results: Sequence[Result], one: str, other: str, of: Metric, **wanted: Any) -> list[float]:
    """Return the mean differences per seed, over datasets and strides. Only the seeds are random samples; the datasets
    are not."""
    seeds = sorted({result["seed"] for result in results})
    means = [np.mean(values) for seed in seeds if (values := paired(results, one, other, of, seed=seed, **wanted))]
    return [float(mean) for mean in means]


def mean_of(results: Sequence[Result], of: Metric) -> float:
    """Return the mean over all results that have the figure."""
    values = [value for value in map(of, results) if not math.isnan(value)]
    return float(np.mean(values)) if values else math.nan


def _cell(result: Result) -> tuple[str, int, int]:
    return result["set"], result["stride"], result["seed"]
