"""What the arguments of a call amount to, apart from its arrays."""

from __future__ import annotations

from typing import Any, NamedTuple

from . import _validate
from ._levels import Assignment
from ._spec import PointwiseSpec, SeparableSpec, Spec
from ._warnings import warn_ignored


class Plan(NamedTuple):
    """The validated settings of a call."""

    spec: Spec
    scales: tuple[float, ...]
    """Feature pixels per image pixel of each level."""
    assignment: Assignment | None
    """How boxes are assigned to the levels of a pyramid."""
    output_size: tuple[int, int]


#: A specification, or a function that makes it and the arguments of this function.
Described = Spec | tuple[Any, ...]

#: A function that makes a plan, and its arguments. The compiled backends remember plans by their settings.
Settings = tuple[Any, ...]


def plan_of(settings: Settings) -> Plan:
    """Make the plan of a call. Invalid settings raise an error."""
    plan: Plan = _made(settings)
    return plan


def single_map_plan(described: Described, spatial_scale: object, output_size: object) -> Plan:
    """The plan of an operator on one map."""
    spec = _spec_of(described)
    scale = _validate.check_number(spatial_scale, "spatial_scale", positive=True)
    return Plan(spec, (scale,), None, _validate.check_output_size(output_size))


def pyramid_plan(
    described: Described,
    level_count: int,
    spatial_scales: object,
    levels_are_given: bool,
    canonical_size: float,
    canonical_level: float,
    output_size: object,
) -> Plan:
    """The same for a pyramid."""
    spec = _spec_of(described)
    scales, assignment = check_pyramid(level_count, spatial_scales, levels_are_given, canonical_size, canonical_level)
    return Plan(spec, scales, assignment, _validate.check_output_size(output_size))


def check_pyramid(
    level_count: int,
    spatial_scales: object,
    levels_are_given: bool,
    canonical_size: float,
    canonical_level: float,
    *,
    warns: bool = True,
) -> tuple[tuple[float, ...], Assignment]:
    """Check the settings of a pyramid, and return its scales and how boxes are assigned to its levels."""
    scales = _validate.check_scales(spatial_scales, level_count)
    if not levels_are_given:
        canonical_size = _validate.check_number(canonical_size, "canonical_size", positive=True)
        canonical_level = _validate.check_number(canonical_level, "canonical_level")
    elif warns and (canonical_size, canonical_level) != (224, 4):
        warn_ignored("canonical_size, canonical_level", (canonical_size, canonical_level), "if levels is given")
    return tuple(scales), Assignment(canonical_size, canonical_level)


def _spec_of(described: Described) -> Spec:
    if isinstance(described, (SeparableSpec, PointwiseSpec)):
        return described
    spec: Spec = _made(described)
    return spec


def _made(call: tuple[Any, ...]) -> Any:
    """Call a function that stands before its arguments."""
    make, *arguments = call
    return make(*arguments)
