"""Triton's interpreter, several times as fast, with proof of every address, and with blocks that hold a whole answer.

The interpreter's time goes by operations, not by numbers: most of it is spent in making types of blocks, in finding the
type of two operands together and, at every call of a helper, in putting its own functions into `triton.language` again.
All are done once here. Whether sums of integers overflow is not computed, since only its debug mode would look at it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
import triton.language as tl
from torch import Tensor
from triton.runtime import interpreter

from roialign.triton import launch

#: Addresses have no more bits; above them stands which argument of the launch a pointer was made of.
ADDRESS_BITS = np.uint64(48)
ADDRESS = np.uint64((1 << 48) - 1)


class Memory:
    """The elements of a tensor, as places in memory."""

    def __init__(self, tensor: Tensor) -> None:
        self.first, self.size, self.shape = tensor.data_ptr(), tensor.element_size(), tuple(tensor.shape)
        extent = 1 + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride(), strict=True))
        marks = torch.zeros(extent if tensor.numel() else 0, dtype=torch.bool)
        if tensor.numel():
            marks.as_strided(tensor.shape, tensor.stride()).fill_(True)
        self.is_element = marks.numpy()

    def check(self, addresses: np.ndarray[Any, Any], what: str) -> None:
        away = addresses.astype(np.int64) - self.first
        index = away // self.size
        good = (away % self.size == 0) & (index >= 0) & (index < len(self.is_element))
        good[good] = self.is_element[index[good]]
        if not good.all():
            raise AssertionError(f"a {what} {away[~good][0]} bytes from the first element of a tensor {self.shape}")


class Bounds:
    """Whether kernels keep to the tensors that they are given, element by element, and not only to their storage."""

    def __init__(self) -> None:
        self.memories: list[Memory] = []
        self.checked = 0

    def mark(self, tensor: Tensor, pointer: Any) -> None:
        """Pointers made of this one are known by their upper bits."""
        pointer.handle.data = pointer.handle.data | (np.uint64(len(self.memories)) << ADDRESS_BITS)
        self.memories.append(Memory(tensor))

    def check(self, pointers: Any, mask: Any, what: str) -> Any:
        """The pointers without their marks, after a look at those that the mask takes."""
        takes = np.broadcast_to(mask.data.astype(bool), pointers.data.shape)  # they may be bytes
        taken = pointers.data[takes]
        owners = taken >> ADDRESS_BITS
        for owner in np.unique(owners):
            if owner >= len(self.memories):
                raise AssertionError(f"a {what} far from all tensors of the launch")
            self.memories[int(owner)].check(taken[owners == owner] & ADDRESS, what)
        self.checked += taken.size
        return interpreter.TensorHandle(pointers.data & ADDRESS, pointers.dtype)


@contextmanager
def checked() -> Iterator[Bounds]:
    """Every load and every store of a kernel is looked at; one that leaves its tensor fails the launch."""
    bounds, builder = Bounds(), interpreter.InterpreterBuilder
    converted, begun = interpreter._implicit_cvt, interpreter.GridExecutor._init_args_hst
    load, store = builder.create_masked_load, builder.create_masked_store

    def convert(argument: Any) -> Any:
        made = converted(argument)
        if isinstance(argument, Tensor):
            bounds.mark(argument, made)
        return made

    def begin(self: Any, *arguments: Any) -> Any:
        bounds.memories.clear()
        return begun(self, *arguments)

    def checked_load(self: Any, pointers: Any, mask: Any, *rest: Any) -> Any:
        return load(self, bounds.check(pointers, mask, "load"), mask, *rest)

    def checked_store(self: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        return store(self, bounds.check(pointers, mask, "store"), value, mask, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpreter, "_implicit_cvt", convert)
        patch.setattr(interpreter.GridExecutor, "_init_args_hst", begin)
        patch.setattr(builder, "create_masked_load", checked_load)
        patch.setattr(builder, "create_masked_store", checked_store)
        yield bounds


class _Nothing:
    def restore(self) -> None:
        """The language stays as it is until the end of :func:`quick`."""


@contextmanager
def quick() -> Iterator[None]:
    """Types, constants and the interpreter's version of the language are made once."""
    core, semantic = tl.core, type(interpreter.interpreter_semantic)
    patched, patch_language = [], interpreter._patch_lang
    for module in (tl, core):
        patched.append(patch_language(_function_that_sees(module)))
    make_type, make_tensor, unwrap_any = core.block_type.__init__, core.tensor.__init__, core._unwrap_if_constexpr
    builder = interpreter.InterpreterBuilder
    load, store = builder.create_masked_load, builder.create_masked_store
    numpy_type = interpreter._get_np_dtype
    types: dict[Any, Any] = {}
    facts: dict[int, Any] = {}
    numpy_types: dict[str, Any] = {}
    plain = {core.tensor, core.dtype, int, float, bool, type(None)}

    def block_type(cls: Any, element_ty: Any, shape: Any) -> Any:
        key = (element_ty.name, *[side.value if isinstance(side, core.constexpr) else side for side in shape])
        if key not in types:
            types[key] = object.__new__(cls)
            make_type(types[key], element_ty, shape)
        return types[key]

    def tensor(self: Any, handle: Any, kind: Any) -> None:
        if id(kind) in facts:
            self.handle, self.type = handle, kind
            _, self.shape, self.numel, self.dtype = facts[id(kind)]
        else:
            make_tensor(self, handle, kind)
            facts[id(kind)] = (kind, self.shape, self.numel, self.dtype)

    def unwrap(value: Any) -> Any:
        return value if type(value) in plain else unwrap_any(value)

    def get_np_dtype(kind: Any) -> Any:
        if kind.name not in numpy_types:
            numpy_types[kind.name] = numpy_type(kind)
        return numpy_types[kind.name]

    # Triton 3.9's interpreter makes integers of a block and a number that are compared and combined, and its load and
    # store then refuse the mask. The compiler is right.
    def load_with_boolean_mask(self: Any, pointers: Any, mask: Any, *rest: Any) -> Any:
        return load(self, pointers, _boolean(mask), *rest)

    def store_with_boolean_mask(self: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        return store(self, pointers, value, _boolean(mask), *rest)

    # A class that has ever had a function of that name, as it has below, takes no arguments without one.
    core.block_type.__new__ = staticmethod(lambda cls, *_: object.__new__(cls))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpreter, "_patch_lang", lambda _: _Nothing())
        patch.setattr(interpreter, "_get_np_dtype", get_np_dtype)
        patch.setattr(core.block_type, "__new__", staticmethod(block_type))
        patch.setattr(core.block_type, "__init__", lambda *_: None)
        patch.setattr(core.tensor, "__init__", tensor)
        patch.setattr(core, "_unwrap_if_constexpr", unwrap)
        for name in ("broadcast_impl_value", "binary_op_type_checking_impl"):
            patch.setattr(semantic, name, _planned(getattr(semantic, name)))
        patch.setattr(semantic, "binary_op_sanitize_overflow_impl", lambda *_: None)
        patch.setattr(builder, "create_masked_load", load_with_boolean_mask)
        patch.setattr(builder, "create_masked_store", store_with_boolean_mask)
        yield
    for scope in reversed(patched):
        scope.restore()


