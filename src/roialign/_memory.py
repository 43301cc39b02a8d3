"""Memory for answers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ._typing import Array

#: Answers of this many bytes and more begin at the beginning of a cache line, as the core's streaming stores want.
ALIGNED_BYTES = 1 << 20
CACHE_LINE_BYTES = 64


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """As `numpy.empty`, whose large arrays begin 16 bytes past a cache line."""
    size = math.prod(shape) * dtype.itemsize
    if size < ALIGNED_BYTES:
        return np.empty(shape, dtype=dtype)
    memory = np.empty(size + CACHE_LINE_BYTES, dtype=np.uint8)
    start = -memory.ctypes.data % CACHE_LINE_BYTES
    return memory[start : start + size].view(dtype).reshape(shape)
