"""The threads of the core with torch: the core uses torch's OpenMP runtime, with torch's number of threads.

OpenMP threads keep spinning for a while after each torch operator. A separate thread pool would compete with them for
the CPUs.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from ... import _core
from ..._forks import was_forked_without_core

#: A call with fewer elements would be finished before a second thread starts.
SHARED_ELEMENTS = 1 << 13
#: The library of torch that is linked to its OpenMP runtime.
LIBRARIES = {"linux": "libtorch_cpu.so", "darwin": "libtorch_cpu.dylib"}


def team(*tensors: Tensor) -> _core.Team:
    """The threads for the next call, given by the number of elements that it writes and reads."""
    return team_for(sum([tensor.numel() for tensor in tensors]))


def team_for(elements: int) -> _core.Team:
    """The threads for a call that writes and reads this many elements."""
    return _team(torch.get_num_threads() if elements >= SHARED_ELEMENTS else 1)


@cache
def _team(threads: int) -> _core.Team:
    return _core.Team(threads, openmp_address())


@cache
def openmp_address() -> int:
    """The address of ``GOMP_parallel``, which libgomp, libomp and libiomp5 all export, or 0 if there is none.

    It is looked up in torch's library and its dependencies. This gives the runtime that torch uses, even if the process
    has loaded others. If there is none, the core uses its own thread pool. The same in a forked process, whose runtime
    has lost its threads.
    """
    if was_forked_without_core():
        return 0
    name = LIBRARIES.get(sys.platform)
    path = Path(torch.__file__).parent / "lib" / name if name else None
    if path is None or not path.exists():
        return 0
    library = ctypes.CDLL(str(path))  # already loaded, so this only adds a reference
    function = getattr(library, "GOMP_parallel", None)
    return ctypes.cast(function, ctypes.c_void_p).value or 0 if function is not None else 0
