"""Step 5: reduce the points of a bin."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from .._typing import Array, FloatArray
from .bilinear import Neighbours


def aggregate_mean(weighted: Iterable[tuple[float, Neighbours]], size: int) -> FloatArray:
    """The mean over the points of a bin, as one row of weights.

    `weighted` has the share of each point in the bin, with the pixels it depends on. A bin without points is zero. A
    point outside the map depends on no pixel but keeps its share, as if the map were zero there.
    """
    row = np.zeros(size)
    for share, neighbours in weighted:
        for index, value in neighbours:
            row[index] += share * value
    return row


def aggregate_max(samples: Sequence[Array], has_zero: bool) -> tuple[FloatArray, Array]:
    """The maximum over the samples ``[C]`` of a bin and, for every channel, the index of the maximal sample.

    If samples are equal, the first one counts. NaN is larger than every number. `has_zero` adds a point outside the
    map: a zero with index -1, which counts if it is larger than every sample. A bin without points is zero.
    """
    best: FloatArray = np.array(samples[0]) if samples else np.zeros(0)
    winner = np.zeros(best.shape, dtype=np.int64)
    for index, sample in enumerate(samples):
        larger = ~(sample <= best) & ~np.isnan(best)
        best[larger], winner[larger] = sample[larger], index
    if has_zero:
        below = best < 0
        best[below], winner[below] = 0.0, -1
    return best, winner
