"""What is compared: retrieval, agreement and time, by scene; and intervals by drawing scenes anew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .scenes import NOTHING

Array = np.ndarray[Any, np.dtype[Any]]

DRAWS = 2000


class Interval(NamedTuple):
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float


def bootstrap(values: Sequence[float], weights: Sequence[float] | None = None, *, seed: int = 0) -> Interval:
    """The mean of values, weighted, and the interval of it if scenes are drawn with replacement."""
    own = np.asarray(values, dtype=np.float64)
    counts = np.ones_like(own) if weights is None else np.asarray(weights, dtype=np.float64)
    drawn = np.random.default_rng(seed).integers(0, len(own), (DRAWS, len(own)))
    means = (own * counts)[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float((own * counts).sum() / counts.sum()), float(low), float(high))


def ratio(above: Sequence[float], below: Sequence[float], *, seed: int = 0) -> Interval:
    """The ratio of two sums over the same scenes."""
    one, other = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    drawn = np.random.default_rng(seed).integers(0, len(one), (DRAWS, len(one)))
    low, high = np.percentile(one[drawn].sum(axis=1) / other[drawn].sum(axis=1), [2.5, 97.5])
    return Interval(float(one.sum() / other.sum()), float(low), float(high))


def normalised(features: Array) -> Array:
    """Rows of length 1, float64."""
    wide = features.astype(np.float64)
    units: Array = wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12)
    return units


def likenesses(features: Array, scenes: Array) -> Array:
    """Cosines ``[K, K]`` of all boxes; minus infinity between boxes of one scene, which are not looked at."""
    units = normalised(features)
    cosines: Array = units @ units.T
    cosines[scenes[:, None] == scenes[None, :]] = -np.inf
    return cosines


def retrieval(cosines: Array, labels: Array) -> tuple[Array, Array, Array]:
    """For every box of an object that another scene has too: its row, and how well the others are found.

    Returns
    -------
    rows : int64 ``[Q]``
    first : float64 ``[Q]``
        1 where the nearest box is of the same object.
    recall : float64 ``[Q]``
        Of the R boxes of the same object, the share among the nearest R.
    """
    rows, first, recall = [], [], []
    for row, label in enumerate(labels):
        others = np.isfinite(cosines[row])
        relevant = others & (labels == label)
        if label == NOTHING or not relevant.any():
            continue
        count = int(relevant.sum())
        order = np.argsort(-cosines[row], kind="stable")[:count]
        rows.append(row)
        first.append(float(relevant[order[0]]))
        recall.append(float(relevant[order].mean()))
    return np.array(rows, dtype=np.int64), np.array(first), np.array(recall)


def rank_correlations(one: Array, other: Array, rows: Array) -> Array:
    """Spearman's, for some boxes: of their likenesses to all boxes of other scenes, in two ways."""
    found = []
    for row in rows:
        there = np.isfinite(one[row])
        ranks = [np.argsort(np.argsort(cosines[row][there])).astype(np.float64) for cosines in (one, other)]
        found.append(float(np.corrcoef(*ranks)[0, 1]))
    return np.array(found)
