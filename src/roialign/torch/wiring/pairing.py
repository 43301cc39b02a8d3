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

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..memory import empty
from .batching import batch
from .family import Family, Setting
from .primitive import Inputs, Outputs, Primitive


class Pairing:
    """The three primitives of a family of operators."""

    def __init__(self, family: Family[Any]) -> None:
        self.family = family
        self.forward = Forward(self)
        self.adjoint_features = AdjointFeatures(self)
        self.adjoint_boxes = AdjointBoxes(self)
        for primitive in (self.forward, self.adjoint_features, self.adjoint_boxes):
            primitive.wire()


class Gradient(Primitive):
    """One of the three gradients of phi."""

    title: ClassVar[str]
    most_tangents: ClassVar[int]
    returns_boxes: ClassVar[bool] = False
    #: The fields of Inputs that it reads in every family, in the form of `arguments`.
    reads: ClassVar[dict[str, str]]

    def __init__(self, pairing: Pairing) -> None:
        self.pairing = pairing
        self.family = pairing.family
        self.name = f"{self.family.name}_{self.title}"
        self.arguments = {**self.reads, **self.family.more_arguments}

    @abstractmethod
    def paired(self, inputs: Inputs, cotangents: Outputs) -> Inputs:
        """The arguments of phi, with a cotangent in place of the variable that this is the gradient of."""

    @abstractmethod
    def fill(self, setting: Setting, inputs: Inputs, outputs: Outputs) -> None:
        """Compute the result with the function of the family, for plain tensors."""

    @property
    def setting_schema(self) -> str:
        return f"SymInt[]? output_size, SymInt[]? map_sizes, bool channels_last, {self.family.schema}"

    def flatten_setting(self, setting: Setting) -> list[Any]:
        if any(isinstance(size, Tensor) for size in setting.map_sizes):
            raise NotImplementedError(
                "torch.jit.trace cannot record the gradient of features, because it would make their size a constant; "
                "use torch.export, or trace only the forward pass and differentiate the traced function"
            )
        return [
            list(setting.output_size) or None,
            list(setting.map_sizes) or None,
            setting.channels_last,
            *self.family.flatten(setting.operator),
        ]

    def unflatten_setting(self, values: Sequence[Any]) -> Setting:
        output_size, map_sizes, channels_last, *call = values
        bins = tuple(output_size or ())[-2:]  # programs saved by earlier versions have the channels first
        return Setting(self.family.unflatten(call), bins, tuple(map_sizes or ()), channels_last)

    def compute(self, setting: Setting, inputs: Inputs) -> Outputs:
        outputs = self.new_outputs(setting, inputs)
        if not outputs[0].is_meta:  # meta tensors have only an outline
            self.fill(setting, inputs, outputs)
        return outputs

    def new_outputs(self, setting: Setting, inputs: Inputs) -> Outputs:
        """Memory for the result of inputs that have been checked."""
        if len(inputs.tangents) > self.most_tangents - 2 + self.family.order:
            raise NotImplementedError(
                f"{self.family.name}: derivatives with respect to boxes are implemented up to order {self.family.order}"
            )
        return self.outline(setting, inputs)

    def keep(self, setting: Setting, inputs: Inputs, needed: Inputs) -> tuple[Setting, Inputs]:
        boxes_move = needed.rois or any(needed.tangents)
        if inputs.features:
            setting = setting._replace(map_sizes=tuple([size for level in inputs.features for size in level.shape]))
            if not (boxes_move or needed.grad_output):
                inputs = inputs._replace(features=(None,) * len(inputs.features))
        if inputs.grad_output is not None:
            setting = setting._replace(output_size=tuple(inputs.grad_output.shape[2:]))
            if not (boxes_move or any(needed.features)):
                inputs = inputs._replace(grad_output=None)
        return setting, inputs

    def with_zeros(self, setting: Setting, grads: Sequence[Tensor | None]) -> Outputs:
        used = [grad for grad in grads if grad is not None]
        if len(used) == len(grads):
            return tuple(used)
        # Only the maps of a pyramid have several outputs.
        return tuple(
            [
                used[0].new_zeros(shape) if grad is None else grad
                for grad, shape in zip(grads, setting.map_shapes, strict=True)
            ]
        )

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
            (grad_output,) = functions.forward(self._linear(setting), phi._replace(grad_output=None))
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
        linear = self._linear(setting)
        terms = []
        if any(step is not None for step in moved.features):
            steps = [
                torch.zeros_like(level) if step is None else step
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

    def _linear(self, setting: Setting) -> Setting:
        return setting._replace(operator=self.family.linear_part(setting.operator))

    def batch(self, setting: Setting, inputs: Inputs, dims: Inputs, size: int) -> tuple[Outputs, tuple[int, ...]]:
        return batch(self, setting, inputs._replace(winners=None), dims._replace(winners=None), size)


def without_tangent(inputs: Inputs, index: int) -> Inputs:
    return inputs._replace(tangents=inputs.tangents[:index] + inputs.tangents[index + 1 :])


class Forward(Gradient):
    """D_T f(X; b)."""

    title, returns, most_tangents = "forward", "Tensor", 2
    reads: ClassVar[dict[str, str]] = {
        "features": "Tensor[]",
        "rois": "Tensor",
        "levels": "Tensor?",
        "drawn_seed": "Tensor?",
        "tangents": "Tensor[]?",
    }

    def paired(self, inputs: Inputs, cotangents: Outputs) -> Inputs:
        return inputs._replace(grad_output=cotangents[0])

    def outline(self, setting: Setting, inputs: Inputs) -> Outputs:
        first, bins = inputs.features[0], setting.output_size
        channels = setting.operator.spec.out_channels(first.shape[1], bins)
        return (empty((inputs.rois.shape[0], channels, *bins), setting.channels_last, like=first),)

    def fill(self, setting: Setting, inputs: Inputs, outputs: Outputs) -> None:
        self.family.forward(setting.operator, inputs, outputs[0])

    def compute_with_winners(self, setting: Setting, inputs: Inputs) -> Outputs:
        if inputs.winners is not None or inputs.rois.is_meta:
            return self.compute(setting, inputs)
        (output,) = self.new_outputs(setting, inputs)
        winners = self.family.forward_with_winners(setting.operator, inputs, output)
        return (output,) if winners is None else (output, winners)

    def standard(self, setting: Setting, inputs: Inputs) -> Outputs:
        if inputs.tangents:
            return super().standard(setting, inputs)
        return (self.family.standard(setting.operator, inputs, setting.output_size),)


class AdjointFeatures(Gradient):
    """(D_T f)^T G, for every level."""

    title, returns, most_tangents = "adjoint_features", "Tensor[]", 2
    reads: ClassVar[dict[str, str]] = {
        "grad_output": "Tensor",
        "rois": "Tensor",
        "levels": "Tensor?",
        "drawn_seed": "Tensor?",
        "tangents": "Tensor[]?",
    }

    def paired(self, inputs: Inputs, cotangents: Outputs) -> Inputs:
        return inputs._replace(features=tuple(cotangents))

    def outline(self, setting: Setting, inputs: Inputs) -> Outputs:
        like = inputs.grad_output
        return tuple([empty(shape, setting.channels_last, like) for shape in setting.map_shapes])

    def fill(self, setting: Setting, inputs: Inputs, outputs: Outputs) -> None:
        self.family.adjoint_features(setting.operator, inputs, outputs)


class AdjointBoxes(Gradient):
    """The gradient of <G, D_T f(X; b)> in b."""

    title, returns, most_tangents, returns_boxes = "adjoint_boxes", "Tensor", 1, True
    reads: ClassVar[dict[str, str]] = {
        "features": "Tensor[]",
        "grad_output": "Tensor",
        "rois": "Tensor",
        "levels": "Tensor?",
        "drawn_seed": "Tensor?",
        "tangents": "Tensor[]?",
    }

    def paired(self, inputs: Inputs, cotangents: Outputs) -> Inputs:
        return inputs._replace(tangents=(*inputs.tangents, cotangents[0]))

    def outline(self, setting: Setting, inputs: Inputs) -> Outputs:
        del setting
        rois = inputs.rois
        return (
            torch.zeros(
                rois.shape, dtype=rois.dtype if rois.is_floating_point() else torch.float64, device=rois.device
            ),
        )

    def fill(self, setting: Setting, inputs: Inputs, outputs: Outputs) -> None:
        self.family.adjoint_boxes(setting.operator, inputs, outputs[0])
