"""Threads, and what this build is: for bug reports and for tuning."""

from __future__ import annotations

import platform

import numpy as np

from . import _validate
from ._version import __version__


def set_num_threads(count: int) -> None:
    """Set how many threads the CPU kernels use from now on, in this process.

    The answers are the same bits for every count. By default it is ``OMP_NUM_THREADS`` where that is set, else the
    number of CPUs that this process may run on.

    Parameters
    ----------
    count : int
        At least 1, at most 1024.

    Raises
    ------
    TypeError, ValueError
        For anything else.

    Examples
    --------
    >>> import roialign
    >>> roialign.set_num_threads(2)
    >>> roialign.get_num_threads()
    2
    """
    from . import _core  # loaded at its first use

    _core.set_num_threads(_validate.check_int(count, "count", 1, 1024))


def get_num_threads() -> int:
    """How many threads the CPU kernels use; see :func:`set_num_threads`."""
    from . import _core

    return _core.get_num_threads()


def build_info() -> dict[str, str | int | list[str]]:
    """What this installation is, for bug reports.

    Returns
    -------
    dict
        ``version``, ``python``, ``numpy``, ``platform``; of the compiled core its ``compiler``, the instruction sets it
        was built for (``isa_built``), those this CPU runs (``isa_supported``) and the one in use (``isa``); and
        ``threads``.

    Examples
    --------
    >>> import roialign
    >>> roialign.build_info()["version"] == roialign.__version__
    True
    """
    from . import _core

    return {
        "version": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "platform": platform.platform(),
        "compiler": _core.compiler(),
        "isa_built": _core.isa_built(),
        "isa_supported": _core.isa_supported(),
        "isa": _core.isa(),
        "threads": _core.get_num_threads(),
    }
