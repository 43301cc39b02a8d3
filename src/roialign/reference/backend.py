"""The reference with the interface of a NumPy backend, which writes results into given arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .._regions import Geometry, Regions
from .._spec import SeparableSpec, Spec
from .._typing import Array
from . import pointwise, separable
from .taps import taps

__all__ = ["adjoint_features", "adjoint_geometry", "forward", "taps"]


def forward(
    spec: Spec,
    features: Sequence[Array],
    regions: Regions,
    out: Array,
    tangents: Sequence[Geometry] = (),
    deciding: Sequence[Array] = (),
) -> None:
    """Write the operator, or its derivative along `tangents`, into `out`, ``[K, C, PH, PW]`` with any strides."""
    maps, bins = _wide(features), (out.shape[2], out.shape[3])
    if isinstance(spec, SeparableSpec):
        out[...] = separable.forward(spec, maps, *_boxes(regions), bins, [tangent.boxes for tangent in tangents])
    else:
        out[...] = pointwise.forward(spec, maps, *_points(regions), bins, _only(tangents), _wide(deciding))


def adjoint_features(
    spec: Spec,
    grad_output: Array,
    deciding: Sequence[Array],
    regions: Regions,
    grad_features: Sequence[Array],
    tangents: Sequence[Geometry] = (),
) -> None:
    """Write the transpose of :func:`forward` in the features into the maps of `grad_features`."""
    gradient = grad_output.astype(np.float64)
    if isinstance(spec, SeparableSpec):
        shapes = [level.shape for level in grad_features]
        moved = [tangent.boxes for tangent in tangents]
        results = separable.adjoint_features(spec, gradient, shapes, *_boxes(regions), moved)
    else:
        results = pointwise.adjoint_features(spec, gradient, _wide(deciding), *_points(regions), _only(tangents))
    for given, result in zip(grad_features, results, strict=True):
        given[...] = result


def adjoint_geometry(
    spec: Spec,
    grad_output: Array,
    features: Sequence[Array],
    regions: Regions,
    tangents: Sequence[Geometry] = (),
    deciding: Sequence[Array] = (),
) -> Geometry:
    """The gradient of <grad_output, forward> in all numbers that describe the RoIs."""
    gradient, maps = grad_output.astype(np.float64), _wide(features)
    if isinstance(spec, SeparableSpec):
        moved = [tangent.boxes for tangent in tangents]
        return Geometry(separable.adjoint_boxes(spec, gradient, maps, *_boxes(regions), moved))
    return pointwise.adjoint_geometry(spec, gradient, maps, *_points(regions), _wide(deciding))


def _boxes(regions: Regions) -> tuple[Sequence[float], Array, Array]:
    """The arguments of the separable family."""
    return regions.scales, regions.rows, regions.levels


def _points(regions: Regions) -> tuple[Sequence[float], Array, Geometry, Array]:
    """The arguments of the pointwise family."""
    return regions.scales, regions.images, regions.geometry, regions.levels


def _only(tangents: Sequence[Geometry]) -> Geometry | None:
    """The tangent of a pointwise operator, which has at most one."""
    return tangents[0] if tangents else None


def _wide(features: Sequence[Array]) -> list[Array]:
    return [level.astype(np.float64) for level in features]
