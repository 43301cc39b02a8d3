"""The three gradients of a family as primitives of JAX: outline, derivatives, batching and lowering of each."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir, xla

from ... import _derivatives
from ..._array_checks import nchw_shape
from ..._derivatives import Inputs, Outputs, Setting
from .. import varying
from ..dtypes import gradient_dtype
from .batching import Batch, batch
from .lowering import lower, refuse, register
from .signature import Signature, signature_of

#: The order of derivatives in the boxes that a family has.
ORDERS = {"separable": 2, "pointwise": 1}


class Pairing(_derivatives.Pairing):
    """The three primitives of a family of operators."""

    def __init__(self, family: str) -> None:
        self.family = family
        self.forward: Gradient = Forward(self)
        self.adjoint_features: Gradient = AdjointFeatures(self)
        self.adjoint_boxes: Gradient = AdjointBoxes(self)


class Gradient(_derivatives.Gradient):
    """One of the three gradients of phi."""

    def __init__(self, pairing: Pairing) -> None:
        self.pairing, self.family = pairing, pairing.family
        self.name = f"{self.family}_{self.title}"
        self.primitive = primitive = Primitive(f"roialign_{self.name}")
        primitive.multiple_results = True
        primitive.def_impl(partial(xla.apply_primitive, primitive))
        primitive.def_abstract_eval(self._outline)
        ad.primitive_jvps[primitive] = self._move
        ad.primitive_transposes[primitive] = self._transpose
        batching.primitive_batchers[primitive] = self._batch
        mlir.register_lowering(primitive, partial(lower, self.name), platform="cpu")
        mlir.register_lowering(primitive, partial(refuse, self.name))

    def __call__(self, setting: Setting, inputs: Inputs) -> Outputs:
        self.check_order(self.family, ORDERS[self.family], inputs)
        if inputs.features:
            sizes = [size for level in inputs.features for size in nchw(level.shape, setting.channels_last)]
            setting = setting._replace(map_sizes=tuple(sizes))
        if inputs.grad_output is not None:
            setting = setting._replace(output_size=nchw(inputs.grad_output.shape, setting.channels_last)[2:])
        signature = signature_of(inputs)
        arrays = varying.alike(signature.flatten(inputs))
        return tuple(self.primitive.bind(*arrays, setting=setting, signature=signature))

    @staticmethod
    def zeros_like(level: Any) -> Any:
        return jnp.zeros_like(level)

    @abstractmethod
    def outline(self, setting: Setting, inputs: Inputs) -> list[tuple[tuple[int, ...], Any]]:
        """The shape (N, C, H, W) or (K, columns), and the dtype, of every result."""

    def _outline(self, *arrays: Any, setting: Setting, signature: Signature) -> list[Any]:
        return [
            varying.outline(shape if len(shape) == 2 else own(shape, setting.channels_last), dtype, arrays[0])
            for shape, dtype in self.outline(setting, signature.group(arrays))
        ]

    def _move(
        self, primals: Sequence[Any], tangents: Sequence[Any], setting: Setting, signature: Signature
    ) -> tuple[Outputs, Outputs]:
        inputs = signature.group(primals)
        moved = signature.group([None if _is_still(tangent) else tangent for tangent in tangents])
        results = self(setting, inputs)
        is_linear = any(step is not None for step in [*moved.features, moved.grad_output, moved.rois, *moved.tangents])
        return results, self.tangent(setting, inputs, moved) if is_linear else tuple(map(jnp.zeros_like, results))

    def _transpose(self, grads: Sequence[Any], *arrays: Any, setting: Setting, signature: Signature) -> list[Any]:
        if all(type(grad) is ad.Zero for grad in grads):
            return [None] * len(arrays)
        needed = signature.group([ad.is_undefined_primal(array) for array in arrays])
        inputs = signature.group(arrays)
        complete = tuple([ad.instantiate_zeros(grad) for grad in grads])
        return signature.flatten(self.gradient(setting, inputs, complete, needed))

    def _batch(
        self, arrays: Sequence[Any], dims: Sequence[Any], setting: Setting, signature: Signature
    ) -> tuple[Outputs, tuple[int, ...]]:
        has_axis = [dim is not None for dim in dims]
        first = [array if dim is None else jnp.moveaxis(array, dim, 0) for array, dim in zip(arrays, dims, strict=True)]
        size = first[has_axis.index(True)].shape[0]
        return batch(self, setting, Batch(signature, signature.group(first), signature.group(has_axis), size))


class Forward(_derivatives.Forward, Gradient):
    """D_T f(X; b)."""

    def outline(self, setting: Setting, inputs: Inputs) -> list[tuple[tuple[int, ...], Any]]:
        bins = setting.output_size
        channels = setting.operator.spec.out_channels(setting.map_sizes[1], bins)
        return [((inputs.rois.shape[0], channels, *bins), inputs.features[0].dtype)]


class AdjointFeatures(_derivatives.AdjointFeatures, Gradient):
    """(D_T f)^T G, for every level."""

    def outline(self, setting: Setting, inputs: Inputs) -> list[tuple[tuple[int, ...], Any]]:
        return [(shape, inputs.grad_output.dtype) for shape in setting.map_shapes]


class AdjointBoxes(_derivatives.AdjointBoxes, Gradient):
    """The gradient of <G, D_T f(X; b)> in b."""

    def outline(self, setting: Setting, inputs: Inputs) -> list[tuple[tuple[int, ...], Any]]:
        del setting
        return [(inputs.rois.shape, gradient_dtype(inputs.rois))]


def nchw(shape: Sequence[int], channels_last: bool) -> tuple[int, ...]:
    """The sizes of an array in the order (N, C, H, W)."""
    return nchw_shape(shape, "NHWC" if channels_last else "NCHW")


def own(shape: Sequence[int], channels_last: bool) -> tuple[int, ...]:
    """The shape of an array of sizes (N, C, H, W)."""
    n, c, h, w = shape
    return (n, h, w, c) if channels_last else (n, c, h, w)


def _is_still(tangent: Any) -> bool:
    """Whether a tangent is zero, as it is for all integers."""
    return type(tangent) is ad.Zero or tangent.dtype == jax.dtypes.float0


register()
#: The primitives by the name of the family.
PAIRINGS = {family: Pairing(family) for family in ORDERS}
