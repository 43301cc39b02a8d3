"""What PyTorch's results depend on in the whole process, set while a backbone is created or runs, and then restored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def seeded() -> Iterator[None]:
    """Create the same random weights in every run. The process keeps its random numbers."""
    with torch.random.fork_rng(devices=[]):  # weights are created on the CPU
        torch.default_generator.manual_seed(0)
        yield


@contextmanager
def reproducible(threads: int) -> Iterator[None]:
    """Compute the same features in every process: with this number of threads, and convolutions of the same order.

    Convolutions on a GPU have the precision that was asked for, not TensorFloat-32.
    """
    cudnn = torch.backends.cudnn
    settings = [(cudnn, "deterministic", True), (cudnn, "benchmark", False), _without_tf32()]
    before = [getattr(owner, name) for owner, name, _ in settings]
    threads_before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        for owner, name, value in settings:
            setattr(owner, name, value)
        yield
    finally:
        torch.set_num_threads(threads_before)
        for (owner, name, _), value in zip(settings, before, strict=True):
            setattr(owner, name, value)


def _without_tf32() -> tuple[Any, str, object]:
    """Return the setting, of an object and a name, with which convolutions do not use TensorFloat-32."""
    cudnn: Any = torch.backends.cudnn
    try:
        cudnn.allow_tf32  # noqa: B018 - read for its error
    except RuntimeError:  # the process has set the precision of convolutions alone, in PyTorch's newer way
        return cudnn.conv, "fp32_precision", "ieee"
    return cudnn, "allow_tf32", False
