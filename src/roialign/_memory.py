"""Memory for answers."""

from __future__ import annotations

import math
import mmap
import os
from typing import Any

import numpy as np

from ._typing import Array

#: Answers of this many bytes and more begin at the beginning of a cache line, as the core's streaming stores want.
ALIGNED_BYTES = 1 << 20
CACHE_LINE_BYTES = 64

#: Answers of this many bytes and more lie in huge pages where the system has them, and leave their pages to the next.
POOLED_BYTES = 4 << 20
HUGE_PAGE_BYTES = 2 << 20


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """As `numpy.empty`; large arrays begin at the beginning of a cache line, and the largest come from the pool."""
    size = math.prod(shape) * dtype.itemsize
    if size < ALIGNED_BYTES:
        return np.empty(shape, dtype=dtype)
    if size >= POOLED_BYTES and hasattr(mmap, "MADV_FREE"):
        return np.asarray(_Lease(POOL, size))[:size].view(dtype).reshape(shape)
    memory = np.empty(size + CACHE_LINE_BYTES, dtype=np.uint8)
    start = -memory.ctypes.data % CACHE_LINE_BYTES
    return memory[start : start + size].view(dtype).reshape(shape)


class MemoryPool:
    """Blocks that answers lay in and that nobody uses any more, for the answers to come.

    The system clears every fresh page before it hands it out, which takes about as long as an operator takes to fill
    it. A block that comes back is marked as free (MADV_FREE): the system takes its pages whenever it is short of
    memory, and until then the next answer finds them in place.
    """

    def __init__(self, kept_bytes: int) -> None:
        self.kept_bytes = kept_bytes
        # Single operations of a list are atomic, and a block can come back at any moment, from within a garbage
        # collection too: no lock that could then be waited for in vain.
        self._free: list[mmap.mmap] = []

    def take(self, size: int) -> mmap.mmap:
        """A block of at least `size` bytes: the smallest of those kept, unless that is more than twice as large."""
        for block in sorted(self._free, key=len):
            if size <= len(block) <= 2 * size:
                try:
                    self._free.remove(block)
                except ValueError:  # another thread has taken it
                    continue
                return block
        pages = -(-size // HUGE_PAGE_BYTES)
        block = mmap.mmap(-1, pages * HUGE_PAGE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            _advise(block, mmap.MADV_HUGEPAGE)
        return block

    def give_back(self, block: mmap.mmap) -> None:
        """Keeps a block for others, and drops the oldest of those kept beyond what is kept."""
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
    except OSError:  # a system without it
        return False
    return True


class _Lease:
    """A block of the pool for as long as an array lives in it."""

    def __init__(self, pool: MemoryPool, size: int) -> None:
        self._pool = pool
        self._block = block = pool.take(size)
        address = np.frombuffer(block, np.uint8).ctypes.data
        self.__array_interface__ = {"version": 3, "shape": (len(block),), "typestr": "|u1", "data": (address, False)}

    def __del__(self) -> None:
        block = getattr(self, "_block", None)  # absent where there was no memory
        if block is not None:
            self._pool.give_back(block)


def _kept_bytes() -> int:
    text = os.environ.get("ROIALIGN_KEPT_BYTES", str(512 << 20))
    if not text.isdecimal():
        raise ValueError(f"ROIALIGN_KEPT_BYTES: expected a number of bytes, got {text!r}")
    return int(text)


POOL = MemoryPool(_kept_bytes())
