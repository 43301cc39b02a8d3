"""All derivatives of an operator that is linear in its features, derived from one scalar function.

Let f(X; b) be the operator, D_t its derivative when the boxes b move along t, and

    phi(G, X, b, T) = <G, D_T f(X; b)>,  T a list of tangents,

which is linear in G, in X and in every tangent. The result for a map of zeros, such as a fill value, is not part of f.
The three gradients of phi are the three functions of a backend:

    forward           dphi/dG = D_T f(X; b)
    adjoint_features  dphi/dX = (D_T f)^T G
    adjoint_boxes     dphi/db

They are closed under differentiation. A cotangent of one of them replaces the variable that it was differentiated by
(G, X, or b, for which it becomes an additional tangent), which gives phi again. Moving b adds another tangent. The code
below therefore covers first and second derivatives, in backward, forward and mixed mode.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from ._levels import Assignment
from ._spec import PointwiseSpec, SeparableSpec

Layout = tuple[int, int, int]
Outputs = tuple[Any, ...]
AnySpec = TypeVar("AnySpec", SeparableSpec, PointwiseSpec)


@dataclass(frozen=True)
class Operator(Generic[AnySpec]):
    """An operator on levels of given scales, with the other options of a call that are not tensors."""

    spec: AnySpec
    scales: tuple[float, ...]
    assignment: Assignment | None = None
    invalid: str | None = None
    backend: str | None = None
    argument: str = "rois"
    """The name of the box argument in error messages."""
    bins: tuple[int, int] = (1, 1)
    """The number of bins, for families whose rows hold values for every bin."""
    has_offset: bool = False
    has_mask: bool = False

    def linear_part(self) -> Operator[AnySpec]:
        """The operator without its result for zero features, such as the fill value outside the map."""
        linear = self.spec.linear_part()
        return self if linear is self.spec else replace(self, spec=linear)


class Setting(NamedTuple):
    """The arguments of a primitive other than tensors."""

    operator: Operator[Any]
    """The operator. Only its family reads its fields."""
    output_size: tuple[int, ...]
    """(PH, PW), which `forward` cannot infer from its inputs. Empty if it is not needed."""
    map_sizes: tuple[int, ...]
    """N, C, H, W of each level in turn, which `adjoint_features` cannot infer."""
    channels_last: bool
    """The memory format of results and of gradients of features."""

    def linear_part(self) -> Setting:
        """The setting without the operator's result for zero features."""
        return self._replace(operator=self.operator.linear_part())

    @property
    def map_shapes(self) -> list[tuple[int, ...]]:
        """The shape (N, C, H, W) of each level."""
        return [self.map_sizes[first : first + 4] for first in range(0, len(self.map_sizes), 4)]


class Inputs(NamedTuple):
    """The tensors of a primitive, or one value for each of them, such as a gradient, a flag or a dimension."""

    features: tuple[Any, ...]
    """One ``[N, C, H, W]`` map per level."""
    grad_output: Any
    """``[K, C, PH, PW]``."""
    rois: Any
    """``[K, 5]`` rows, whose dtype may differ from that of the features."""
    levels: Any
    """The level of each RoI: ``[K]`` integers, or None."""
    drawn_seed: Any
    """The seed as one integer on the device, or None."""
    tangents: tuple[Any, ...]
    """Tangents like `rois`. The first column is ignored."""
    deciding: tuple[Any, ...] = ()
    """The maps that determine the maxima, like `features`. Empty for operators that are linear without them."""
    winners: Any = None
    """The points that have the maxima of `deciding`, in the form of the backend, if the forward pass kept them."""

    def flat(self) -> tuple[list[Any], Layout]:
        """Return a flat list, and its layout: the numbers of features, tangents and deciding maps."""
        features, grad_output, rois, levels, drawn_seed, tangents, deciding, winners = self
        values = [*features, grad_output, rois, levels, drawn_seed, *tangents, *deciding, winners]
        return values, (len(features), len(tangents), len(deciding))

    @classmethod
    def of(cls, values: Sequence[Any], layout: Layout) -> Inputs:
        features, count, _ = layout
        grad_output, rois, levels, drawn_seed = values[features : features + 4]
        first, end = features + 4, features + 4 + count
        maps, tangents, deciding = tuple(values[:features]), tuple(values[first:end]), tuple(values[end:-1])
        return cls(maps, grad_output, rois, levels, drawn_seed, tangents, deciding, values[-1])


