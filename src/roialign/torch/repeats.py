"""Calls on CUDA tensors that come again, without checks.

The checks of a call read the shapes, strides, dtypes and devices of tensors, but no values. If a call with the same
ones and the same options has passed them, and its launches are recorded, a call only allocates its result and launches
the kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import _validate
from .._derivatives import Inputs, Operator, Setting
from .._options import Options
from . import checks
from .backends import backend_for
from .call import Call
from .wiring.computed import differentiable
from .wiring.kept import check_kept, description_of
from .wiring.tracing import is_plain_call, is_recorded

#: The number of kinds of calls that are remembered, and of functions of each. With one more, all are forgotten.
KEPT = 1024
#: A function whose launches are not recorded after so many calls is not looked up any more.
MOST_TRIED = 3


class Repeat(NamedTuple):
    """A function of a backend, for tensors of a kind, whose launches are recorded."""

    tape: Any
    results: list[tuple[torch.Size, tuple[int, ...], torch.dtype]]
    """The shape, strides and dtype of each result."""

    def run(self, like: Tensor, before: Sequence[Tensor], after: Sequence[Tensor] = ()) -> tuple[Tensor, ...]:
        """Compute results on the device of a tensor from those that come before and after them on the tape."""
        results = tuple([like.new_empty_strided(shape, strides, dtype=dtype) for shape, strides, dtype in self.results])
        self.tape.replay([tensor.data_ptr() for tensor in (*before, *results, *after)], like.device)
        return results


class Kind:
    """The calls with the same options, and with tensors of the same traits: see :func:`traits_of`."""

    def __init__(self, call: Call) -> None:
        self.pairing, self.spec, self.described, self.layout = call.pairing, call.spec, call.described, call.layout
        self.has_levels = call.inputs.levels is not None
        self.map_sizes = tuple([size for level in call.features for size in level.shape])
        self.deciding = len(call.inputs.deciding)
        levels = [call.inputs.levels] if self.has_levels else []
        self.kept = [description_of(tensor) for tensor in (call.rois, *levels, *call.inputs.deciding)]
        setting, _ = call.with_bins((1, 1))
        self.backend = backend_for(self.pairing.family.name, call.features[0], setting.operator.backend)
        self.keeps_winners = call.spec.decides() and hasattr(self.backend, "new_winners")
        self.channels_last = setting.channels_last
        self.repeats: dict[Any, Repeat | int] = {}
        """By what else a function depends on: the size of the result, or the tensors of a gradient. A number is that of
        the calls whose launches were not recorded."""

    def find(self, key: Any) -> Repeat | None:
        repeat = self.repeats.get(key)
        return repeat if isinstance(repeat, Repeat) and repeat.tape.is_usable() else None

    def may_come_again(self, key: Any) -> bool:
        """Whether launches may still be recorded. Those of some calls never are."""
        tried = self.repeats.get(key)
        return not isinstance(tried, int) or tried < MOST_TRIED

    def remember(self, key: Any, name: str, operator: Any, inputs: Inputs, results: Sequence[Tensor]) -> None:
        """Remember a function of the backend that has been called, if its launches are recorded."""
        tape = getattr(self.backend, name).tape_of(operator, inputs, results)
        if tape is None:
            tried = self.repeats.get(key)
            store(self.repeats, key, tried + 1 if isinstance(tried, int) else 1)
            return
        store(self.repeats, key, Repeat(tape, [(result.shape, result.stride(), result.dtype) for result in results]))

    def remember_forward(self, key: Any, call: Call, output: Tensor, with_winners: bool) -> None:
        """Remember the forward pass that has computed this output."""
        if not self.may_come_again(key):
            return
        setting, inputs = call.with_bins((output.shape[2], output.shape[3]))
        if with_winners:
            # The tape is found by their shape and dtype. They need no memory: like every tensor that is allocated, the
            # real ones, which autograd keeps, are aligned.
            winners = self.outlined_winners(setting.operator, inputs.features, output)
            self.remember(key, "forward_with_winners", setting.operator, inputs, (output, winners))
        else:
            self.remember(key, "forward", setting.operator, inputs, (output,))

    def outlined_winners(self, operator: Any, maps: Sequence[Tensor], output: Tensor) -> Tensor:
        """A tensor with the shape and the dtype of the winners, without memory."""
        winners: Tensor = self.backend.new_winners(operator, maps, torch.empty_like(output, device="meta"))
        return winners

    def adjoint_features(self, gradient: Tensor, rois: Tensor, *more: Tensor) -> tuple[Tensor, ...]:
        """The gradient of the features, which is differentiable. `more` are the levels, the deciding maps, and the
        winners, each if there are any."""
        tensors = (gradient, rois, *more)
        levels, more = (more[:1], more[1:]) if self.has_levels else ((), more)
        deciding, winners = more[: self.deciding], more[self.deciding :]
        key = None if is_recorded(tensors) or not is_plain_call(gradient) else traits_of(tensors)
        repeat = None if key is None else self.find(key)
        if repeat is not None:
            return repeat.run(gradient, (*deciding, rois), (gradient, *levels, *winners))
        check_kept((rois, *levels, *deciding), self.kept)
        bins = (gradient.shape[2], gradient.shape[3])
        setting = Setting(Operator(self.spec, *self.described, bins), (), self.map_sizes, self.channels_last)
        if winners:
            check_kept(winners, [description_of(self.outlined_winners(setting.operator, deciding, gradient))])
        level_of, winner_of = (several[0] if several else None for several in (levels, winners))
        inputs = Inputs((), gradient, rois, level_of, None, (), deciding, winner_of)
        results = self.pairing.adjoint_features(setting, inputs)
        if key is not None and self.may_come_again(key):
            self.remember(key, "adjoint_features", setting.operator, inputs, results)
        return results


#: By the options of a call and the traits of its tensors. None if there was one such call, which may never come again.
KINDS: dict[Any, Kind | None] = {}


class KnownCall:
    """A call of a kind that has passed its checks, with the same methods as :class:`Call`."""

    def __init__(self, kind: Kind, arguments: tuple[Any, ...]) -> None:
        self.kind, self.arguments = kind, arguments
        _, features, _, self.rois, options = arguments
        self.levels = (options.levels,) if kind.has_levels else ()
        self.maps = [checks.nchw(level, kind.layout) for level in features]

    @cached_property
    def call(self) -> Call:
        return Call(*self.arguments)

    def forward(self, output_size: tuple[int, int], out: object = None) -> Tensor:
        """As :meth:`Call.forward`."""
        kind, maps, rois = self.kind, self.maps, self.rois
        needs_gradient = is_recorded(maps)
        if out is not None or (rois.requires_grad and torch.is_grad_enabled()):
            return self.call.forward(output_size, out)
        with_winners = needs_gradient and kind.keeps_winners
        key = output_size, with_winners
        repeat = kind.find(key)
        if repeat is None:
            output = self.call.forward(output_size)
            kind.remember_forward(key, self.call, checks.nchw(output, kind.layout), with_winners)
            return output
        before = (*maps, *maps, rois) if kind.deciding else (*maps, rois)
        output, *winners = repeat.run(maps[0], before, self.levels)
        if needs_gradient:
            output = differentiable(output, kind.adjoint_features, (*self._kept(), *winners), maps)
        return checks.own_layout(output, kind.layout)

    def backward(
        self, grad_output: object, need: Sequence[str], names: Sequence[str] = ("features", "rois")
    ) -> tuple[Any, ...]:
        """As :meth:`Call.backward`."""
        kind, maps = self.kind, self.maps
        if tuple(_validate.check_need(need, names)) != (names[0],):
            return self.call.backward(grad_output, need, names)
        gradient = checks.check_grad_output(
            grad_output, maps[0], self.rois.shape[0], kind.layout, partial(kind.spec.out_channels, maps[0].shape[1])
        )
        found = kind.adjoint_features(gradient, *self._kept())
        return [checks.own_layout(level, kind.layout) for level in found], *[None] * (len(names) - 1)

    def _kept(self) -> tuple[Tensor, ...]:
        """The tensors that the gradient of the features reads."""
        deciding = [level.detach() for level in self.maps] if self.kind.deciding else ()
        return self.rois, *self.levels, *deciding


def prepare(
    spec: Any, features: Sequence[Any], scales: Sequence[float], rois: object, options: Options
) -> Call | KnownCall:
    """Check the arguments of a call, unless the same ones have passed the checks."""
    arguments = (spec, features, scales, rois, options)
    key = key_of(*arguments)
    if key is None:
        return Call(*arguments)
    kind = KINDS.get(key)
    if kind is not None:
        return KnownCall(kind, arguments)
    call = Call(*arguments)
    if any(level.data_ptr() != given.data_ptr() for level, given in zip(call.features, features, strict=True)):
        return call  # converted by autocast
    if key not in KINDS:
        store(KINDS, key, None)
        return call
    kind = Kind(call)
    store(KINDS, key, kind)
    known = KnownCall(kind, arguments)
    known.call = call
    return known


def store(memory: dict[Any, Any], key: Any, value: Any) -> None:
    """Remember a value, and forget all others if there are too many."""
    if len(memory) >= KEPT:
        memory.clear()
    memory[key] = value


def key_of(spec: Any, features: Sequence[Any], scales: Sequence[float], rois: Any, options: Options) -> Any:
    """Everything that the checks of a call read, or None if a call is not plain or has other tensors."""
    if not is_plain_call(rois) or spec.rule == "random":
        return None
    batch_indices, layout, invalid, backend, seed, _, levels, assignment, offset, mask, deciding, name, _ = options
    if not (batch_indices is seed is offset is mask is deciding is None) or backend == "reference":
        return None
    traits = traits_of((*features, rois) if levels is None else (*features, rois, levels))
    return None if traits is None else (spec, tuple(scales), layout, invalid, backend, assignment, name, traits)


def traits_of(tensors: Sequence[Any]) -> Any:
    """What the launches of a call depend on, or None if a tensor is not a plain CUDA tensor with memory of its own."""
    traits, addresses = [], []
    for tensor in tensors:
        if type(tensor) is not Tensor or not tensor.is_cuda or not checks.is_dense(tensor) or tensor.is_neg():
            return None
        try:
            address = tensor.data_ptr()
        except RuntimeError:  # a wrapper that a transform of torch.func has left
            return None
        if not address:  # lazy zeros, or no elements
            return None
        traits.append((tensor.shape, tensor.stride(), tensor.dtype, tensor.device, address & 15))
        addresses.append(address)
    shared = None if len(set(addresses)) == len(addresses) else tuple([addresses.index(one) for one in addresses])
    return shared, *traits
