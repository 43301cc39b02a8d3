"""Control the number of threads, and report the build."""

from __future__ import annotations

import platform
from collections.abc import Callable

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

    Raises
    ------
    ValueError
        If the environment variable ``ROIALIGN_ISA`` does not name an instruction set that this CPU supports.

    Examples
    --------
    >>> import roialign
    >>> roialign.build_info()["version"] == roialign.__version__
    True
    """
    return {name: read() for name, read in FACTS.items()}


def _of_core(name: str) -> Callable[[], str | int | list[str]]:
    """Return a function that reads a fact about the compiled core, which it imports."""

    def read() -> str | int | list[str]:
        from . import _core

        fact: str | int | list[str] = getattr(_core, name)()
        return fact

    return read


#: What reads each fact of :func:`build_info`. Without the core, some raise an ImportError. If ROIALIGN_ISA is wrong,
#: one raises a ValueError.
FACTS: dict[str, Callable[[], str | int | list[str]]] = {
    "version": lambda: __version__,
    "python": platform.python_version,
    "numpy": lambda: np.__version__,
    "platform": platform.platform,
    "compiler": _of_core("compiler"),
    "isa_built": _of_core("isa_built"),
    "isa_supported": _of_core("isa_supported"),
    "isa": _of_core("isa"),
    "threads": get_num_threads,
}
