"""A replacement for torch.cuda without a device: the host runs everything, for a rehearsal.

Calls run immediately. A captured graph has therefore run once, and its replays do nothing.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import torch


class Event:
    """An event: a point in time of the host."""

    def __init__(self, enable_timing: bool = False) -> None:
        del enable_timing
        self.moment = 0.0

    def record(self) -> None:
        self.moment = time.perf_counter()

    def elapsed_time(self, end: Event) -> float:
        return 1e3 * (end.moment - self.moment)


class Graph:
    """A captured graph, which has already run."""

    def replay(self) -> None:
        time.sleep(1e-5)


PROPERTIES = SimpleNamespace(
    name="no GPU: a rehearsal", multi_processor_count=1, total_memory=1 << 30, L2_cache_size=4096
)
STREAM = SimpleNamespace(synchronize=lambda: None, wait_stream=lambda _: None)


def fake_cuda() -> None:
    """Replace torch.cuda for the rest of the process."""
    stand_ins: dict[str, Any] = {
        "CUDAGraph": Graph,
        "Event": Event,
        "Stream": lambda: STREAM,
        "current_stream": lambda: STREAM,
        "empty_cache": lambda: None,
        "get_device_properties": lambda _: PROPERTIES,
        "graph": lambda _, stream: nullcontext(stream),
        "max_memory_allocated": lambda: 0,
        "memory_allocated": lambda: 0,
        "reset_peak_memory_stats": lambda: None,
        "stream": nullcontext,
        "synchronize": lambda: None,
    }
    for name, stand_in in stand_ins.items():
        setattr(torch.cuda, name, stand_in)
