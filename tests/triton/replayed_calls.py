"""Calls of the backends with a driver that launches nothing, for a GPU that is not there: prints how many launches of
each call were none of a replay, and how many of them went through Triton. Compares the launches of replays with those
that were recorded. In a process of its own, as compiled_kernels.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from itertools import combinations
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor
from triton import knobs
from triton.compiler import compiler
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from benchmarks.gpu.compiler import SHARED, AbsentGPU
from roialign._derivatives import Inputs, Operator
from roialign._levels import Assignment
from roialign._spec import PointwiseSpec, SeparableSpec
from roialign.torch.triton import frames, pointwise, rows, separable, tiles
from roialign.triton import launch

#: A stream.
STREAM = 7
#: RoIs and the offset of tensors in elements: calls that are compared with launches through Triton.
WATCHED = ((70, 0), (71, 0), (86, 0), (70, 1))


class Memory(NamedTuple):
    address: int
    size: int

    def meets(self, other: Memory) -> bool:
        return self.address < other.address + other.size and other.address < self.address + self.size


class Launched(NamedTuple):
    kernel: str
    grid: tuple[int, int, int]
    arguments: tuple[Any, ...]


class Watched(AbsentGPU):
    """A driver that notes every launch. Tensors are not kept, so that their memory is used again."""

    utils = SimpleNamespace(load_binary=lambda name, kernel, *_: (1, f"{name} {hash(kernel)}", 100, 0, 1024))

    def __init__(self) -> None:
        super().__init__()
        self.launches: list[Launched] = []

    def get_current_stream(self, device: int | None = None) -> int:
        del device
        return STREAM

    def launcher_cls(self, *_: Any) -> Callable[..., None]:
        def note(x: int, y: int, z: int, stream: int, function: str, metadata: Any, *rest: Any) -> None:
            assert stream == STREAM
            del metadata
            self.launches.append(Launched(function, (x, y, z), tuple(map(memory_of, rest[3:]))))

        return note


def memory_of(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(memory_of, value))
    return Memory(value.data_ptr(), value.nbytes) if isinstance(value, Tensor) else value


def pairs_of(recorded: Any, found: Any) -> list[tuple[Memory, int]]:
    """The memory of tensors of a recorded call, and its address in a replay. All other arguments are equal."""
    if isinstance(recorded, Memory):
        return [(recorded, found.address if isinstance(found, Memory) else found)]
    if not isinstance(recorded, tuple):
        assert recorded == found
        return []
    assert len(recorded) == len(found)
    return [pair for one, other in zip(recorded, found, strict=True) for pair in pairs_of(one, other)]


def compare(recorded: list[Launched], found: list[Launched], tensors: list[tuple[Tensor, Tensor]]) -> None:
    """Check that a replay launched the same as the recorded call, with its own tensors in place of the other's."""
    pairs = pairs_of(tuple(recorded), tuple(found))
    moved: dict[Memory, int] = {}
    for memory, address in pairs:
        given = [(one, other) for one, other in tensors if memory_of(one).meets(memory)]
        for one, other in given:
            assert address - other.data_ptr() == memory.address - one.data_ptr()
        if not given and memory.size:
            assert address % 16 == 0
            assert moved.setdefault(memory, address) == address, "one scratch tensor in two places"
    for (one, address), (other, other_address) in combinations(moved.items(), 2):
        if not one.meets(other):
            assert not Memory(address, one.size).meets(Memory(other_address, other.size)), "scratch tensors overlap"


def tensors_of(count: int, dtype: torch.dtype, offset: int) -> list[Tensor]:
    """Two maps, RoIs, their gradient, a result, a gradient of two maps, and winners."""
    shapes = [(1, 16, 24, 32), (1, 16, 12, 16), (count, 5), (count, 5), (count, 16, 7, 7)]
    shapes += shapes[:2]
    sizes = [torch.Size(shape).numel() for shape in shapes]
    tensors = [
        torch.zeros(offset + size, dtype=dtype)[offset:].reshape(shape)
        for size, shape in zip(sizes, shapes, strict=True)
    ]
    return [*tensors, torch.zeros(count, 49, 16, dtype=torch.int32)]


