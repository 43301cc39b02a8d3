"""The array frameworks that the operators take: one table, found by the kind of the features.

A framework is a folder that offers the same modules under the same names:

- ``checks``: what a user can get wrong with its arrays;
- ``rois``: the structures of RoIs as one table of rows, and points as RoIs;
- ``levels``: the level of every box;
- ``call``: a public function's call, for both families of operators;
- ``backends``: who computes.

A new framework is a folder of this shape, a function that loads it and a line of the table. This is the one place
where something above loads something below it late, so that `import roialign` loads NumPy only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from . import numpy
from ._options import Options
from ._spec import Spec
from ._warnings import warn_of_arguments


class Framework(NamedTuple):
    recognises: Callable[[object], bool]
    """Whether a value is an array of it; it must not load it."""
    load: Callable[[], Any]
    """The folder's package, by an import statement: torch.compile follows that, and `import_module` breaks a graph."""


def _is_array(value: object) -> bool:
    return isinstance(value, np.ndarray)


def _numpy() -> Any:
    return numpy


def _is_tensor(value: object) -> bool:
    return hasattr(value, "__torch_function__")  # a protocol that only torch's tensors have


def _torch() -> Any:
    import roialign.torch as torch  # a relative import would be resolved anew for every call

    return torch


FRAMEWORKS = (Framework(_is_array, _numpy), Framework(_is_tensor, _torch))


def framework_of(*values: object) -> Any:
    """The framework of the first value that is an array of any; NumPy, whose checks say what is wrong, if none is."""
    for value in values:
        for framework in FRAMEWORKS:
            if framework.recognises(value):
                return framework.load()
    return numpy


def operator_call(spec: Spec, features: Sequence[Any], scales: Sequence[float], rois: object, **more: Any) -> Any:
    """A call of an operator, validated, by the framework of the features; `more` is what :class:`Options` names."""
    options = Options(**more)
    options.check()
    if options.drawn:
        warn_of_arguments(spec, options.seed)
    return framework_of(*features).call.Call(spec, features, scales, rois, options)
