"""Convert specifications of operators to the types of the compiled core."""

from __future__ import annotations

from functools import lru_cache

from . import _core
from ._spec import PointwiseSpec, SeparableSpec

RULES: dict[str, _core.Rule] = {rule.name: rule for rule in _core.Rule}


@lru_cache(maxsize=128)
def core_separable(spec: SeparableSpec) -> _core.SeparableSpec:
    return _core.SeparableSpec(
        rule=RULES[spec.rule],
        sampling_ratio=spec.sampling_ratio,
        offset=spec.offset,
        minimum_length=spec.minimum_length,
        normalised_boxes=spec.normalised_boxes,
        fill=spec.fill,
        seed=spec.seed,
    )


@lru_cache(maxsize=128)
def core_pointwise(spec: PointwiseSpec) -> _core.PointwiseSpec:
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