def _planned(prepare: Any) -> Any:
    """Prepares two operands as before. How follows from their types, and from numbers, so that it is found once."""
    plans: dict[Any, Any] = {}

    def prepared(self: Any, lhs: Any, rhs: Any, *options: bool, **named: bool) -> Any:
        key = (_what_decides(lhs), _what_decides(rhs), options)
        if named or key not in plans:
            made = prepare(self, lhs, rhs, *options, **named)
            if not named:
                steps = _step(lhs, made[0]), _step(rhs, made[1])
                # With the types, which so keep their ids.
                plans[key] = (None if None in steps else steps, *(getattr(one, "type", None) for one in (lhs, rhs)))
            return made
        steps = plans[key][0]
        return (steps[0](lhs), steps[1](rhs)) if steps else prepare(self, lhs, rhs, *options)

    return prepared


def _what_decides(operand: Any) -> Any:
    return id(operand.type) if type(operand) is tl.tensor else (type(operand), operand)


def _step(given: Any, made: Any) -> Any:
    """How an operand becomes what was made of it, or None where its numbers are converted."""
    if type(given) is not tl.tensor:
        made.handle.data.flags.writeable = False
        return lambda _: made
    if made is given:
        return lambda one: one
    if made.type.scalar != given.type.scalar:
        return None
    number_type = None if given.type.is_block() else interpreter._get_np_dtype(given.type)
    kind, element = made.type, made.handle.dtype

    def spread(one: Any) -> Any:
        data = np.empty(kind.shape, number_type or one.handle.data.dtype)
        data[...] = one.handle.data
        return tl.tensor(interpreter.TensorHandle(data, element), kind)

    return spread


def _boolean(mask: Any) -> Any:
    return mask if mask.data.dtype == np.bool_ else interpreter.TensorHandle(mask.data.astype(np.bool_), mask.dtype)


def _function_that_sees(module: Any) -> Any:
    """The interpreter looks for the language among what a function sees."""
    return type("function", (), {"__globals__": {"language": module}})


def hold_whole_answers(patch: pytest.MonkeyPatch) -> None:
    """All bins of a RoI, a tile as large as the maps of small cases, and 64 channels in a program."""
    for name in ("FORWARD", "BOXES", "POINTS_FORWARD", "POINTS_SUMS"):
        for sizes in getattr(launch, name).values():
            for element in sizes:
                patch.setitem(sizes, element, launch.Contraction(256, 64, 1))
    for name in ("FEATURES", "POINTS_FEATURES", "POINTS_FEATURES_MAX", "POINTS_FEATURES_POSITION"):
        for sizes in getattr(launch, name).values():
            for element in sizes:
                patch.setitem(sizes, element, launch.Tiling(16, 16, 64, 1))
    patch.setattr(launch, "TABLE_PIXELS", 16)
    patch.setattr(launch, "POINTS_AT_ONCE", 16)
