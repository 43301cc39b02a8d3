"""A family of operators for tensors: the schema of its operators, and the functions that compute them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, ClassVar, Generic, NamedTuple

from torch import Tensor

from ..._derivatives import AnySpec, Inputs, Operator
from ..._levels import Assignment
from ..._spec import PointwiseSpec, SeparableSpec
from ..backends import backend_for, export_of


class _Kind(NamedTuple):
    """The representation of a value in a schema: its type, and conversions in both directions."""

    schema: str
    there: Callable[[Any], Any] = lambda value: value
    back: Callable[[Any], Any] = lambda value: value


_PAIR = _Kind("SymInt[]", list, tuple)
_OPTIONAL_WORD = _Kind("str?")
#: By name, the values of operators for which a schema has no type.
_KINDS = {
    "scales": _Kind("float[]", list, tuple),
    "sampling_ratio": _PAIR,
    "bins": _PAIR,
    "assignment": _Kind(
        "float[]?", lambda given: given and list(given), lambda given: Assignment(*given) if given else None
    ),
    "minimum_length": _Kind(
        "float?",
        lambda value: None if value == -math.inf else value,
        lambda value: -math.inf if value is None else value,
    ),
    # integers in a schema are signed, with 64 bits
    "seed": _Kind("SymInt", lambda seed: seed - (1 << 64) if seed >= 1 << 63 else seed, lambda seed: seed % (1 << 64)),
    "invalid": _OPTIONAL_WORD,
    "backend": _OPTIONAL_WORD,
}


class Family(Generic[AnySpec]):
    """The operators with one type of specification: their schema, and their three functions on tensors."""

    name: ClassVar[str]
    spec: ClassVar[type[SeparableSpec] | type[PointwiseSpec]]
    #: The values of an :class:`Operator` and of its spec, in the order of the schema. Saved programs depend on it.
    values: ClassVar[tuple[str, ...]]
    #: Fields of Inputs that its functions read, in addition to those of every family.
    more_arguments: ClassVar[dict[str, str]] = {}
    #: The maximum order of derivatives in the boxes.
    order: ClassVar[int] = 2

    def __init__(self) -> None:
        types = {**{field.name: field.type for field in fields(Operator)}, **self.spec.__annotations__}
        self._of_spec = set(self.spec._fields)
        missing = sorted(self._of_spec - set(self.values))
        assert not missing, f"{type(self).__name__}: add {missing} at the end of `values`, for saved programs"
        self._kinds = {name: _KINDS.get(name) or _Kind(_plain(types[name])) for name in self.values}
        self.schema = ", ".join(f"{kind.schema} {name}" for name, kind in self._kinds.items())

    def flatten(self, operator: Operator[AnySpec]) -> list[Any]:
        """Return the values of an operator in the order of the schema."""
        spec = operator.spec
        return [
            kind.there(getattr(spec if name in self._of_spec else operator, name)) for name, kind in self._kinds.items()
        ]

    def unflatten(self, values: Sequence[Any]) -> Operator[AnySpec]:
        """Make an operator from the result of :meth:`flatten`."""
        given = {name: kind.back(value) for (name, kind), value in zip(self._kinds.items(), values, strict=True)}
        spec: Any = self.spec(**{name: given.pop(name) for name in self.values if name in self._of_spec})
        return Operator(spec, **given)

    def forward(self, operator: Operator[AnySpec], inputs: Inputs, out: Tensor) -> None:
        """Write D_T f(X; b) into `out`."""
        backend_for(self.name, out, operator.backend).forward(operator, inputs, out)

    def forward_with_winners(self, operator: Operator[AnySpec], inputs: Inputs, out: Tensor) -> Tensor | None:
        """The same. Also return the winners, if there are any and the backend keeps them for later gradients."""
        self.forward(operator, inputs, out)
        return None

    def adjoint_features(self, operator: Operator[AnySpec], inputs: Inputs, grad_features: Sequence[Tensor]) -> None:
        """Write (D_T f)^T G into every element of the maps."""
        backend = backend_for(self.name, inputs.grad_output, operator.backend)
        backend.adjoint_features(operator, inputs, grad_features)

    def adjoint_boxes(self, operator: Operator[AnySpec], inputs: Inputs, grad_rois: Tensor) -> None:
        """Write the gradient of <G, D_T f(X; b)> in the rows into all columns except the first."""
        backend_for(self.name, inputs.grad_output, operator.backend).adjoint_boxes(operator, inputs, grad_rois)

    def standard(self, operator: Operator[AnySpec], inputs: Inputs, output_size: tuple[int, ...]) -> Tensor:
        """Compute `forward` with standard ONNX operators."""
        output: Tensor = export_of(self.name).forward(operator, inputs, output_size)
        return output


def _plain(annotation: Any) -> str:
    """The schema type of a field. A Literal is a string."""
    name = getattr(annotation, "__forward_arg__", annotation)  # a NamedTuple wraps annotations that are strings
    return {"float": "float", "bool": "bool", "int": "SymInt"}.get(name, "str")
