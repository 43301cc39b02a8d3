"""The three gradients of a family for tensors: their memory, their schema, and what they keep."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ... import _derivatives
from ..._derivatives import Inputs, Outputs, Setting
from ..memory import empty
from .batching import batch
from .family import Family
from .primitive import Primitive


class Pairing(_derivatives.Pairing):
    """The three primitives of a family of operators."""

    forward: Forward
    adjoint_features: AdjointFeatures
    adjoint_boxes: AdjointBoxes

    def __init__(self, family: Family[Any]) -> None:
        self.family = family
        self.forward = Forward(self)
        self.adjoint_features = AdjointFeatures(self)
        self.adjoint_boxes = AdjointBoxes(self)
        for primitive in (self.forward, self.adjoint_features, self.adjoint_boxes):
            primitive.wire()


class Gradient(_derivatives.Gradient, Primitive):
    """One of the three gradients of phi."""

    __call__ = Primitive.__call__
    returns_boxes: ClassVar[bool] = False
    #: The fields of Inputs that it reads in every family, in the form of `arguments`.
    reads: ClassVar[dict[str, str]]

    def __init__(self, pairing: Pairing) -> None:
        self.pairing = pairing
        self.family = pairing.family
        self.name = f"{self.family.name}_{self.title}"
        self.arguments = {**self.reads, **self.family.more_arguments}

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
        self.check_order(self.family.name, self.family.order, inputs)
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

    @staticmethod
    def zeros_like(level: Tensor) -> Tensor:
        return torch.zeros_like(level)

    def batch(self, setting: Setting, inputs: Inputs, dims: Inputs, size: int) -> tuple[Outputs, tuple[int, ...]]:
        return batch(self, setting, inputs._replace(winners=None), dims._replace(winners=None), size)


class Forward(_derivatives.Forward, Gradient):
    """D_T f(X; b)."""

    returns = "Tensor"
    reads: ClassVar[dict[str, str]] = {
        "features": "Tensor[]",
        "rois": "Tensor",
        "levels": "Tensor?",
        "drawn_seed": "Tensor?",
        "tangents": "Tensor[]?",
    }

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


class AdjointFeatures(_derivatives.AdjointFeatures, Gradient):
    """(D_T f)^T G, for every level."""

    returns = "Tensor[]"
    reads: ClassVar[dict[str, str]] = {
        "grad_output": "Tensor",
        "rois": "Tensor",
        "levels": "Tensor?",
        "drawn_seed": "Tensor?",
        "tangents": "Tensor[]?",
    }

    def outline(self, setting: Setting, inputs: Inputs) -> Outputs:
        like = inputs.grad_output
        return tuple([empty(shape, setting.channels_last, like) for shape in setting.map_shapes])

    def fill(self, setting: Setting, inputs: Inputs, outputs: Outputs) -> None:
        self.family.adjoint_features(setting.operator, inputs, outputs)


class AdjointBoxes(_derivatives.AdjointBoxes, Gradient):
    """The gradient of <G, D_T f(X; b)> in b."""

    returns, returns_boxes = "Tensor", True
    reads: ClassVar[dict[str, str]] = {
        "features": "Tensor[]",
        "grad_output": "Tensor",
        "rois": "Tensor",
        "levels": "Tensor?",
        "drawn_seed": "Tensor?",
        "tangents": "Tensor[]?",
    }

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
