"""The reference behind the interface that every backend has: arrays in, answers written into given arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..._spec import SeparableSpec
from ..._typing import Array
from ...reference import separable
from ...reference.taps import taps

__all__ = ["adjoint_boxes", "adjoint_features", "forward", "taps"]


def forward(
    spec: SeparableSpec,
    features: Sequence[Array],
    scales: Sequence[float],
    rois: Array,
    levels: Array,
    out: Array,
    tangents: Sequence[Array] = (),
) -> None:
    """Write :func:`separable.forward` into `out`, ``[K, C, PH, PW]`` of any strides."""
    maps = [level.astype(np.float64) for level in features]
    out[...] = separable.forward(spec, maps, scales, rois, levels, out.shape[2:], tangents)


def adjoint_features(
    spec: SeparableSpec,
    grad_output: Array,
    scales: Sequence[float],
    rois: Array,
    levels: Array,
    grad_features: Sequence[Array],
    tangents: Sequence[Array] = (),
) -> None:
    """Write :func:`separable.adjoint_features` into the maps of `grad_features`."""
    shapes = [level.shape for level in grad_features]
    gradients = separable.adjoint_features(spec, grad_output.astype(np.float64), shapes, scales, rois, levels, tangents)
    for given, gradient in zip(grad_features, gradients, strict=True):
        given[...] = gradient


def adjoint_boxes(
    spec: SeparableSpec,
    grad_output: Array,
    features: Sequence[Array],
    scales: Sequence[float],
    rois: Array,
    levels: Array,
    tangents: Sequence[Array] = (),
) -> Array:
    """:func:`separable.adjoint_boxes`, ``[K, 4]``."""
    maps = [level.astype(np.float64) for level in features]
    return separable.adjoint_boxes(spec, grad_output.astype(np.float64), maps, scales, rois, levels, tangents)
