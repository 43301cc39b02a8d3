"""Intersection over union of rotated boxes, beside shapely: the time of both, and the largest difference.

Run it with ``python -m benchmarks.rotated_overlaps``. It takes less than a minute.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import shapely

import roialign

Array = np.ndarray[Any, np.dtype[Any]]

COUNT, ROUNDS = 2000, 3
#: The width of the square that holds the centres, so that 5 % of the pairs overlap.
EXTENT = 690.0


def boxes_of(seed: int) -> Array:
    rng = np.random.default_rng(seed)
    sides = np.exp(rng.uniform(np.log(20), np.log(200), (COUNT, 2)))
    return np.column_stack([rng.uniform(0, EXTENT, (COUNT, 2)), sides, rng.uniform(-np.pi, np.pi, COUNT)])


def polygons_of(boxes: Array) -> Any:
    cosine, sine = np.cos(boxes[:, 4]), np.sin(boxes[:, 4])
    across = np.column_stack([cosine, sine]) * boxes[:, 2:3] / 2
    down = np.column_stack([-sine, cosine]) * boxes[:, 3:4] / 2
    signs = ((1, 1), (1, -1), (-1, -1), (-1, 1))
    return shapely.polygons(np.stack([boxes[:, :2] + u * across + v * down for u, v in signs], axis=1))


def by_all_pairs(boxes: Array, others: Array) -> Array:
    first, second = polygons_of(boxes), polygons_of(others)
    shared = shapely.area(shapely.intersection(first[:, None], second))
    overlaps: Array = shared / (shapely.area(first)[:, None] + shapely.area(second) - shared)
    return overlaps


def by_tree(boxes: Array, others: Array) -> Array:
    first, second = polygons_of(boxes), polygons_of(others)
    rows, columns = shapely.STRtree(second).query(first, predicate="intersects")
    shared = shapely.area(shapely.intersection(first[rows], second[columns]))
    areas, other_areas = shapely.area(first), shapely.area(second)
    overlaps = np.zeros((len(boxes), len(others)))
    overlaps[rows, columns] = shared / (areas[rows] + other_areas[columns] - shared)
    return overlaps


def milliseconds_of(call: Callable[[], object], rounds: int = ROUNDS) -> float:
    """The median of the processor time, which other processes disturb less than the time that passes."""
    times = []
    for _ in range(rounds):
        begin = time.process_time()
        call()
        times.append(time.process_time() - begin)
    return median(times) * 1e3


def main() -> None:
    roialign.set_num_threads(1)
    boxes, others = boxes_of(0), boxes_of(1)
    overlaps = roialign.rotated_iou(boxes, others, clockwise=True)
    print(f"{COUNT} x {COUNT} boxes, {(overlaps > 0).mean():.1%} of the pairs overlap; one thread")
    print(
        f"largest difference from shapely {shapely.__version__}: {np.abs(by_tree(boxes, others) - overlaps).max():.0e}"
    )
    ours = milliseconds_of(lambda: roialign.rotated_iou(boxes, others, clockwise=True), 5 * ROUNDS)
    print(f"rotated_iou: {ours:.1f} ms")
    peers: dict[str, Callable[[], object]] = {
        "shapely with an STRtree": lambda: by_tree(boxes, others),
        "shapely for all pairs": lambda: by_all_pairs(boxes, others),
    }
    for name, call in peers.items():
        peer = milliseconds_of(call)
        print(f"{name}: {peer:.0f} ms, {peer / ours:.0f} times as long")
    weights, scores = np.ones(overlaps.shape), boxes[:, 0]
    gradient = milliseconds_of(lambda: roialign.rotated_iou_backward(weights, boxes, others))
    suppression = milliseconds_of(lambda: roialign.rotated_nms(boxes, scores, 0.3))
    print(f"gradient: {gradient:.0f} ms; suppression of {COUNT} boxes: {suppression:.1f} ms")


if __name__ == "__main__":
    main()
