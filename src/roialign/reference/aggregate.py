"""Step 5: reduce the points of a bin."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from .._typing import Array, FloatArray
from .bilinear import Neighbours


def aggregate_mean(weighted: Iterable[tuple[float, Neighbours]], size: int) -> FloatArray:
    """The mean over a bin's points as one row of weights.

    `weighted` gives every point's share of the bin with the pixels it takes part in. A bin without points is zero;
    points off the map take part in no pixel but keep their share, as if the map were zero there.
    """
    row = np.zeros(size)
    for share, neighbours in weighted:
        for index, value in neighbours:
            row[index] += share * value
    return row


def aggregate_max(samples: Sequence[Array], has_zero: bool) -> tuple[FloatArray, Array]:
    """The maximum over a bin's samples ``[C]`` and, of every channel, the index of the sample that it is.

    Of equal samples the first counts, and a NaN above all. `has_zero` adds a point off the map: a zero that counts
    where it is larger than every sample, and whose index is -1. A bin without points is zero.
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
