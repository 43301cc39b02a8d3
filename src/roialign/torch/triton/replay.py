"""Replaying of launches, which saves the host most of the time of a call.

The launches of a call depend on its operator and on the shapes, strides, dtypes, addresses modulo 16 and device of its
tensors, but not on their values. The second call with the same ones is therefore recorded, and later ones launch the
same compiled kernels with other addresses. All scratch memory of a replayed call is one allocation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial, update_wrapper
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._C import _len_torch_dispatch_stack, _pop_torch_dispatch_stack, _push_on_torch_dispatch_stack
from torch.utils._python_dispatch import TorchDispatchMode

from ..._derivatives import Inputs
from ...triton import launch as table
from ...triton.launch import STREAM, Compiled, blocks_of, current_stream, is_watched, on_device, sides_of

#: A function of an operator, its inputs and memory for its results.
Function = Callable[[Any, Inputs, Any], None]
#: The number of calls that are remembered, the latest ones. 0 turns replaying off.
KEPT = 1024
#: The alignment of scratch tensors.
ALIGNMENT = 256
#: Allocations. Views are allowed too. Every other operation of torch prevents replaying, since it would be missing.
EMPTY = (
    torch.ops.aten.empty.memory_format,
    torch.ops.aten.empty_like.default,
    torch.ops.aten.empty_strided.default,
    torch.ops.aten.new_empty.default,
    torch.ops.aten.new_empty_strided.default,
)


class Pointer(NamedTuple):
    """An address: an offset from the beginning of a tensor of the call, or of the scratch memory after them."""

    tensor: int
    """The index of the tensor. -1 during the recording, when the offset is the address."""
    offset: int


class Launch(NamedTuple):
    """One launch of a recorded call."""

    run: Callable[..., None]
    """The launcher of the kernel."""
    arguments: list[Any]
    """All arguments of the launcher, with None in place of the stream and of pointers."""
    pointers: list[tuple[int, Pointer]]
    """Pointers, by the index of their argument."""
    lists: list[tuple[int, list[Pointer]]]
    """Tuples of pointers."""

    def located(self, locate: Callable[[Pointer], Pointer]) -> Launch:
        """The same with other pointers."""
        pointers = [(place, locate(pointer)) for place, pointer in self.pointers]
        return self._replace(
            pointers=pointers, lists=[(place, [locate(one) for one in several]) for place, several in self.lists]
        )


class Tape(NamedTuple):
    """The launches of a recorded call."""

    launches: list[Launch]
    scratch: int
    """The bytes of scratch memory."""

    def is_usable(self) -> bool:
        """Whether it has not been forgotten, and nothing has to see the launches of the kernels one by one."""
        return KEPT > 0 and bool(self.launches) and not is_seen()

    def replay(self, addresses: Sequence[int], device: torch.device) -> None:
        """Launch the kernels on the current stream of the device."""
        with on_device(device):
            scratch = torch.empty(self.scratch, dtype=torch.uint8, device=device)
            bases = [*addresses, scratch.data_ptr()]
            stream = current_stream(device)
            for run, given, pointers, lists in self.launches:
                arguments = given.copy()  # other threads may replay the same call
                arguments[STREAM] = stream
                for place, (tensor, offset) in pointers:
                    arguments[place] = bases[tensor] + offset
                for place, several in lists:
                    arguments[place] = tuple([bases[tensor] + offset for tensor, offset in several])
                run(*arguments)


class Recording(TorchDispatchMode):
    """The launches inside a context, and whether a replay of them does the same."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.launches: list[Launch] = []
        self.scratch: list[tuple[int, int]] = []
        """The beginning and end of every allocation. An allocation may use memory that an earlier one has freed."""
        self.is_complete = True

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = operation(*args, **(kwargs or {}))
        if operation in EMPTY:
            self.scratch.append((result.data_ptr(), result.data_ptr() + result.untyped_storage().nbytes()))
        elif not operation.is_view:
            self.is_complete = False
        return result

    # The methods of the base class also set variables of the process, which other threads would see, and import the
    # compiler of torch.
    def __enter__(self) -> Recording:
        table.RECORDER.note = self.note
        _push_on_torch_dispatch_stack(self)
        return self

    def __exit__(self, *error: object) -> None:
        _pop_torch_dispatch_stack(None)
        table.RECORDER.note = None

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def note(self, kernel: Compiled | None, grid: tuple[int, ...], given: tuple[Any, ...]) -> None:
        """Record a launch. No tensor is kept, because later allocations may use the memory of freed ones."""
        if kernel is None:
            self.is_complete = False
            return
        arguments, pointers, lists = kernel.arguments(sides_of(grid), None, given), [], []
        for place, argument in enumerate(arguments):
            if isinstance(argument, Tensor):
                pointers.append((place, Pointer(-1, argument.data_ptr())))
                arguments[place] = None
            elif isinstance(argument, tuple) and any(isinstance(item, Tensor) for item in argument):
                lists.append((place, [Pointer(-1, item.data_ptr()) for item in argument]))
                arguments[place] = None
        self.launches.append(Launch(kernel.run, arguments, pointers, lists))

    def tape(self, tensors: Sequence[Tensor]) -> Tape | None:
        """The tape of a call with these tensors, or None if it cannot be replayed."""
        given = [(address := tensor.data_ptr(), address + extent_of(tensor)) for tensor in tensors]
        blocks = merged(self.scratch)
        is_ambiguous = are_interleaved(given) or any(begin % 16 for begin, _ in blocks)
        if is_ambiguous or not (self.is_complete and self.launches):
            return None
        starts = list(accumulate([blocks_of(end - begin, ALIGNMENT) * ALIGNMENT for begin, end in blocks], initial=0))
        places = [(*memory, Pointer(index, 0)) for index, memory in enumerate(given)]
        places += [(*block, Pointer(len(given), start)) for block, start in zip(blocks, starts, strict=False)]
        try:
            return Tape([launch.located(partial(located, places)) for launch in self.launches], starts[-1])
        except LookupError:
            return None


