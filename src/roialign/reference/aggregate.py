"""Step 5: reduce the points of a bin."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from .._typing import FloatArray
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
