"""NumPy arrays to the compiled core, without copies."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ... import _core
from ..._spec import Rule, SeparableSpec
from ..._typing import Array

__all__ = ["adjoint_boxes", "adjoint_features", "forward", "taps"]

_RULES: dict[str, _core.Rule] = {rule.name: rule for rule in _core.Rule}


def forward(
    spec: SeparableSpec,
    features: Sequence[Array],
    scales: Sequence[float],
    rois: Array,
    levels: Array,
    out: Array,
    tangents: Sequence[Array] = (),
) -> None:
    """Write the operator, or its derivative along box `tangents`, into `out`: see `reference.separable.forward`."""
    maps = [elementwise(level) for level in features]
    target = elementwise(out)
    _core.forward(
        core_spec(spec),
        scalar_type(out.dtype),
        maps,
        list(scales),
        rois,
        levels,
        _tangents(tangents),
        target,
    )
    if target is not out:
        out[...] = target


def adjoint_features(
    spec: SeparableSpec,
    grad_output: Array,
    scales: Sequence[float],
    rois: Array,
    levels: Array,
    grad_features: Sequence[Array],
    tangents: Sequence[Array] = (),
) -> None:
    """Write the transpose of :func:`forward` in the features into `grad_features`, every element of them."""
    gradient = elementwise(grad_output)
    targets = [elementwise(level) for level in grad_features]
    _core.adjoint_features(
        core_spec(spec),
        scalar_type(gradient.dtype),
        gradient,
        list(scales),
        rois,
        levels,
        _tangents(tangents),
        targets,
    )
    for given, target in zip(grad_features, targets, strict=True):
        if target is not given:
            given[...] = target


def adjoint_boxes(
    spec: SeparableSpec,
    grad_output: Array,
    features: Sequence[Array],
    scales: Sequence[float],
    rois: Array,
    levels: Array,
    tangents: Sequence[Array] = (),
) -> Array:
    """The gradient of <grad_output, forward> in the boxes, ``[K, 4]``: see `reference.separable.adjoint_boxes`."""
    gradient = elementwise(grad_output)
    maps = [elementwise(level) for level in features]
    grad_boxes = np.empty((len(rois), 4))
    _core.adjoint_boxes(
        core_spec(spec),
        scalar_type(gradient.dtype),
        gradient,
        maps,
        list(scales),
        rois,
        levels,
        _tangents(tangents),
        grad_boxes,
    )
    return grad_boxes


def taps(
    size: int,
    start: float,
    length: float,
    bins: int,
    sampling_ratio: int = 0,
    rule: Rule = "grid",
    *,
    derivative: tuple[int, int] = (0, 0),
    seed: int = 0,
    axis: int = 0,
    row: int = 0,
) -> Array:
    """The dense ``[bins, size]`` matrix of one axis: see `reference.taps`."""
    matrix = np.empty((bins, size))
    _core.taps(_RULES[rule], start, length, sampling_ratio, seed, axis, row, *derivative, matrix)
    return matrix


@lru_cache(maxsize=128)
def core_spec(spec: SeparableSpec) -> _core.SeparableSpec:
    return _core.SeparableSpec(
        rule=_RULES[spec.rule],
        sampling_ratio=spec.sampling_ratio,
        offset=spec.offset,
        minimum_length=spec.minimum_length,
        normalised_boxes=spec.normalised_boxes,
        fill=spec.fill,
        seed=spec.seed,
    )


@lru_cache
def scalar_type(dtype: np.dtype[Any]) -> _core.ScalarType:
    return _core.ScalarType[dtype.name]


def elementwise(array: Array) -> Array:
    """The array, or a copy of one whose elements do not lie whole elements apart, as in a field of a record."""
    whole = array.flags.aligned and all(stride % array.itemsize == 0 for stride in array.strides)
    return array if whole else np.ascontiguousarray(array)


def _tangents(tangents: Sequence[Array]) -> list[Array]:
    return [np.ascontiguousarray(tangent, dtype=np.float64) for tangent in tangents]
