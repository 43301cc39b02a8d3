"""Every differentiable function is an autograd.Function in eager mode, and a custom op when torch traces.

Both are needed: a custom op does not support forward-mode derivatives, and a Function with them cannot be traced. A
function is defined once, as a :class:`Primitive`, and both are made from it.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from operator import is_
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..._derivatives import Inputs, Layout, Outputs
from .kept import keep_tensors, kept_tensors
from .tracing import (
    are_wrapped,
    is_in_memory,
    is_recorded,
    is_traced,
    is_transformed,
    moves_forward,
    without_dead_wrappers,
)


def in_memory(inputs: Inputs) -> Inputs:
    """The tensors with all values in memory, with lazy negation and lazy zeros resolved."""
    values, layout = inputs.flat()
    if all(map(is_in_memory, values)):
        return inputs
    resolved = [value if is_in_memory(value) else value.clone().resolve_neg() for value in values]
    return Inputs.of(resolved, layout)


class Primitive(ABC):
    """A function of :class:`Inputs` and of a setting without tensors, with everything that torch needs to know."""

    name: str
    #: The fields of Inputs that it reads, with their types in the schema of the custom op. The other fields are empty.
    #: A list that may be empty is optional in the schema and passed as None, because AOTInductor does not pass empty
    #: lists.
    arguments: dict[str, str]
    #: "Tensor", or "Tensor[]" if there is one result per level.
    returns: ClassVar[str]

    @property
    @abstractmethod
    def setting_schema(self) -> str:
        """The part of the custom op's schema for the setting."""

    @abstractmethod
    def flatten_setting(self, setting: Any) -> list[Any]:
        """Return the setting as numbers and strings, in the order of its schema."""

    @abstractmethod
    def unflatten_setting(self, values: Sequence[Any]) -> Any:
        """Make a setting from the result of :meth:`flatten_setting`."""

    @abstractmethod
    def compute(self, setting: Any, inputs: Inputs) -> Outputs:
        """Compute the result, in new memory."""

    def compute_with_winners(self, setting: Any, inputs: Inputs) -> Outputs:
        """Compute the result for a later gradient, and the winners as a last output, if the backend keeps them."""
        return self.compute(setting, inputs)

    @abstractmethod
    def outline(self, setting: Any, inputs: Inputs) -> Outputs:
        """Return uninitialised tensors like the result."""

    @abstractmethod
    def keep(self, setting: Any, inputs: Inputs, needed: Inputs) -> tuple[Any, Inputs]:
        """Return the inputs that :meth:`gradient` reads, with None for all other tensors."""

    @abstractmethod
    def with_zeros(self, setting: Any, grads: Sequence[Tensor | None]) -> Outputs:
        """The gradients of the outputs, with zeros for unused outputs."""

    @abstractmethod
    def gradient(self, setting: Any, inputs: Inputs, grads: Outputs, needed: Inputs) -> Inputs:
        """Compute gradients of the inputs that need one from those of the outputs, with differentiable functions."""

    @abstractmethod
    def tangent(self, setting: Any, inputs: Inputs, moved: Inputs) -> Outputs:
        """Compute tangents of the outputs from those of the inputs, which may be None."""

    @abstractmethod
    def batch(self, setting: Any, inputs: Inputs, dims: Inputs, size: int) -> tuple[Outputs, tuple[int, ...]]:
        """Compute the result for inputs with a batch dimension. Also returns the batch dimension of each output."""

    def standard(self, setting: Any, inputs: Inputs) -> Outputs:
        """Compute the result with standard ONNX operators."""
        raise NotImplementedError(f"roialign::{self.name} cannot be exported to ONNX")

    def wire(self) -> None:
        """Register the primitive with torch."""
        self.function = _function_of(self)
        #: Applies the Function without torch.func, which saves the 20 microseconds that Function.apply takes to check
        #: it.
        self.plain_apply = super(torch.autograd.Function, self.function).apply  # type: ignore[misc]
        self.operator = _operator_of(self)

    def __call__(self, setting: Any, inputs: Inputs) -> Outputs:
        if not (is_traced(inputs.rois) or are_wrapped((*inputs.features, inputs.grad_output, inputs.levels))):
            return self.in_eager_mode(setting, inputs)
        if moves_forward():  # a custom op silently drops tangents
            return _untraced(self.in_eager_mode, setting, inputs)
        if torch.onnx.is_in_onnx_export():
            return self.standard(setting, inputs)
        fields = [getattr(inputs, field) for field in self.arguments]
        arguments = [(field or None) if isinstance(field, tuple) else field for field in fields]
        result = self.operator(*arguments, *self.flatten_setting(setting))
        return (result,) if self.returns == "Tensor" else tuple(result)

    def in_eager_mode(self, setting: Any, inputs: Inputs) -> Outputs:
        """Compute with the autograd.Function if something is differentiated or transformed, else directly."""
        tensors, layout = inputs.flat()
        if is_transformed():
            return self.without_winners(self.function.apply(setting, layout, *tensors))  # type: ignore[no-untyped-call]
        unwrapped = without_dead_wrappers(tensors)
        if moves_forward() or is_recorded(unwrapped):
            return self.without_winners(self.plain_apply(setting, layout, *unwrapped))
        if all(map(is_in_memory, unwrapped)) and all(map(is_, tensors, unwrapped)):
            return self.compute(setting, inputs)  # the usual case, fast because small calls are sensitive to overhead
        return self.compute(setting, in_memory(Inputs.of(unwrapped, layout)))

    def without_winners(self, outputs: Outputs) -> Outputs:
        """The outputs of the Function without those that only its gradient reads."""
        return outputs[:1] if self.returns == "Tensor" else outputs


