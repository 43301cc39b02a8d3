"""Memory for results."""

from __future__ import annotations

import math
import mmap
import os
from functools import cache
from typing import Any

import numpy as np

from ._typing import Array

#: Results of at least this many bytes are aligned to a cache line, which the core's streaming stores need.
ALIGNED_BYTES = 1 << 20
CACHE_LINE_BYTES = 64

#: Results of at least this many bytes use huge pages, if the system has them, and come from the memory pool.
POOLED_BYTES = 4 << 20
HUGE_PAGE_BYTES = 2 << 20


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Like `numpy.empty`, but large arrays are aligned to a cache line, and the largest ones come from the pool."""
    size = math.prod(shape) * dtype.itemsize
    if size < ALIGNED_BYTES:
        return np.empty(shape, dtype=dtype)
    if size >= POOLED_BYTES and hasattr(mmap, "MADV_FREE"):
        return np.asarray(_Lease(pool(), size))[:size].view(dtype).reshape(shape)
    memory = np.empty(size + CACHE_LINE_BYTES, dtype=np.uint8)
    start = -memory.ctypes.data % CACHE_LINE_BYTES
    return memory[start : start + size].view(dtype).reshape(shape)


class MemoryPool:
    """Memory blocks of earlier results, kept to be reused for later ones.

    The system clears every new page, which takes about as long as an operator takes to fill it. A returned block is
    marked as free (MADV_FREE). The system takes its pages back if memory is short; until then, the next result reuses
    them.
    """

    def __init__(self, kept_bytes: int) -> None:
        self.kept_bytes = kept_bytes
        # There is no lock: a block can be returned at any moment, even during a garbage collection, where waiting for a
        # lock could deadlock. Single list operations are atomic.
        self._free: list[mmap.mmap] = []

    def take(self, size: int) -> mmap.mmap:
        """Return a block of at least `size` bytes: the smallest kept one of at most twice the size, or a new one."""
        for block in sorted(self._free, key=len):
            if size <= len(block) <= 2 * size:
                try:
                    self._free.remove(block)
                except ValueError:  # another thread took it
                    continue
                return block
        pages = -(-size // HUGE_PAGE_BYTES)
        try:
            block = mmap.mmap(-1, pages * HUGE_PAGE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except (OSError, OverflowError):
            raise MemoryError(f"unable to allocate {size} bytes for a result") from None
        if hasattr(mmap, "MADV_HUGEPAGE"):
            _advise(block, mmap.MADV_HUGEPAGE)
        return block

    def give_back(self, block: mmap.mmap) -> None:
        """Keep a block for reuse, and drop the oldest blocks beyond the limit."""
        if not _advise(block, mmap.MADV_FREE):
            return
        self._free.append(block)
        while sum(map(len, tuple(self._free))) > self.kept_bytes:
            try:
                self._free.pop(0)
            except IndexError:
                return


def _advise(block: mmap.mmap, advice: int) -> bool:
    try:
        block.madvise(advice)
    except OSError:  # the system does not support it
        return False
    return True


class _Lease:
    """Holds a block of the pool while an array uses it."""

    def __init__(self, pool: MemoryPool, size: int) -> None:
        self._pool = pool
        self._block = block = pool.take(size)
        address = np.frombuffer(block, np.uint8).ctypes.data
        self.__array_interface__ = {"version": 3, "shape": (len(block),), "typestr": "|u1", "data": (address, False)}

    def __del__(self) -> None:
        block = getattr(self, "_block", None)  # absent if the allocation failed
        if block is not None:
            self._pool.give_back(block)


def _kept_bytes() -> int:
    text = os.environ.get("ROIALIGN_KEPT_BYTES", str(512 << 20))
    if not text.isdecimal():
        raise ValueError(f"ROIALIGN_KEPT_BYTES: expected a number of bytes, got {text!r}")
    return int(text)


@cache
def pool() -> MemoryPool:
    """Return the pool of this process.

    Raises
    ------
    ValueError
        If the environment variable ROIALIGN_KEPT_BYTES is not a number.
    """
    return MemoryPool(_kept_bytes())
