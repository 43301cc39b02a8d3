"""Two wirings for every differentiable function: an autograd.Function in eager mode, a custom op where torch traces.

Neither does alone: a custom op knows nothing of forward-mode derivatives, and a Function with them cannot be traced.
A function describes itself once, as a :class:`Primitive`, and gets both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

Layout = tuple[int, ...]
Outputs = tuple[Tensor, ...]


class Inputs(NamedTuple):
    """The tensors of a primitive; in its place, whatever is said of each of them: a gradient, a flag, a dimension."""

    features: tuple[Any, ...]
    """One ``[N, C, H, W]`` map per level."""
    grad_output: Any
    """``[K, C, PH, PW]``."""
    rois: Any
    """``[K, 5]``, in a dtype of its own."""
    levels: Any
    """``[K]`` integers, or None."""
    tangents: tuple[Any, ...]
    """Like `rois`; the first column counts for nothing."""

    def flat(self) -> tuple[list[Any], Layout]:
        """All in a row, and what it takes to put them back: how many each field holds, -1 for one on its own."""
        values: list[Any] = []
        for field in self:
            if isinstance(field, tuple):
                values += field
            else:
                values.append(field)
        return values, tuple([len(field) if isinstance(field, tuple) else -1 for field in self])

    @classmethod
    def of(cls, values: Sequence[Any], layout: Layout) -> Inputs:
        fields, place = [], 0
        for count in layout:
            fields.append(values[place] if count < 0 else tuple(values[place : place + count]))
            place += abs(count)
        return cls(*fields)


class Primitive(ABC):
    """A function of :class:`Inputs` and of a setting that holds no tensor; `torch` sees it by what it says of itself."""

    name: str
    #: The fields of Inputs that it reads, with their types in the schema of the custom op; the others are empty.
    arguments: ClassVar[dict[str, str]]
    #: "Tensor", or "Tensor[]" where there is one answer per level.
    returns: ClassVar[str]

    @property
    @abstractmethod
    def setting_schema(self) -> str:
        """The setting's part of the schema of the custom op."""

    @abstractmethod
    def flatten_setting(self, setting: Any) -> list[Any]:
        """The setting as numbers and strings, in the order of its schema."""

    @abstractmethod
    def unflatten_setting(self, values: Sequence[Any]) -> Any:
        """The way back."""

    @abstractmethod
    def compute(self, setting: Any, inputs: Inputs) -> Outputs:
        """The answer, in memory of its own."""

    @abstractmethod
    def outline(self, setting: Any, inputs: Inputs) -> Outputs:
        """Uninitialised tensors like the answer."""

    @abstractmethod
    def keep(self, setting: Any, inputs: Inputs, needed: Inputs) -> tuple[Any, Inputs]:
        """What :meth:`gradient` will read, None in the place of every other tensor."""

    @abstractmethod
    def gradient(self, setting: Any, inputs: Inputs, grads: Outputs, needed: Inputs) -> Inputs:
        """From the gradients of the outputs to those of the inputs that need one, by differentiable functions."""

    @abstractmethod
    def tangent(self, setting: Any, inputs: Inputs, moved: Inputs) -> Outputs:
        """From tangents of the inputs, None where there is none, to those of the outputs."""

    @abstractmethod
    def batch(self, setting: Any, inputs: Inputs, dims: Inputs, size: int) -> tuple[Outputs, tuple[int, ...]]:
        """The answer where some inputs have one more dimension, and which dimension that is in each output."""

    def standard(self, setting: Any, inputs: Inputs) -> Outputs:
        """The answer by operators that every ONNX runtime has."""
        raise NotImplementedError(f"roialign::{self.name} has no form in standard ONNX operators")

    def wire(self) -> None:
        """Make it known to torch."""
        self.function = _function_of(self)
        self.operator = _operator_of(self)

    def __call__(self, setting: Any, inputs: Inputs) -> Outputs:
        if is_traced(inputs.rois):
            if torch.onnx.is_in_onnx_export():
                return self.standard(setting, inputs)
            arguments = [getattr(inputs, field) for field in self.arguments]
            answer = self.operator(*arguments, *self.flatten_setting(setting))
            return (answer,) if self.returns == "Tensor" else tuple(answer)
        tensors, layout = inputs.flat()
        answer = self.function.apply(setting, layout, *tensors)  # type: ignore[no-untyped-call]
        return answer  # type: ignore[no-any-return]