@torch._disable_dynamo  # type: ignore[attr-defined]
def _untraced(function: Callable[..., Outputs], setting: Any, inputs: Inputs) -> Outputs:
    """Break the graph of torch.compile, or raise its error if graph breaks are not allowed."""
    return function(setting, inputs)


def check_not_for_onnx(name: str) -> None:
    """Raise an error if a custom op is traced for an ONNX export, since no runtime supports it.

    Normally, an operator detects the export and uses standard operators. The tracer of torch.compile, which a strict
    export uses, prevents this, and a program that was captured earlier already contains the custom ops.
    """
    if torch.onnx.is_in_onnx_export():
        raise RuntimeError(f"{name} is not an ONNX operator; pass the module to torch.onnx.export, not a program")


def _function_of(primitive: Primitive) -> type[torch.autograd.Function]:
    def forward(setting: Any, layout: Layout, *tensors: Any) -> Outputs:
        inputs = Inputs.of(tensors, layout)
        needs_winners = any(level.requires_grad for level in inputs.features)
        compute = primitive.compute_with_winners if needs_winners else primitive.compute
        if "torch._dynamo" in sys.modules:  # it would trace every frame below a function that it skips
            return _untraced(compute, setting, in_memory(inputs))
        return compute(setting, in_memory(inputs))

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        setting, layout, *tensors = inputs
        needed = Inputs.of(ctx.needs_input_grad[2:], layout)
        ctx.setting, kept = primitive.keep(setting, Inputs.of(tensors, layout), needed)
        ctx.layout, ctx.outputs, ctx.more = layout, len(primitive.without_winners(output)), 0
        if len(output) > ctx.outputs:
            kept, ctx.more = kept._replace(winners=output[-1]), 1
        keep_tensors(ctx, kept.flat()[0])
        ctx.save_for_forward(*tensors)
        ctx.set_materialize_grads(False)  # computing with a tangent of zeros would cost as much as with any other

    def backward(ctx: Any, *grads: Any) -> tuple[Any, ...]:
        kept = Inputs.of(kept_tensors(ctx), ctx.layout)
        if all(grad is None for grad in grads):
            return (None,) * len(ctx.needs_input_grad)
        needed = Inputs.of(ctx.needs_input_grad[2:], ctx.layout)
        complete = primitive.with_zeros(ctx.setting, grads[: ctx.outputs])
        return None, None, *primitive.gradient(ctx.setting, kept, complete, needed).flat()[0]

    def jvp(ctx: Any, _setting: None, _layout: None, *tangents: Any) -> tuple[Any, ...]:
        inputs = Inputs.of(ctx.saved_tensors, ctx.layout)
        found = primitive.tangent(ctx.setting, inputs, Inputs.of(tangents, ctx.layout))
        return *found, *[None] * ctx.more

    def vmap(info: Any, dims: Any, setting: Any, layout: Layout, *tensors: Any) -> tuple[Outputs, tuple[int, ...]]:
        return primitive.batch(setting, Inputs.of(tensors, layout), Inputs.of(dims[2:], layout), info.batch_size)

    methods = {function.__name__: staticmethod(function) for function in (forward, setup_context, backward, jvp, vmap)}
    title = "".join(word.capitalize() for word in primitive.name.split("_"))
    return type(title, (torch.autograd.Function,), {**methods, "__doc__": primitive.__doc__})