def separable_calls(tensors: list[Tensor], tangents: tuple[Tensor, ...] = ()) -> list[partial[None]]:
    first, second, rois, grad_rois, out, *grads, _ = tensors
    operator = Operator(SeparableSpec("grid", (2, 2), offset=0.5), (0.5, 0.25), Assignment(224, 4), "zero")
    phi = Inputs((first, second), out, rois, None, None, tangents)
    return [
        partial(separable.forward, operator, phi._replace(grad_output=None), out),
        partial(separable.adjoint_features, operator, phi._replace(features=()), tuple(grads)),
        partial(separable.adjoint_boxes, operator, phi, grad_rois),
    ]


def pointwise_calls(tensors: list[Tensor]) -> list[partial[None]]:
    first, _, rois, _, out, grad, _, winners = tensors
    operator = Operator(PointwiseSpec("rounded", "pixels", "max"), (0.5,), None, "zero", bins=(7, 7))
    phi = Inputs((first,), out, rois, None, None, (), (first,))
    return [
        partial(pointwise.forward, operator, phi._replace(grad_output=None), out),
        partial(pointwise.forward_with_winners, operator, phi._replace(grad_output=None), (out, winners)),
        partial(pointwise.adjoint_features, operator, phi._replace(features=(), winners=winners), (grad,)),
    ]


def main() -> None:
    watched, run, counts = Watched(), JITFunction.run, {"ordinary": 0, "through Triton": 0}
    recorded: dict[Any, tuple[list[Launched], list[Tensor]]] = {}

    def through_triton(self: Any, *arguments: Any, **options: Any) -> Any:
        counts["through Triton"] += 1
        return run(self, *arguments, **options)

    def counted_launch(*arguments: Any, **constants: Any) -> None:
        counts["ordinary"] += 1
        launch.launch(*arguments, **constants)

    def counts_of(
        calls_of: Callable[[list[Tensor]], list[partial[None]]],
        count: int,
        dtype: torch.dtype = torch.float32,
        offset: int = 0,
    ) -> list[list[int]]:
        """For some calls, the launches that were none of a replay, and those of them that went through Triton. All
        launches are compared with those of the last call of the same kind that was no replay."""
        tensors, found = tensors_of(count, dtype, offset), []
        for call in calls_of(tensors):
            watched.launches = []
            counts.update(dict.fromkeys(counts, 0))
            call()
            key = (call.func, count, dtype, offset)
            if not counts["ordinary"]:
                launches, others = recorded[key]
                compare(launches, watched.launches, list(zip(others, tensors, strict=True)))
            else:
                pairs_of(tuple(recorded.get(key, (watched.launches,))[0]), tuple(watched.launches))
                recorded[key] = (watched.launches, tensors)
            found.append(list(counts.values()))
        return found

    driver.set_active(watched)
    separable.launch = pointwise.launch = frames.launch = tiles.launch = counted_launch  # type: ignore[attr-defined]
    with (
        patch.object(torch.Tensor, "is_cuda", property(lambda _: True)),
        patch.object(compiler, "max_shared_mem", lambda _: SHARED),
        patch.object(JITFunction, "run", through_triton),
    ):
        answers: dict[str, list[list[list[int]]]] = {}
        for name, call in (("separable", separable_calls), ("pointwise", pointwise_calls)):
            answers[name] = [counts_of(call, 70) for _ in range(4)]
        answers["other numbers"] = [counts_of(separable_calls, count) for count in (71, 86)]
        answers["other dtype"] = [counts_of(separable_calls, 70, torch.float64)]
        answers["other alignment"] = [counts_of(separable_calls, 70, offset=1) for _ in range(3)]
        answers["several parts"] = [counts_of(separable_calls, 3000) for _ in range(3)]
        with patch.object(rows, "MOST_TABLES", 0), patch.object(rows, "EXTRA_OF_SUMS", 0.0):
            for name, call in (("separable", separable_calls), ("pointwise", pointwise_calls)):
                answers[f"parts of sums, {name}"] = [counts_of(call, 101) for _ in range(3)]
            answers["rounded sums"] = [counts_of(separable_calls, 101, torch.float16) for _ in range(3)]
        with patch.object(knobs.runtime, "launch_enter_hook", lambda _: None):
            answers["profiler"] = [counts_of(separable_calls, count, offset=offset) for count, offset in WATCHED]
        moved = torch.ones(70, 5)
        answers["converted tangents"] = [
            counts_of(lambda tensors: separable_calls(tensors, (moved,)), 70, offset=2) for _ in range(3)
        ]
    print(json.dumps(["calls", answers]))  # noqa: T201


if __name__ == "__main__":
    main()
