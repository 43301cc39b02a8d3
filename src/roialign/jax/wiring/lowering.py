"""Calls of the compiled core from XLA: its foreign functions, and the attributes that describe an operator to them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import jax
import numpy as np

from ... import _core
from ..._core_specs import core_name
from ..._derivatives import Operator, Setting
from ..._levels import smallest_areas
from .signature import Signature

#: The enumerations of the core, by the names of the fields that have them. The two families have different rules.
_ENUMERATIONS = {"mapping": _core.Mapping, "reduction": _core.Reduction, "channels": _core.Channels}
_RULES = {"separable": _core.Rule, "pointwise": _core.PointRule}


def register() -> None:
    """Make the functions of the core known to XLA."""
    for name, capsule in _core.xla_handlers().items():
        jax.ffi.register_ffi_target(target_of(name), capsule, platform="cpu")


def target_of(name: str) -> str:
    """The name that XLA has for a function."""
    return f"roialign_{name}"


def lower(name: str, context: Any, *operands: Any, setting: Setting, signature: Signature) -> Any:
    """The instruction that calls a function of the core."""
    attributes = {
        **_attributes_of(setting.operator),
        **{field: np.int64(value) for field, value in signature._asdict().items()},
        "channels_last": np.int64(setting.channels_last),
    }
    return jax.ffi.ffi_lowering(target_of(name))(context, *operands, **attributes)


def refuse(name: str, *_: Any, **__: Any) -> Any:
    raise NotImplementedError(
        f"roialign::{name}: implemented for JAX on the CPU only; use jax.jit(..., backend='cpu') or jax.device_put"
    )


@lru_cache(maxsize=128)
def _attributes_of(operator: Operator[Any]) -> dict[str, Any]:
    spec, scales = operator.spec, operator.scales
    areas: Any = [] if operator.assignment is None else smallest_areas(scales, operator.assignment)
    return {
        **_attributes_of_spec(spec),
        "scales": np.asarray(scales, dtype=np.float64),
        "smallest_areas": np.asarray(areas, dtype=np.float64),
        "zero_if_invalid": np.int64(operator.invalid == "zero"),
        "argument": operator.argument,
        "bins_y": np.int64(operator.bins[0]),
        "bins_x": np.int64(operator.bins[1]),
        "has_offset": np.int64(operator.has_offset),
        "has_mask": np.int64(operator.has_mask),
    }


def _attributes_of_spec(spec: Any) -> dict[str, Any]:
    values = spec._asdict()
    ratio_y, ratio_x = values.pop("sampling_ratio")
    values.update(sampling_ratio_y=ratio_y, sampling_ratio_x=ratio_x)
    values["seed"] = int(np.uint64(values["seed"]).astype(np.int64))
    enumerations = {**_ENUMERATIONS, "rule": _RULES[spec.family()]}
    for field, enumeration in enumerations.items():
        if field in values:
            values[field] = core_name(enumeration, values[field]).value
    return {
        field: np.float64(value) if isinstance(value, float) else np.int64(value) for field, value in values.items()
    }