#: All functions whose launches are replayed.
FUNCTIONS: list[Replayed] = []


class Replayed:
    """A function of an operator, its inputs and memory for its results, whose launches are replayed."""

    def __init__(self, function: Function) -> None:
        self.function = function
        self.tapes: dict[Any, Tape | bool] = {}
        """The tapes of calls. True is a call that has been seen once, False one that cannot be replayed."""
        update_wrapper(self, function)
        FUNCTIONS.append(self)

    def __call__(self, operator: Any, inputs: Inputs, results: Any) -> None:
        tensors, function = tensors_of(inputs, results), self.function
        device = tensors[0].device
        if not (KEPT and tensors[0].is_cuda) or inputs.drawn_seed is not None or is_seen():
            return function(operator, inputs, results)
        addresses = [tensor.data_ptr() for tensor in tensors]
        key = key_of(operator, inputs, tensors, addresses)
        tape = self.tapes.get(key)
        if isinstance(tape, Tape):
            return tape.replay(addresses, device)
        if tape is True:
            with Recording() as recording:
                function(operator, inputs, results)
            self.tapes[key] = recording.tape(tensors) or False
            return None
        if tape is None:  # a call that may never come again
            if len(self.tapes) >= KEPT:
                self.tapes.clear()
            self.tapes[key] = True
        return function(operator, inputs, results)

    def tape_of(self, operator: Any, inputs: Inputs, results: Any) -> Tape | None:
        """The tape of a call, if there is one."""
        tensors = tensors_of(inputs, results)
        tape = self.tapes.get(key_of(operator, inputs, tensors, [tensor.data_ptr() for tensor in tensors]))
        return tape if isinstance(tape, Tape) else None


def is_seen() -> bool:
    """Whether a mode of torch or a profiler of Triton wants to see every step of a call."""
    return _len_torch_dispatch_stack() > 0 or is_watched()


def tensors_of(inputs: Inputs, results: Any) -> list[Tensor]:
    """The tensors of a call, in the order of the addresses that a tape takes."""
    features, gradient, rois, levels, _, tangents, deciding, winners = inputs
    outputs = (results,) if isinstance(results, Tensor) else results
    tensors = [*features, *tangents, *deciding, rois, *outputs]
    return tensors + [tensor for tensor in (gradient, levels, winners) if tensor is not None]


def key_of(operator: Any, inputs: Inputs, tensors: Sequence[Tensor], addresses: Sequence[int]) -> Any:
    """What the launches of a call depend on."""
    return (
        operator,
        tensors[0].device,
        (len(inputs.features), len(inputs.tangents)),
        (inputs.grad_output is None, inputs.levels is None, inputs.winners is None),
        tuple([(tensor.shape, tensor.stride(), tensor.dtype) for tensor in tensors]),
        tuple([(address & 15, addresses.index(address)) for address in addresses]),
    )


def forget() -> None:
    """Forget all recorded calls, after a change of block sizes. Whoever keeps a tape cannot use it any more."""
    for function in FUNCTIONS:
        for tape in function.tapes.values():
            if isinstance(tape, Tape):
                tape.launches.clear()
        function.tapes.clear()


def located(places: Iterable[tuple[int, int, Pointer]], pointer: Pointer) -> Pointer:
    """Convert a recorded address, given where memory begins and ends. A LookupError if it is elsewhere."""
    address = pointer.offset
    for begin, end, start in places:
        if begin <= address < end or begin == address == end:
            return start._replace(offset=start.offset + address - begin)
    raise LookupError


def merged(blocks: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Merge blocks of memory that overlap."""
    found: list[tuple[int, int]] = []
    for begin, end in sorted(blocks):
        if found and begin < found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((begin, end))
    return found


def are_interleaved(blocks: Iterable[tuple[int, int]]) -> bool:
    """Whether blocks of memory overlap that are not the same. An address in both could belong to either."""
    return any(begin < end for (_, end), (begin, _) in pairwise(sorted(set(blocks))))


def extent_of(tensor: Tensor) -> int:
    """The number of bytes from the first element of a tensor to the end of its last one."""
    if tensor.numel() == 0:
        return 0
    steps = [(size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True)]
    return (1 + sum(steps)) * tensor.element_size()
