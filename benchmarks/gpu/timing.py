"""Measure times on a CUDA device (of calls, of the host that enqueues them, and of copies) and peak memory."""

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

#: Number of repeats of a call; fewer if they would take longer than these seconds, but at least a minimum.
REPEATS, FEWEST_REPEATS, SECONDS = (1, 1, 0.0) if IS_REHEARSAL else (30, 5, 1.0)
#: Warm up with at least this many calls and this much time, because an idle device needs time to raise its clock.
WARM_UPS, WARM_UP_SECONDS = (1, 0.0) if IS_REHEARSAL else (5, 0.05)
#: Number of float32 values of a copy that is larger than the L2 cache.
COPIED = (1 << 20,) if IS_REHEARSAL else (1 << 28, 1 << 29)
#: A call with the input set of this number.
Call = Callable[[int], Any]
T = TypeVar("T")


class Times(NamedTuple):
    """Times of one call, in microseconds."""

    device: float
    host: float


class Rates(NamedTuple):
    """Bytes read and written per microsecond, by copies of gigabytes and by repeated copies within the L2 cache."""

    memory: float
    cache: float


def times_of(call: Call, sets: int) -> Times:
    return Times(device_microseconds(call, sets), host_microseconds(call, sets))


def peer_times_of(call: Call, sets: int) -> Times:
    """The same for a peer, which is timed directly if it cannot be captured."""
    times, _ = attempt(lambda: times_of(call, sets))
    return times or Times(device_microseconds(call, sets, captured=False), host_microseconds(call, sets))


def device_microseconds(call: Call, sets: int, captured: bool = True) -> float:
    """Return the median time of one call, over replays of a graph with one call per input set, or over direct calls.

    Replays and events are enqueued without waiting. Otherwise, the time in which the host starts a graph on an idle
    device would be included.
    """

    def once() -> list[Any]:
        return [call(index) for index in range(sets)]  # keep all outputs, so that each has its own memory

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
    run()  # keeps the device busy until the first event is enqueued
    for begin, end in events:
        begin.record()
        run()
        end.record()
    torch.cuda.synchronize()
    return statistics.median(1e3 * begin.elapsed_time(end) / sets for begin, end in events)


def warm_up(run: Callable[[], Any]) -> float:
    """Return the seconds of one run, from the last of several."""
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
    """Return the median time in which the host enqueues one uncaptured call on an idle device."""
    repeats, times = repeats_of(warm_up(lambda: call(0))), []
    for number in range(repeats):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        answer = call(number % sets)
        times.append(time.perf_counter() - begin)
        del answer  # release it now, so that the next call reuses its memory
    torch.cuda.synchronize()
    return 1e6 * statistics.median(times)


def measure_rates() -> Rates:
    """Return the best rate over sizes and operations, because a floor that is too high would make our ratios look
    better."""
    cache, kinds = cache_bytes(), ("copy", "negate")
    across = [pass_rate(kind, count, 1) for kind in kinds for count in COPIED]
    within = [pass_rate(kind, cache // share // 4, 64) for kind in kinds for share in (16, 8, 4)]
    return Rates(max(across), max(within))


def pass_rate(kind: str, count: int, repeats: int) -> float:
    """Measure passes over this many float32 values, this many times in a row, into other memory."""
    source = torch.rand(count, device=DEVICE)
    target = torch.empty_like(source)

    def call(_: int) -> Tensor:
        return target.copy_(source) if kind == "copy" else torch.neg(source, out=target)

    return 2 * source.nbytes / device_microseconds(call, repeats)


def cache_bytes() -> int:
    size: int = torch.cuda.get_device_properties(0).L2_cache_size
    return size


def sets_of(size: int) -> int:
    """Return how many input sets of this size are three times as large as the L2 cache, so that the cache does not
    help."""
    return max(2, min(64, -(-3 * cache_bytes() // size)))


def extra_memory(call: Call, moved: int) -> float:
    """Return the peak memory of a call without its output, as a fraction of the bytes of its inputs and outputs."""
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
    """Fill new memory with NaN to detect unwritten elements. torch does this in its deterministic mode."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextmanager
def deterministic() -> Iterator[None]:
    """Use torch's deterministic mode without this filling, which takes time. Compiled backward passes may run again,
    and each workload gets its own compilation limit."""
    import torch._dynamo.config as tracer
    import torch._functorch.config as compiler

    # The type checker does not see this property, which torch adds to the module.
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
    """Return the result, or the reason for the failure, so that one failing cell does not stop the others."""
    try:
        return action(), []
    except Exception as error:
        traceback.print_exc()
        torch.cuda.empty_cache()
        text = str(error).strip().splitlines() or [""]
        return None, [f"{type(error).__name__}: {text[0]}"]
