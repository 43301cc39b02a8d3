"""Convert specifications of operators to the types of the compiled core."""

from __future__ import annotations

from functools import lru_cache
from types import FunctionType
from typing import Any, NamedTuple, cast

from . import _core
from ._levels import Assignment, smallest_areas
from ._plans import Plan, Settings, plan_of
from ._spec import PointwiseSpec, SeparableSpec, Spec


def core_name(enumeration: Any, name: str) -> Any:
    """The member of an enumeration of the core with this name."""
    try:
        return enumeration[name]
    except KeyError:
        kind = enumeration.__name__
        raise RuntimeError(
            f"the compiled core has no {kind} {name!r}: add it in cpp/, and build the core again"
        ) from None


@lru_cache(maxsize=128)
def core_separable(spec: SeparableSpec) -> _core.SeparableSpec:
    return _core.SeparableSpec(**{**spec._asdict(), "rule": core_name(_core.Rule, spec.rule)})


@lru_cache(maxsize=128)
def core_pointwise(spec: PointwiseSpec) -> _core.PointwiseSpec:
    names = {
        "mapping": core_name(_core.Mapping, spec.mapping),
        "rule": core_name(_core.PointRule, spec.rule),
        "reduction": core_name(_core.Reduction, spec.reduction),
        "channels": core_name(_core.Channels, spec.channels),
    }
    return _core.PointwiseSpec(**{**spec._asdict(), **names})


def core_spec(spec: Spec) -> _core.SeparableSpec | _core.PointwiseSpec:
    """The specification of an operator of either family."""
    return core_separable(spec) if type(spec) is SeparableSpec else core_pointwise(spec)


@lru_cache(maxsize=128)
def core_levels(scales: tuple[float, ...], assignment: Assignment | None) -> _core.Levels:
    """The levels of a pyramid. Without an assignment there is one."""
    return _core.Levels(scales, [] if assignment is None else smallest_areas(scales, assignment).tolist())


class CorePlan(NamedTuple):
    """The plan of a call, and what the core takes of it."""

    plan: Plan
    spec: _core.SeparableSpec | _core.PointwiseSpec
    levels: _core.Levels


def _core_plan(settings: Settings) -> CorePlan:
    plan = plan_of(settings)
    return CorePlan(plan, core_spec(plan.spec), core_levels(plan.scales, plan.assignment))


#: Plans are remembered, because it takes longer to make one than to pool a few RoIs. Functions and specifications are
#: compared by identity.
_PLANS = _core.Remembered(_core_plan, (FunctionType, SeparableSpec, PointwiseSpec))


def core_plan(settings: Settings) -> CorePlan:
    """Make the plan of a call, or return an earlier one of the same settings."""
    return cast(CorePlan, _PLANS(settings))
