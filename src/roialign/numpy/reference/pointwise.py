"""The pointwise family of the reference behind the interface that every backend has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..._geometry import Geometry
from ..._spec import PointwiseSpec
from ..._typing import Array
from ...reference import pointwise

__all__ = ["adjoint_features", "adjoint_geometry", "forward"]


def forward(
    spec: PointwiseSpec,
    features: Sequence[Array],
    scales: Sequence[float],
    images: Array,
    geometry: Geometry,
    levels: Array,
    out: Array,
    tangent: Geometry | None = None,
    deciding: Sequence[Array] = (),
) -> None:
    """Write :func:`pointwise.forward` into `out`, ``[K, C, PH, PW]`` of any strides."""
    bins = (out.shape[2], out.shape[3])
    out[...] = pointwise.forward(
        spec, _wide(features), scales, images, geometry, levels, bins, tangent, _wide(deciding)
    )


def adjoint_features(
    spec: PointwiseSpec,
    grad_output: Array,
    deciding: Sequence[Array],
    scales: Sequence[float],
    images: Array,
    geometry: Geometry,
    levels: Array,
    grad_features: Sequence[Array],
    tangent: Geometry | None = None,
) -> None:
    """Write :func:`pointwise.adjoint_features` into the maps of `grad_features`."""
    common = (_wide(deciding), scales, images, geometry, levels, tangent)
    gradients = pointwise.adjoint_features(spec, grad_output.astype(np.float64), *common)
    for given, gradient in zip(grad_features, gradients, strict=True):
        given[...] = gradient


def adjoint_geometry(
    spec: PointwiseSpec,
    grad_output: Array,
    features: Sequence[Array],
    scales: Sequence[float],
    images: Array,
    geometry: Geometry,
    levels: Array,
    deciding: Sequence[Array] = (),
) -> Geometry:
    """:func:`pointwise.adjoint_geometry`."""
    common = (_wide(features), scales, images, geometry, levels, _wide(deciding))
    return pointwise.adjoint_geometry(spec, grad_output.astype(np.float64), *common)


def _wide(features: Sequence[Array]) -> list[Array]:
    return [level.astype(np.float64) for level in features]