class _Arguments:
    """The arguments of a custom op: the fields of Inputs that its primitive reads, then the setting."""

    def __init__(self, primitive: Primitive) -> None:
        self.primitive = primitive
        self.fields = tuple(primitive.arguments)

    def read(self, arguments: Sequence[Any]) -> tuple[Any, Inputs]:
        setting = self.primitive.unflatten_setting(arguments[len(self.fields) :])
        return setting, self.inputs(arguments, None)

    def inputs(self, values: Sequence[Any], missing: Any) -> Inputs:
        """One value per field: a single value, a list or nothing."""
        given = {}
        for (field, kind), value in zip(self.primitive.arguments.items(), values, strict=False):
            given[field] = value
            if kind.startswith("Tensor[]"):
                given[field] = tuple(value) if isinstance(value, (list, tuple)) else ()
        return Inputs((), missing, missing, missing, missing, (), winners=missing)._replace(**given)

    def flags(self, flat: Sequence[bool], like: Sequence[Any]) -> Inputs:
        """Group a flat list with one flag per tensor or None into fields like those of the arguments."""
        left = list(flat)
        flags = [[left.pop(0) for _ in value] if isinstance(value, list) else left.pop(0) for value in like]
        return self.inputs(flags, False)

    def gradients(self, values: Inputs, empty: Sequence[bool]) -> tuple[Any, ...]:
        """The return value of a backward. torch treats every empty list, even of numbers, as a list of tensors."""
        own = [getattr(values, field) for field in self.fields] + [None] * (len(empty) - len(self.fields))
        lists = [(list(value) or None) if isinstance(value, tuple) else value for value in own]
        return tuple([[] if nothing else value for value, nothing in zip(lists, empty, strict=True)])

    def outputs(self, values: tuple[Any, ...]) -> Any:
        return values[0] if self.primitive.returns == "Tensor" else list(values)


def _operator_of(primitive: Primitive) -> Any:
    arguments = _Arguments(primitive)
    schema = ", ".join(f"{kind} {field}" for field, kind in primitive.arguments.items())

    def compute(*values: Any) -> Any:
        setting, inputs = arguments.read(values)
        return arguments.outputs(primitive.compute(setting, in_memory(inputs)))

    def outline(*values: Any) -> Any:
        check_not_for_onnx(f"roialign::{primitive.name}")
        return arguments.outputs(primitive.outline(*arguments.read(values)))

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        del output
        setting, tensors = arguments.read(inputs)
        needed = arguments.flags(ctx.needs_input_grad, inputs[: len(arguments.fields)])
        ctx.setting, kept = primitive.keep(setting, tensors, needed)
        values, ctx.layout = kept.flat()
        ctx.empty = [isinstance(value, list) and not value for value in inputs]
        keep_tensors(ctx, values)

    def backward(ctx: Any, *grads: Any) -> tuple[Any, ...]:
        outputs = grads if primitive.returns == "Tensor" else tuple(grads[0])
        kept = Inputs.of(kept_tensors(ctx), ctx.layout)
        needed = arguments.inputs(ctx.needs_input_grad, False)
        return arguments.gradients(primitive.gradient(ctx.setting, kept, outputs, needed), ctx.empty)

    def batch(info: Any, dims: Any, *values: Any) -> Any:
        setting, inputs = arguments.read(values)
        outputs, where = primitive.batch(setting, inputs, arguments.inputs(dims, None), info.batch_size)
        return arguments.outputs(outputs), arguments.outputs(where)

    operator = torch.library.custom_op(
        f"roialign::{primitive.name}",
        compute,
        mutates_args=(),
        schema=f"({schema}, {primitive.setting_schema}) -> {primitive.returns}",
    )
    operator.register_fake(outline)
    operator.register_autograd(backward, setup_context=setup_context)
    operator.register_vmap(batch)
    return getattr(torch.ops.roialign, primitive.name).default
