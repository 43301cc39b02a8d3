"""The threads of the core under torch: those of the OpenMP runtime that torch has loaded, as many as torch uses.

They spin for a while after each of torch's operators, so that a pool of our own beside them would find the CPUs taken.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from ... import _core

#: A call of fewer elements is done before a second thread has taken its part.
SHARED_ELEMENTS = 1 << 13
#: The library of torch that is linked with its OpenMP runtime.
LIBRARIES = {"linux": "libtorch_cpu.so", "darwin": "libtorch_cpu.dylib"}


def team(*tensors: Tensor) -> _core.Team:
    """Who works on the next call, by the size of what it writes or, where that is little, reads."""
    large = sum([tensor.numel() for tensor in tensors]) >= SHARED_ELEMENTS
    return _team(torch.get_num_threads() if large else 1)


@cache
def _team(threads: int) -> _core.Team:
    return _core.Team(threads, openmp_address())


@cache
def openmp_address() -> int:
    """The address of ``GOMP_parallel``, which libgomp, libomp and libiomp5 all export; 0 where there is none.

    Looked up through torch's library, whose dependencies are searched with it: so it is the runtime that torch runs on,
    whatever else the process has loaded. Without one the core uses its own pool.
    """
    name = LIBRARIES.get(sys.platform)
    path = Path(torch.__file__).parent / "lib" / name if name else None
    if path is None or not path.exists():
        return 0
    library = ctypes.CDLL(str(path))  # loaded already: this counts one more user of it
    function = getattr(library, "GOMP_parallel", None)
    return ctypes.cast(function, ctypes.c_void_p).value or 0 if function is not None else 0
