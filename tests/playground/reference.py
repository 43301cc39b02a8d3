"""What the reference computes in a state of the page."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

import roialign
from roialign._spec import Rule
from roialign.reference.map_boxes import map_boxes
from roialign.reference.roi_pool import integer_bins
from roialign.reference.taps import taps
from tests.playground.states import State

Array = np.ndarray[Any, np.dtype[np.float64]]
WIDTH, HEIGHT = 512, 384

#: The rules of the operators that have taps.
RULES: dict[str, Rule] = {
    "align": "grid",
    "align-random": "random",
    "align-exact": "exact",
    "prroi": "prroi",
    "crop": "crop",
}
ALIGN: dict[str, dict[str, Any]] = {
    "align": {},
    "align-random": {"sampling": "random", "seed": 0},
    "align-exact": {"sampling": "exact"},
    "align-max": {"mode": "max"},
    "align-max-exact": {"mode": "max", "sampling": "exact"},
}


@dataclass(frozen=True)
class Answer:
    pooled: Array
    grad_features: Array
    grad_box: Array


def weights_of(state: State, channels: int) -> Array:
    """The gradient of the result: that of the mean over the channels of one bin, or of all bins."""
    weights = np.zeros((1, channels, *state.bins))
    place = (slice(None), slice(None), *(state.bin or (slice(None), slice(None))))
    weights[place] = 1.0
    return weights / weights.sum()


def answer_of(state: State, features: Array) -> Answer:
    """The result and its gradients. The gradient in the box is per image pixel."""
    weights = weights_of(state, features.shape[1])
    rois, scale = np.array([[0.0, *state.box]]), 1 / state.stride
    reference: dict[str, Any] = {"backend": "reference"}
    if state.operator in ALIGN:
        options = {**ALIGN[state.operator], "aligned": state.aligned, **reference}
        pooled = roialign.roi_align(features, rois, state.bins, scale, state.points, **options)
        grads = roialign.roi_align_backward(weights, features, rois, scale, state.points, **options)
        return Answer(pooled, grads[0], grads[1][0, 1:])
    if state.operator == "pool":
        pooled = roialign.roi_pool(features, rois, state.bins, scale, **reference)
        grad = roialign.roi_pool_backward(weights, features, rois, scale, **reference)
        return Answer(pooled, grad, np.zeros(4))
    if state.operator == "prroi":
        pooled = roialign.prroi_pool(features, rois, state.bins, scale, **reference)
        grads = roialign.prroi_pool_backward(weights, features, rois, scale, **reference)
        return Answer(pooled, grads[0], grads[1][0, 1:])
    x1, y1, x2, y2 = state.box
    boxes, index = np.array([[y1 / HEIGHT, x1 / WIDTH, y2 / HEIGHT, x2 / WIDTH]]), np.zeros(1, dtype=np.int64)
    options = {"layout": "NCHW", **reference}
    pooled = roialign.crop_and_resize(features, boxes, index, state.bins, **options)
    grads = roialign.crop_and_resize_backward(weights, features, boxes, index, **options)
    return Answer(pooled, grads[0], grads[1][0][[1, 0, 3, 2]] / np.array([WIDTH, HEIGHT, WIDTH, HEIGHT]))


def mapped_axis(state: State, axis: int, size: int) -> tuple[float, float]:
    """Start and length of the box on the map along y (0) or x (1), for the operators that do not round."""
    lower, upper = state.box[1 - axis], state.box[3 - axis]
    if state.operator == "crop":
        side = (HEIGHT, WIDTH)[axis]
        return map_boxes(lower / side, upper / side, size - 1)
    if state.operator == "prroi":
        return map_boxes(lower, upper, 1 / state.stride, 0.0, 0.0)
    shift, least = (0.5, -math.inf) if state.aligned else (0.0, 1.0)
    return map_boxes(lower, upper, 1 / state.stride, shift, least)


def taps_of(state: State, axis: int, size: int) -> Array:
    start, length = mapped_axis(state, axis, size)
    rule = RULES[state.operator]
    return taps(size, start, length, state.bins[axis], state.points, rule, seed=0, axis=axis)


def bins_of(state: State, axis: int, size: int) -> Array:
    """The ends of every bin on the map, ``[bins, 2]``, where a pixel extends half a pixel around its centre."""
    count = state.bins[axis]
    if state.operator == "pool":
        spans = integer_bins(state.box[1 - axis], state.box[3 - axis], 1 / state.stride, count, size)
        return np.array(spans) - 0.5
    start, length = mapped_axis(state, axis, size)
    if state.operator == "crop":  # points
        places = [start + length / 2] if count == 1 else [start + i * length / (count - 1) for i in range(count)]
        return np.repeat(np.array(places)[:, None], 2, axis=1)
    edges = start + np.arange(count + 1) * length / count
    return np.stack([edges[:-1], edges[1:]], axis=1)
