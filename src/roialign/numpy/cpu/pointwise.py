"""The pointwise family on NumPy arrays, by the compiled core and without copies."""

from __future__ import annotations

from collections.abc import Sequence

from ... import _core
from ..._core_specs import core_pointwise
from ..._regions import Geometry, Regions
from ..._spec import PointwiseSpec
from ..._typing import Array
from .memory import contiguous, elementwise, scalar_type

__all__ = ["adjoint_features", "adjoint_geometry", "forward"]


def forward(
    spec: PointwiseSpec,
    features: Sequence[Array],
    regions: Regions,
    out: Array,
    tangents: Sequence[Geometry] = (),
    deciding: Sequence[Array] = (),
) -> int:
    """Write the operator, or its derivative along a tangent, into `out`. See `reference.pointwise.forward`.

    A maximum is linear in the features as long as the maxima are at the same points. These points are determined by
    `deciding`, which defaults to `features`. A mean does not use it.

    Returns bits that report suspicious RoIs; see :mod:`roialign._warnings`.
    """
    maps = [elementwise(level) for level in features]
    target = elementwise(out)
    suspicions = _core.pointwise_forward(
        core_pointwise(spec),
        scalar_type(out.dtype),
        maps,
        list(regions.scales),
        regions.images,
        contiguous(regions.geometry),
        regions.levels,
        target,
        _only(tangents),
        [elementwise(level) for level in deciding] or maps,
    )
    if target is not out:
        out[...] = target
    return suspicions


def adjoint_features(
    spec: PointwiseSpec,
    grad_output: Array,
    deciding: Sequence[Array],
    regions: Regions,
    grad_features: Sequence[Array],
    tangents: Sequence[Geometry] = (),
) -> None:
    """Write the transpose of :func:`forward` in the features into every element of `grad_features`."""
    gradient = elementwise(grad_output)
    targets = [elementwise(level) for level in grad_features]
    _core.pointwise_adjoint_features(
        core_pointwise(spec),
        scalar_type(gradient.dtype),
        gradient,
        [elementwise(level) for level in deciding],
        list(regions.scales),
        regions.images,
        contiguous(regions.geometry),
        regions.levels,
        targets,
        _only(tangents),
    )
    for given, target in zip(grad_features, targets, strict=True):
        if target is not given:
            given[...] = target


def adjoint_geometry(
    spec: PointwiseSpec,
    grad_output: Array,
    features: Sequence[Array],
    regions: Regions,
    tangents: Sequence[Geometry] = (),
    deciding: Sequence[Array] = (),
) -> Geometry:
    """The gradient of <grad_output, forward> in all numbers that describe the RoIs. Tangents are not supported."""
    if tangents:
        raise NotImplementedError("pointwise: derivatives with respect to boxes are implemented up to order 1")
    gradient = elementwise(grad_output)
    maps = [elementwise(level) for level in features]
    geometry = contiguous(regions.geometry)
    grad_geometry = geometry.still()
    _core.pointwise_adjoint_geometry(
        core_pointwise(spec),
        scalar_type(gradient.dtype),
        gradient,
        maps,
        list(regions.scales),
        regions.images,
        geometry,
        regions.levels,
        grad_geometry,
        [elementwise(level) for level in deciding] or maps,
    )
    return grad_geometry


def _only(tangents: Sequence[Geometry]) -> Geometry | None:
    """The only tangent, if there is one."""
    return contiguous(tangents[0]) if tangents else None
