"""Times on a CUDA device: of a call there, of the host that enqueues it, and of copies; and memory at the peak."""

from __future__ import annotations

import statistics
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from .device import DEVICE, IS_REHEARSAL

#: Repeats of a call, fewer where they would take longer than so many seconds, but some.
REPEATS, FEWEST_REPEATS, SECONDS = (1, 1, 0.0) if IS_REHEARSAL else (30, 5, 1.0)
#: Before a clock is read: at least so many calls and so long, since an idle device takes its time to clock up.
WARM_UPS, WARM_UP_SECONDS = (1, 0.0) if IS_REHEARSAL else (5, 0.05)
#: A call of the set of inputs with this number.
Call = Callable[[int], Any]
T = TypeVar("T")


class Times(NamedTuple):
    """Of one call, in microseconds."""

    device: float
    host: float


class Rates(NamedTuple):
    """Bytes read and written per microsecond: by a copy of a gigabyte, and within the L2 cache again and again."""

    memory: float
    cache: float


def times_of(call: Call, sets: int) -> Times:
    return Times(device_microseconds(call, sets), host_microseconds(call, sets))


def device_microseconds(call: Call, sets: int, captured: bool = True) -> float:
    """The median time of one call, over replays of a graph of one call per set of inputs, or over the calls.

    Replays and events are enqueued without waiting: the time in which the host starts a graph on an idle device would
    otherwise count as the call's, between its events.
    """

    def once() -> list[Any]:
        return [call(index) for index in range(sets)]  # all are kept, so that each is written to memory of its own

    run: Callable[[], Any] = once
    stream = torch.cuda.current_stream()
    for _ in range(2):
        once()
    stream.synchronize()
    if captured:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            once()
        run = graph.replay
    repeats = repeats_of(warm_up(run))
    events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repeats)]
    run()  # keeps the device busy until the first of the events is enqueued
    for begin, end in events:
        begin.record()
        run()
        end.record()
    torch.cuda.synchronize()
    return statistics.median(1e3 * begin.elapsed_time(end) / sets for begin, end in events)


def warm_up(run: Callable[[], Any]) -> float:
    """The seconds of one run, at the end of some."""
    first, count, seconds = time.perf_counter(), 0, 0.0
    while count < WARM_UPS or time.perf_counter() - first < WARM_UP_SECONDS:
        begin = time.perf_counter()
        run()
        torch.cuda.synchronize()
        seconds, count = time.perf_counter() - begin, count + 1
    return seconds


def repeats_of(seconds: float) -> int:
    return max(FEWEST_REPEATS, min(REPEATS, int(SECONDS / max(seconds, 1e-9))))


def host_microseconds(call: Call, sets: int) -> float:
    """The median time in which the host enqueues one uncaptured call: of an idle device, and without waiting for it."""
    repeats, times = repeats_of(warm_up(lambda: call(0))), []
    for number in range(repeats):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        answer = call(number % sets)
        times.append(time.perf_counter() - begin)
        del answer  # now, so that the next one finds its memory
    torch.cuda.synchronize()
    return 1e6 * statistics.median(times)


def measure_rates() -> Rates:
    """The best over sizes and operations: a floor that is too high would flatter."""
    cache = cache_bytes()
    within = [pass_rate(kind, cache // share // 4, 64) for kind in ("copy", "negate") for share in (16, 8, 4)]
    return Rates(pass_rate("copy", 1 << 28, 1), max(within))


def pass_rate(kind: str, count: int, repeats: int) -> float:
    """Of a pass over so many float32 numbers, so many times in a row, into other memory."""
    source = torch.rand(count, device=DEVICE)
    target = torch.empty_like(source)

    def call(_: int) -> Tensor:
        return target.copy_(source) if kind == "copy" else torch.neg(source, out=target)

    return 2 * source.nbytes / device_microseconds(call, repeats)


def cache_bytes() -> int:
    size: int = torch.cuda.get_device_properties(0).L2_cache_size
    return size


def sets_of(size: int) -> int:
    """How many sets of so many bytes are three times as large as the L2 cache, so that it does not flatter."""
    return max(2, min(64, -(-3 * cache_bytes() // size)))


def extra_memory(call: Call, moved: int) -> float:
    """At the peak of a call, less its answer: as a fraction of so many bytes, its inputs and outputs."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    answer = call(0)
    torch.cuda.synchronize()
    after = torch.cuda.memory_allocated()
    peak = torch.cuda.max_memory_allocated()
    del answer
    return (peak - max(after, before)) / moved


@contextmanager
def poisoned() -> Iterator[None]:
    """New memory holds NaN, so that what a call does not write is seen: torch fills it so in its deterministic mode."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextmanager
def deterministic() -> Iterator[None]:
    """torch's deterministic mode without that, which takes time; compiled backward passes may run again, and what is
    compiled for one workload does not use up what the next may compile."""
    import torch._dynamo.config as tracer
    import torch._functorch.config as compiler

    # The type checker does not see it: it is a property that torch puts into the module.
    fills = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        with compiler.patch(donated_buffer=False), tracer.patch(recompile_limit=256, accumulated_recompile_limit=1024):
            yield
    finally:
        torch.utils.deterministic.fill_uninitialized_memory = fills  # type: ignore[attr-defined]
        torch.use_deterministic_algorithms(False)


def attempt(action: Callable[[], T]) -> tuple[T | None, list[str]]:
    """Its answer, or why there is none: whatever is wrong with one cell, the others are measured."""
    try:
        return action(), []
    except Exception as error:
        traceback.print_exc()
        torch.cuda.empty_cache()
        text = str(error).strip().splitlines() or [""]
        return None, [f"{type(error).__name__}: {text[0]}"]