def is_traced(tensor: Tensor) -> bool:
    """Whether a call is to be recorded, by torch.compile, by export, or by a tensor that is not plain memory."""
    return torch.compiler.is_compiling() or type(tensor) not in (Tensor, torch.nn.Parameter)


def _function_of(primitive: Primitive) -> type[torch.autograd.Function]:
    def forward(setting: Any, layout: Layout, *tensors: Any) -> Outputs:
        return primitive.compute(setting, Inputs.of(tensors, layout))

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        del output
        setting, layout, *tensors = inputs
        needed = Inputs.of(ctx.needs_input_grad[2:], layout)
        ctx.setting, kept = primitive.keep(setting, Inputs.of(tensors, layout), needed)
        ctx.layout = layout
        ctx.save_for_backward(*kept.flat()[0])
        ctx.save_for_forward(*tensors)

    def backward(ctx: Any, *grads: Any) -> tuple[Any, ...]:
        kept = Inputs.of(ctx.saved_tensors, ctx.layout)
        needed = Inputs.of(ctx.needs_input_grad[2:], ctx.layout)
        return None, None, *primitive.gradient(ctx.setting, kept, grads, needed).flat()[0]

    def jvp(ctx: Any, _setting: None, _layout: None, *tangents: Any) -> Outputs:
        inputs = Inputs.of(ctx.saved_tensors, ctx.layout)
        return primitive.tangent(ctx.setting, inputs, Inputs.of(tangents, ctx.layout))

    def vmap(info: Any, dims: Any, setting: Any, layout: Layout, *tensors: Any) -> tuple[Outputs, tuple[int, ...]]:
        return primitive.batch(setting, Inputs.of(tensors, layout), Inputs.of(dims[2:], layout), info.batch_size)

    methods = {function.__name__: staticmethod(function) for function in (forward, setup_context, backward, jvp, vmap)}
    title = "".join(word.capitalize() for word in primitive.name.split("_"))
    return type(title, (torch.autograd.Function,), {**methods, "__doc__": primitive.__doc__})


def _operator_of(primitive: Primitive) -> Any:
    fields = list(primitive.arguments)
    nothing = Inputs((), None, None, None, ())

    def read(arguments: Sequence[Any]) -> tuple[Any, Inputs]:
        given = dict(zip(fields, arguments, strict=False))
        tuples = {field: tuple(value) if isinstance(value, list) else value for field, value in given.items()}
        return primitive.unflatten_setting(arguments[len(fields) :]), nothing._replace(**tuples)

    def one_or_list(outputs: Outputs) -> Any:
        return outputs[0] if primitive.returns == "Tensor" else list(outputs)

    def per_argument(values: Inputs, count: int) -> tuple[Any, ...]:
        own = [list(value) if isinstance(value, tuple) else value for value in (getattr(values, f) for f in fields)]
        return (*own, *[None] * (count - len(fields)))

    def compute(*arguments: Any) -> Any:
        return one_or_list(primitive.compute(*read(arguments)))

    def outline(*arguments: Any) -> Any:
        return one_or_list(primitive.outline(*read(arguments)))

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        del output
        setting, tensors = read(inputs)
        ctx.count = len(inputs)
        ctx.setting, kept = primitive.keep(setting, tensors, _needed(ctx))
        values, ctx.layout = kept.flat()
        ctx.save_for_backward(*values)

    def _needed(ctx: Any) -> Inputs:
        flags = dict(zip(fields, ctx.needs_input_grad, strict=False))
        return Inputs((), False, False, False, ())._replace(
            **{field: tuple(flag) if isinstance(flag, (list, tuple)) else flag for field, flag in flags.items()}
        )

    def backward(ctx: Any, *grads: Any) -> tuple[Any, ...]:
        outputs = grads if primitive.returns == "Tensor" else tuple(grads[0])
        kept = Inputs.of(ctx.saved_tensors, ctx.layout)
        return per_argument(primitive.gradient(ctx.setting, kept, outputs, _needed(ctx)), ctx.count)

    def batch(info: Any, dims: Any, *arguments: Any) -> Any:
        setting, inputs = read(arguments)
        given = {field: tuple(dim) if isinstance(dim, (list, tuple)) else dim for field, dim in zip(fields, dims)}
        outputs, where = primitive.batch(setting, inputs, nothing._replace(**given), info.batch_size)
        return one_or_list(outputs), (where[0] if primitive.returns == "Tensor" else list(where))

    schema = ", ".join(f"{kind} {field}" for field, kind in primitive.arguments.items())
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
