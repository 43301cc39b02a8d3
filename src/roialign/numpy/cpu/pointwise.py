"""The pointwise family: NumPy arrays to the compiled core, without copies."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from ... import _core
from ..._geometry import Geometry
from ..._spec import PointwiseSpec
from ..._typing import Array
from .separable import elementwise, scalar_type

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
    """Write the operator, or its derivative along `tangent`, into `out`: see `reference.pointwise.forward`.

    A maximum is linear in the features as long as the same points win: those that win at `deciding`, which are
    `features` where nothing else is given. A mean does not read them.
    """
    maps = [elementwise(level) for level in features]
    target = elementwise(out)
    _core.pointwise_forward(
        core_spec(spec),
        scalar_type(out.dtype),
        maps,
        list(scales),
        images,
        _contiguous(geometry),
        levels,
        target,
        None if tangent is None else _contiguous(tangent),
        [elementwise(level) for level in deciding] or maps,
    )
    if target is not out:
        out[...] = target


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
    """Write the transpose of :func:`forward` in the features into `grad_features`."""
    gradient = elementwise(grad_output)
    maps = [elementwise(level) for level in deciding]
    targets = [elementwise(level) for level in grad_features]
    _core.pointwise_adjoint_features(
        core_spec(spec),
        scalar_type(gradient.dtype),
        gradient,
        maps,
        list(scales),
        images,
        _contiguous(geometry),
        levels,
        targets,
        None if tangent is None else _contiguous(tangent),
    )
    for given, target in zip(grad_features, targets, strict=True):
        if target is not given:
            given[...] = target


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
    """The gradient of <grad_output, forward> in all that `geometry` holds."""
    gradient = elementwise(grad_output)
    maps = [elementwise(level) for level in features]
    grad_geometry = geometry.still()
    _core.pointwise_adjoint_geometry(
        core_spec(spec),
        scalar_type(gradient.dtype),
        gradient,
        maps,
        list(scales),
        images,
        _contiguous(geometry),
        levels,
        grad_geometry,
        [elementwise(level) for level in deciding] or maps,
    )
    return grad_geometry


def _contiguous(geometry: Geometry) -> Geometry:
    parts = [None if part is None else np.ascontiguousarray(part, dtype=np.float64) for part in geometry]
    return Geometry(*parts)  # type: ignore[arg-type]


@lru_cache(maxsize=128)
def core_spec(spec: PointwiseSpec) -> _core.PointwiseSpec:
    return _core.PointwiseSpec(
        mapping=_core.Mapping[spec.mapping],
        rule=_core.PointRule[spec.rule],
        reduction=_core.Reduction[spec.reduction],
        channels=_core.Channels[spec.channels],
        sampling_ratio=spec.sampling_ratio,
        offset=spec.offset,
        minimum_length=spec.minimum_length,
        seed=spec.seed,
        jitters_points=spec.jitters_points,
        clockwise=spec.clockwise,
        orientations=spec.orientations,
        gamma=spec.gamma,
        extra_pixels=spec.extra_pixels,
        unused_border=spec.unused_border,
    )
