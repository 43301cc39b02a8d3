"""The separable family: for every RoI and channel, out = Wy . F . Wx^T.

Three functions are sufficient for forward, backward, double backward and forward mode. Let f(X, boxes) be the operator,
and D_v its derivative along box tangents v:

* :func:`forward`: D_v1 .. D_vn f(X), n = 0, 1, 2;
* :func:`adjoint_features`: the transpose of the above in X;
* :func:`adjoint_boxes`: the gradient of <G, D_v1 .. D_vn f(X)> in the boxes, n = 0, 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np

from .._spec import SeparableSpec
from .._typing import Array, FloatArray
from .map_boxes import map_boxes, map_boxes_tangent
from .taps import taps

Axes = tuple[Array, ...]


def forward(
    spec: SeparableSpec,
    features: Sequence[Array],
    scales: Sequence[float],
    rois: Array,
    levels: Array,
    output_size: tuple[int, ...],
    tangents: Sequence[Array] = (),
) -> Array:
    """The operator, or its derivative along box `tangents`, in float64.

    `features` holds one ``[N, C, H, W]`` map per level, `rois` is ``[K, 5]`` with rows (image, x1, y1, x2, y2),
    `levels` has the index of each RoI's map, and each tangent is ``[K, 4]``. A RoI with image -1 is zero. Returns
    ``[K, C, PH, PW]``; concretely, out[k, c, i, j] = sum over y, x of Wy[i, y] * F[c, y, x] * Wx[j, x].
    """
    out = np.zeros((len(rois), features[0].shape[1], *output_size))
    for k, feature, wy, wx in _each_roi(spec, features, scales, rois, levels, output_size):
        for y_side, x_side in _shared_out(tangents, k):
            out[k] += np.einsum("iy,cyx,jx->cij", wy(y_side), feature, wx(x_side))
        if spec.fill and not tangents:
            reached = np.outer(wy(()).any(axis=1), wx(()).any(axis=1))
            out[k][:, ~reached] = spec.fill
    return out


def adjoint_features(
    spec: SeparableSpec,
    grad_output: Array,
    shapes: Sequence[tuple[int, int, int, int]],
    scales: Sequence[float],
    rois: Array,
    levels: Array,
    tangents: Sequence[Array] = (),
) -> list[Array]:
    """The transpose of :func:`forward` in its features: Wy^T . G . Wx, summed over the RoIs of each map."""
    gradients = [np.zeros(shape) for shape in shapes]
    output_size = (grad_output.shape[2], grad_output.shape[3])
    for k, gradient, wy, wx in _each_roi(spec, gradients, scales, rois, levels, output_size):
        for y_side, x_side in _shared_out(tangents, k):
            gradient += np.einsum("iy,cij,jx->cyx", wy(y_side), grad_output[k], wx(x_side))
    return gradients


def adjoint_boxes(
    spec: SeparableSpec,
    grad_output: Array,
    features: Sequence[Array],
    scales: Sequence[float],
    rois: Array,
    levels: Array,
    tangents: Sequence[Array] = (),
) -> Array:
    """The gradient of <G, D_tangents f(X)> in the boxes, ``[K, 4]``: one more derivative in each coordinate."""
    gradient = np.zeros((len(rois), 4))
    for coordinate in range(4):
        direction = np.zeros((len(rois), 4))
        direction[:, coordinate] = 1.0
        moved = forward(spec, features, scales, rois, levels, grad_output.shape[2:], [*tangents, direction])
        gradient[:, coordinate] = np.einsum("kcij,kcij->k", grad_output, moved)
    return gradient


def _shared_out(tangents: Sequence[Array], k: int) -> Iterator[tuple[Axes, Axes]]:
    """The product rule for Wy . F . Wx^T: all ways to distribute the tangents between the two axes."""
    for choice in product((True, False), repeat=len(tangents)):
        y_side = tuple(tangent[k] for tangent, to_y in zip(tangents, choice, strict=True) if to_y)
        x_side = tuple(tangent[k] for tangent, to_y in zip(tangents, choice, strict=True) if not to_y)
        yield y_side, x_side


class _AxisTaps:
    """The taps of one axis of one RoI, and their directional derivatives."""

    def __init__(
        self, spec: SeparableSpec, size: int, bins: int, scale: float, lower: float, upper: float, axis: int, row: int
    ) -> None:
        self.bounds = (lower, upper)
        self.axis = axis
        self.mapping = (spec.scale(scale, size), spec.offset, spec.minimum_length)
        self.arguments = (size, *map_boxes(lower, upper, *self.mapping), bins, spec.sampling_ratio[axis], spec.rule)
        self.seed, self.row = spec.seed, row

    def __call__(self, tangents: Axes) -> Array:
        """The derivative of the taps along box tangents ``(x1, y1, x2, y2)``, or W itself without tangents."""
        size, bins = self.arguments[0], self.arguments[3]
        total: FloatArray = np.zeros((bins, size))
        lower, upper = (1, 3) if self.axis == 0 else (0, 2)
        steps = [map_boxes_tangent(*self.bounds, t[lower], t[upper], *self.mapping) for t in tangents]
        for choice in product((0, 1), repeat=len(steps)):
            factor = math.prod(step[which] for step, which in zip(steps, choice, strict=True))
            if factor != 0:
                order = (choice.count(0), choice.count(1))
                total = total + factor * taps(
                    *self.arguments, derivative=order, seed=self.seed, axis=self.axis, row=self.row
                )
        return total


def _each_roi(
    spec: SeparableSpec,
    maps: Sequence[Array],
    scales: Sequence[float],
    rois: Array,
    levels: Array,
    output_size: tuple[int, ...],
) -> Iterator[tuple[int, Array, _AxisTaps, _AxisTaps]]:
    for k, (image, x1, y1, x2, y2) in enumerate(rois.tolist()):
        if image < 0:
            continue
        level = int(levels[k])
        feature = maps[level][int(image)]
        height, width = feature.shape[1:]
        wy = _AxisTaps(spec, height, output_size[0], scales[level], y1, y2, 0, k)
        wx = _AxisTaps(spec, width, output_size[1], scales[level], x1, x2, 1, k)
        yield k, feature, wy, wx
