"""Measures both ways on all scenes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from roialign.features import BackboneOptions, make_backbone

from .encoders import NAMES, WAYS, Encoded, Way, encode
from .scenes import Boxed, draw_scenes, write_pieces
from .scores import Interval, bootstrap, likenesses, normalised, rank_correlations, ratio, retrieval

Array = np.ndarray[Any, np.dtype[Any]]

#: Objects whose longer side is shorter than this are small.
SMALL_SIDE = 64.0


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    scenes: tuple[tuple[int, int], ...] = ((5, 120), (20, 50), (100, 40))
    """Boxes of an image, and so many images."""
    ways: tuple[Way, ...] = WAYS
    seed: int = 0


def measure(plan: Plan, advance: Callable[[], object] = lambda: None) -> dict[str, Any]:
    """All figures, as JSON has them."""
    backbone = make_backbone("efficientnet-lite0", BackboneOptions(threads=1))
    cells = []
    with tempfile.TemporaryDirectory() as folder:
        pieces = write_pieces(Path(folder))
        for boxes, count in plan.scenes:
            scenes, encoded = [], []
            for scene in draw_scenes(Path(folder), count, boxes, plan.seed):
                scenes.append(scene)
                encoded.append([encode(backbone, scene, way) for way in plan.ways])  # beside each other in time
                advance()
            cells += _cells(boxes, scenes, encoded, plan.ways)
    return {"pieces": pieces, "scenes": list(map(list, plan.scenes)), "cells": cells}


def _cells(
    boxes: int, scenes: list[Boxed], encoded: list[list[Encoded]], ways: tuple[Way, ...]
) -> list[dict[str, Any]]:
    """A row for each way and level; agreement is with the first way."""
    labels = np.concatenate([scene.labels for scene in scenes])
    corners = np.concatenate([scene.boxes for scene in scenes])
    numbers = np.repeat(np.arange(len(scenes)), [len(scene.labels) for scene in scenes])
    sides = np.maximum(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
    seconds = [[one[way].seconds for one in encoded] for way in range(len(ways))]
    rows = []
    for level, name in enumerate(NAMES):
        features = [np.concatenate([one[way].features[level] for one in encoded]) for way in range(len(ways))]
        first = likenesses(features[0], numbers)
        for number, way in enumerate(ways):
            cosines = likenesses(features[number], numbers)
            found, nearest, recall = retrieval(cosines, labels)
            small = sides[found] < SMALL_SIDE
            agreement = (normalised(features[0]) * normalised(features[number])).sum(axis=1)
            rows.append(
                {
                    "boxes": boxes,
                    "way": str(way),
                    "level": name,
                    "queries": len(found),
                    "milliseconds": bootstrap([1000 * value for value in seconds[number]]),
                    "factor": ratio(seconds[0], seconds[number]),
                    "nearest": _by_scene(nearest, numbers[found]),
                    "recall": _by_scene(recall, numbers[found]),
                    "recall_small": _by_scene(recall[small], numbers[found][small]),
                    "recall_large": _by_scene(recall[~small], numbers[found][~small]),
                    "cosine": _by_scene(agreement[found], numbers[found]),
                    "rank_correlation": _by_scene(rank_correlations(first, cosines, found), numbers[found]),
                }
            )
    return rows


def _by_scene(values: Array, scenes: Array) -> Interval:
    """The mean over all boxes, with the interval of drawing scenes, not boxes, anew; NaN where there are none."""
    if not len(values):
        return Interval(np.nan, np.nan, np.nan)
    unique, places = np.unique(scenes, return_inverse=True)
    counts = np.bincount(places, minlength=len(unique)).astype(np.float64)
    means = np.bincount(places, values, minlength=len(unique)) / counts
    return bootstrap(means.tolist(), counts.tolist())