class Gradient(ABC):
    """One of the three gradients of phi, with its own derivatives."""

    title: ClassVar[str]
    most_tangents: ClassVar[int]
    #: All three, by which the derivatives are computed.
    pairing: Pairing

    @abstractmethod
    def __call__(self, setting: Setting, inputs: Inputs) -> Outputs:
        """Compute the result. It is differentiable."""

    @abstractmethod
    def paired(self, inputs: Inputs, cotangents: Outputs) -> Inputs:
        """The arguments of phi, with a cotangent in place of the variable that this is the gradient of."""

    @staticmethod
    @abstractmethod
    def zeros_like(level: Any) -> Any:
        """A map of zeros."""

    def check_order(self, name: str, order: int, inputs: Inputs) -> None:
        """Raise an error if a family has no derivatives in the boxes of so high an order."""
        if len(inputs.tangents) > self.most_tangents - 2 + order:
            raise NotImplementedError(f"{name}: derivatives with respect to boxes are implemented up to order {order}")

    def gradient(self, setting: Setting, inputs: Inputs, grads: Outputs, needed: Inputs) -> Inputs:
        functions, phi = self.pairing, self.paired(inputs, grads)
        features: tuple[Any, ...] = (None,) * len(inputs.features)
        grad_output, rois = None, None
        if any(needed.features):
            results = functions.adjoint_features(setting, phi._replace(features=()))
            features = tuple(
                [gradient if need else None for gradient, need in zip(results, needed.features, strict=True)]
            )
        if needed.grad_output:
            (grad_output,) = functions.forward(setting.linear_part(), phi._replace(grad_output=None))
        if needed.rois:
            (rois,) = functions.adjoint_boxes(setting, phi)
        tangents = tuple(
            [
                functions.adjoint_boxes(setting, without_tangent(phi, index))[0] if need else None
                for index, need in enumerate(needed.tangents)
            ]
        )
        return Inputs(features, grad_output, rois, None, None, tangents, (None,) * len(inputs.deciding))

    def tangent(self, setting: Setting, inputs: Inputs, moved: Inputs) -> Outputs:
        """phi is linear in all arguments except the boxes, whose movement adds a tangent."""
        linear = setting.linear_part()
        terms = []
        if any(step is not None for step in moved.features):
            steps = [
                self.zeros_like(level) if step is None else step
                for level, step in zip(inputs.features, moved.features, strict=True)
            ]
            terms.append(inputs._replace(features=tuple(steps)))
        if moved.grad_output is not None:
            terms.append(inputs._replace(grad_output=moved.grad_output))
        if moved.rois is not None:
            terms.append(inputs._replace(tangents=(*inputs.tangents, moved.rois)))
        for index, step in enumerate(moved.tangents):
            if step is not None:
                others = without_tangent(inputs, index).tangents
                terms.append(inputs._replace(tangents=(*others, step)))
        results = [self(linear, term) for term in terms]
        return tuple([sum(parts[1:], parts[0]) for parts in zip(*results, strict=True)])


class Pairing:
    """The three gradients of phi for a family of operators."""

    forward: Gradient
    adjoint_features: Gradient
    adjoint_boxes: Gradient


def without_tangent(inputs: Inputs, index: int) -> Inputs:
    return inputs._replace(tangents=inputs.tangents[:index] + inputs.tangents[index + 1 :])


class Forward(Gradient):
    """D_T f(X; b)."""

    title, most_tangents = "forward", 2

    def paired(self, inputs: Inputs, cotangents: Outputs) -> Inputs:
        return inputs._replace(grad_output=cotangents[0])


class AdjointFeatures(Gradient):
    """(D_T f)^T G, for every level."""

    title, most_tangents = "adjoint_features", 2

    def paired(self, inputs: Inputs, cotangents: Outputs) -> Inputs:
        return inputs._replace(features=tuple(cotangents))


class AdjointBoxes(Gradient):
    """The gradient of <G, D_T f(X; b)> in b."""

    title, most_tangents = "adjoint_boxes", 1

    def paired(self, inputs: Inputs, cotangents: Outputs) -> Inputs:
        return inputs._replace(tangents=(*inputs.tangents, cotangents[0]))
