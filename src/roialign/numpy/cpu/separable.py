"""The separable family on NumPy arrays, by the compiled core and without copies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ... import _core
from ..._core_specs import core_name, core_separable
from ..._regions import Geometry, Regions
from ..._spec import Rule, SeparableSpec
from ..._typing import Array
from .memory import elementwise, scalar_type

__all__ = ["adjoint_features", "adjoint_geometry", "forward", "taps"]


def forward(
    spec: SeparableSpec,
    features: Sequence[Array],
    regions: Regions,
    out: Array,
    tangents: Sequence[Geometry] = (),
    deciding: Sequence[Array] = (),
) -> int:
    """Write the operator, or its derivative along box `tangents`, into `out`. See `reference.separable.forward`.

    Returns bits that report suspicious RoIs; see :mod:`roialign._warnings`.
    """
    del deciding  # only a maximum uses it
    target = elementwise(out)
    suspicions = _core.forward(
        core_separable(spec),
        scalar_type(out.dtype),
        [elementwise(level) for level in features],
        list(regions.scales),
        regions.rows,
        regions.levels,
        _boxes_of(tangents),
        target,
    )
    if target is not out:
        out[...] = target
    return suspicions


def adjoint_features(
    spec: SeparableSpec,
    grad_output: Array,
    deciding: Sequence[Array],
    regions: Regions,
    grad_features: Sequence[Array],
    tangents: Sequence[Geometry] = (),
) -> None:
    """Write the transpose of :func:`forward` in the features into every element of `grad_features`."""
    del deciding
    gradient = elementwise(grad_output)
    targets = [elementwise(level) for level in grad_features]
    _core.adjoint_features(
        core_separable(spec),
        scalar_type(gradient.dtype),
        gradient,
        list(regions.scales),
        regions.rows,
        regions.levels,
        _boxes_of(tangents),
        targets,
    )
    for given, target in zip(grad_features, targets, strict=True):
        if target is not given:
            given[...] = target


def adjoint_geometry(
    spec: SeparableSpec,
    grad_output: Array,
    features: Sequence[Array],
    regions: Regions,
    tangents: Sequence[Geometry] = (),
    deciding: Sequence[Array] = (),
) -> Geometry:
    """The gradient of <grad_output, forward> in the boxes, ``[K, 4]``: see `reference.separable.adjoint_boxes`."""
    del deciding
    gradient = elementwise(grad_output)
    grad_boxes = np.empty((len(regions.rows), 4))
    _core.adjoint_boxes(
        core_separable(spec),
        scalar_type(gradient.dtype),
        gradient,
        [elementwise(level) for level in features],
        list(regions.scales),
        regions.rows,
        regions.levels,
        _boxes_of(tangents),
        grad_boxes,
    )
    return Geometry(grad_boxes)


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
    _core.taps(core_name(_core.Rule, rule), start, length, sampling_ratio, seed, axis, row, *derivative, matrix)
    return matrix


def _boxes_of(tangents: Sequence[Geometry]) -> list[Array]:
    return [np.ascontiguousarray(tangent.boxes, dtype=np.float64) for tangent in tangents] if tangents else []
