"""The array frameworks: a table that selects one by the type of the features.

A framework is a package with these modules:

- ``checks``: validation of arrays;
- ``rois``: conversion of RoIs, in any of their structures, and of points to a table of rows;
- ``levels``: assignment of boxes to levels;
- ``overlaps``: intersection over union and non-maximum suppression of rotated boxes;
- ``plain``: the shortest way for a call that needs no conversion;
- ``call``: the call of a public function, for both families of operators;
- ``backends``: the implementations.

To add a framework, write such a package, a function that loads it, and an entry in the table. A framework is imported
on first use, so that `import roialign` imports NumPy only. Its package then adds the types of its arrays to `BY_TYPE`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from . import _validate, numpy
from ._options import Options
from ._plans import Described, Settings, plan_of, single_map_plan
from ._spec import Spec
from ._warnings import warn_of_arguments


class Framework(NamedTuple):
    recognises: Callable[[object], bool]
    """Whether a value is an array of the framework. It must not import the framework."""
    load: Callable[[], Any]
    """Imports the package, by an import statement, because `import_module` would break the graph of torch.compile."""


def _is_array(value: object) -> bool:
    return isinstance(value, np.ndarray)


def _numpy() -> Any:
    return numpy


def _is_tensor(value: object) -> bool:
    return hasattr(value, "__torch_function__")  # a protocol that only torch tensors have


def _torch() -> Any:
    import roialign.torch as torch  # a relative import would be resolved again at every call

    return torch


def _is_jax_array(value: object) -> bool:
    jax = sys.modules.get("jax")  # who has an array of it has imported it
    return jax is not None and isinstance(value, getattr(jax, "Array", ()))


def _jax() -> Any:
    import roialign.jax as jax

    return jax


FRAMEWORKS = (Framework(_is_array, _numpy), Framework(_is_tensor, _torch), Framework(_is_jax_array, _jax))

#: Frameworks that have been imported, by the exact types of arrays, for the speed of small calls. Subclasses and types
#: that are not here are found in the table.
BY_TYPE: dict[type, Any] = {np.ndarray: numpy}


def framework_of(*values: object) -> Any:
    """The framework of the first value that is an array. If none is, NumPy, whose checks raise the error."""
    for value in values:
        usual = BY_TYPE.get(type(value))
        if usual is not None:
            return usual
        for framework in FRAMEWORKS:
            if framework.recognises(value):
                return framework.load()
    return numpy


def operator_call(spec: Spec, features: Sequence[Any], scales: Sequence[float], rois: object, **more: Any) -> Any:
    """A validated call of an operator, by the framework of the features. `more` are fields of :class:`Options`."""
    return _checked_call(framework_of(*features), spec, features, scales, rois, Options(**more))


def operator_forward(
    settings: Settings,
    features: Sequence[Any],
    rois: object,
    out: object,
    layout: str,
    batch_indices: object,
    invalid: str | None,
    backend: str | None,
    seed: object = None,
    levels: object = None,
) -> Any:
    """The result of an operator, by the shortest way if nothing is unusual."""
    framework = framework_of(*features)
    is_usual = batch_indices is None and invalid is None and backend is None and seed is None and levels is None
    if is_usual and layout in ("NCHW", "NHWC"):
        output = framework.plain.forward(settings, features, rois, layout, out)
        if output is not None:
            return output
    plan = plan_of(settings)
    options = Options(batch_indices, layout, invalid, backend, seed, levels=levels, assignment=plan.assignment)
    return _checked_call(framework, plan.spec, features, plan.scales, rois, options).forward(plan.output_size, out)


def single_map_forward(
    described: Described,
    features: object,
    spatial_scale: object,
    rois: object,
    output_size: object,
    out: object = None,
    layout: str = "NCHW",
    batch_indices: object = None,
    invalid: str | None = None,
    backend: str | None = None,
    seed: object = None,
) -> Any:
    """The result of an operator on one map."""
    settings = (single_map_plan, described, spatial_scale, output_size)
    return operator_forward(settings, (features,), rois, out, layout, batch_indices, invalid, backend, seed)


def single_map_call(spec: Spec, features: object, spatial_scale: object, rois: object, **more: Any) -> Any:
    """A validated call of an operator on one map. `more` are fields of :class:`Options`."""
    scale = _validate.check_number(spatial_scale, "spatial_scale", positive=True)
    return operator_call(spec, [features], [scale], rois, **more)


def _checked_call(
    framework: Any, spec: Spec, features: Sequence[Any], scales: Sequence[float], rois: object, options: Options
) -> Any:
    options.check()
    if options.drawn:
        warn_of_arguments(spec, options.seed)
    return framework.plain.prepare(spec, features, scales, rois, options)
