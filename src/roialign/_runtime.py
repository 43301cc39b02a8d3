"""Control the number of threads, and report the build."""

from __future__ import annotations

import platform

import numpy as np

from . import _validate
from ._version import __version__


def set_num_threads(count: int) -> None:
    """Set the number of threads that the CPU kernels use for NumPy arrays in this process.

    The results have the same bits for any number of threads. The default is ``OMP_NUM_THREADS`` if it is set, and
    otherwise the number of CPUs that this process may run on. For tensors, ``torch.set_num_threads`` sets the number.

    Parameters
    ----------
    count : int
        The number of threads, from 1 to 1024.

    Raises
    ------
    TypeError, ValueError
        If `count` is not an int in this range.

    Examples
    --------
    >>> import roialign
    >>> roialign.set_num_threads(2)
    >>> roialign.get_num_threads()
    2
    """
    from . import _core  # imported on first use

    _core.set_num_threads(_validate.check_int(count, "count", 1, 1024))


def get_num_threads() -> int:
    """Return the number of threads that the CPU kernels use for NumPy arrays. See :func:`set_num_threads`."""
    from . import _core

    return _core.get_num_threads()


def build_info() -> dict[str, str | int | list[str]]:
    """Return information about this installation, for bug reports.

    Returns
    -------
    dict
        ``version``, ``python``, ``numpy`` and ``platform``; the ``compiler`` of the compiled core; the instruction sets
        that it was built for (``isa_built``), those that this CPU supports (``isa_supported``) and the one in use
        (``isa``); and the number of ``threads`` for NumPy arrays.

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
