"""A family of operators for tensors: how one of its operators is written in a schema, and who computes it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from torch import Tensor

from ..._levels import Assignment
from ..._spec import PointwiseSpec, SeparableSpec
from ..backends import backend_for, export_of
from .primitive import Inputs

AnySpec = TypeVar("AnySpec", SeparableSpec, PointwiseSpec)


@dataclass(frozen=True)
class Operator(Generic[AnySpec]):
    """An operator on levels of given scales, and what a call of it says besides tensors."""

    spec: AnySpec
    scales: tuple[float, ...]
    assignment: Assignment | None = None
    invalid: str | None = None
    backend: str | None = None
    argument: str = "rois"
    """What the user calls the boxes."""
    bins: tuple[int, int] = (1, 1)
    """Known to the families whose rows hold numbers for every bin."""
    has_offset: bool = False
    has_mask: bool = False


class Setting(NamedTuple):
    """What a call of a primitive holds besides tensors."""

    operator: Operator[Any]
    """Only its family looks inside."""
    output_size: tuple[int, ...]
    """(PH, PW): what `forward` cannot tell from its inputs; empty where nobody needs it."""
    map_sizes: tuple[int, ...]
    """N, C, H, W of every level in turn: what `adjoint_features` cannot tell."""
    channels_last: bool
    """The memory format of answers and of gradients of features."""

    @property
    def map_shapes(self) -> list[tuple[int, ...]]:
        """(N, C, H, W) of every level."""
        return [self.map_sizes[first : first + 4] for first in range(0, len(self.map_sizes), 4)]


class _Kind(NamedTuple):
    """How a value stands in a schema: its type, the way there and the way back."""

    schema: str
    there: Callable[[Any], Any] = lambda value: value
    back: Callable[[Any], Any] = lambda value: value


_PAIR = _Kind("SymInt[]", list, tuple)
_OPTIONAL_WORD = _Kind("str?")
#: The values of operators that a schema has no type for, by name.
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
    # 64 bits, signed in a schema
    "seed": _Kind("SymInt", lambda seed: seed - (1 << 64) if seed >= 1 << 63 else seed, lambda seed: seed % (1 << 64)),
    "invalid": _OPTIONAL_WORD,
    "backend": _OPTIONAL_WORD,
}


class Family(ABC, Generic[AnySpec]):
    """The operators of one kind of description: their schema, and their three functions on tensors."""

    name: ClassVar[str]
    spec: ClassVar[type[SeparableSpec] | type[PointwiseSpec]]
    #: The values of an :class:`Operator` and of its spec, in the order of the schema. Saved programs rely on it.
    values: ClassVar[tuple[str, ...]]
    #: Fields of Inputs that its functions read besides those of every family.
    more_arguments: ClassVar[dict[str, str]] = {}
    #: Up to which order there are derivatives in the boxes.
    order: ClassVar[int] = 2

    def __init__(self) -> None:
        types = {field.name: field.type for owner in (Operator, self.spec) for field in fields(owner)}
        self._of_spec = {field.name for field in fields(self.spec)}
        assert self._of_spec <= set(self.values)
        self._kinds = {name: _KINDS.get(name) or _Kind(_plain(types[name])) for name in self.values}
        self.schema = ", ".join(f"{kind.schema} {name}" for name, kind in self._kinds.items())

    def flatten(self, operator: Operator[AnySpec]) -> list[Any]:
        """An operator's values, in the order of the schema."""
        spec = operator.spec
        return [
            kind.there(getattr(spec if name in self._of_spec else operator, name)) for name, kind in self._kinds.items()
        ]

    def unflatten(self, values: Sequence[Any]) -> Operator[AnySpec]:
        """The way back."""
        given = {name: kind.back(value) for (name, kind), value in zip(self._kinds.items(), values, strict=True)}
        spec: Any = self.spec(**{name: given.pop(name) for name in self.values if name in self._of_spec})
        return Operator(spec, **given)

    def forward(self, operator: Operator[AnySpec], inputs: Inputs, out: Tensor) -> None:
        """Write D_T f(X; b) into `out`."""
        backend_for(self.name, out, operator.backend).forward(operator, inputs, out)

    def adjoint_features(self, operator: Operator[AnySpec], inputs: Inputs, grad_features: Sequence[Tensor]) -> None:
        """Write (D_T f)^T G into the maps, every element of them."""
        backend = backend_for(self.name, inputs.grad_output, operator.backend)
        backend.adjoint_features(operator, inputs, grad_features)

    def adjoint_boxes(self, operator: Operator[AnySpec], inputs: Inputs, grad_rois: Tensor) -> None:
        """Write the gradient of <G, D_T f(X; b)> in the rows into all columns but the first."""
        backend_for(self.name, inputs.grad_output, operator.backend).adjoint_boxes(operator, inputs, grad_rois)

    def standard(self, operator: Operator[AnySpec], inputs: Inputs, output_size: tuple[int, ...]) -> Tensor:
        """`forward` in the standard operators of ONNX."""
        answer: Tensor = export_of(self.name).forward(operator, inputs, output_size)
        return answer

    def counts_rows(self, operator: Operator[AnySpec]) -> bool:
        """Whether a RoI's answer depends on its row."""
        return operator.spec.rule == "random"

    @abstractmethod
    def linear_part(self, operator: Operator[AnySpec]) -> Operator[AnySpec]:
        """The operator less what it answers where all features are zero, as outside of a map."""

    @abstractmethod
    def mixes_channels(self, operator: Operator[AnySpec]) -> bool:
        """Whether an answer's channel depends on more than the same channel of the features."""


def _plain(annotation: Any) -> str:
    """The schema's word for the type of a field; a word of a few choices is a string."""
    return {"float": "float", "bool": "bool", "int": "SymInt"}.get(annotation, "str")
