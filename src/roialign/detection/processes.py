"""Communication between the processes of a distributed training. A single process gets its own values back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import distributed

from .._signals import is_one_of_several

_T = TypeVar("_T")

#: What to do about a wrong environment variable.
_ADVICE = "; torchrun sets this environment variable. To train in a single process, unset WORLD_SIZE"


@contextmanager
def launched_processes(device: torch.device) -> Iterator[torch.device]:
    """Context manager: join the process group that `torchrun` launched. Gives the device of this process.

    Raises
    ------
    ValueError
        If an environment variable that `torchrun` sets is missing or wrong. The message names it.
    """
    count = os.environ.get("WORLD_SIZE", "")
    if count and not count.isdecimal():
        raise ValueError(f"WORLD_SIZE: expected the number of processes, got {count}{_ADVICE}")
    if not is_one_of_several() or _together():
        yield device
        return
    _check_launch()
    if device.type == "cuda":
        device = torch.device("cuda", _number("LOCAL_RANK", torch.cuda.device_count(), "0"))
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
    finally:
        distributed.destroy_process_group()


def _check_launch() -> None:
    """Check the environment variables of several processes. With a wrong rank, they would wait for each other."""
    _number("RANK", int(os.environ["WORLD_SIZE"]))
    _number("MASTER_PORT", 65536)
    if not os.environ.get("MASTER_ADDR"):
        raise ValueError(f"MASTER_ADDR: expected the name of a machine, got none{_ADVICE}")


def _number(variable: str, end: int, default: str = "") -> int:
    """The whole number from 0 to `end` - 1 in an environment variable."""
    value = os.environ.get(variable, default)
    if not value.isdecimal() or int(value) >= end:
        raise ValueError(f"{variable}: expected a whole number from 0 to {end - 1}, got {value or 'none'}{_ADVICE}")
    return int(value)


def process_count() -> int:
    """The number of processes that train together."""
    return distributed.get_world_size() if _together() else 1


def process_rank() -> int:
    """The rank of this process, from 0."""
    return distributed.get_rank() if _together() else 0


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def mean_over_processes(count: int, device: torch.device) -> float:
    """The mean of `count` over the processes, with a total count of at least 1.

    If each process divides its sum by this number, the mean over the processes is the total sum divided by the total
    count.
    """
    if process_count() == 1:
        return float(max(count, 1))
    total = torch.tensor(float(count), dtype=torch.float64, device=device)
    distributed.all_reduce(total)
    return max(float(total), 1.0) / process_count()


def largest_over_processes(values: tuple[int, int], device: torch.device) -> tuple[int, int]:
    """The maximum over the processes of each of two numbers."""
    if process_count() == 1:
        return values
    largest = torch.tensor(values, dtype=torch.int64, device=device)
    distributed.all_reduce(largest, op=distributed.ReduceOp.MAX)
    return int(largest[0]), int(largest[1])


def averaged(values: torch.Tensor) -> torch.Tensor:
    """The mean of a tensor over the processes."""
    if process_count() > 1:
        values = values.clone()
        distributed.all_reduce(values)
        values /= process_count()
    return values


def gathered(value: _T) -> list[_T]:
    """The values of all processes, in the order of their ranks."""
    if process_count() == 1:
        return [value]
    values: list[Any] = [None] * process_count()
    distributed.all_gather_object(values, value)
    return values
