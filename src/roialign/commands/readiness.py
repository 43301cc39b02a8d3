"""Checks which backends are available."""

from __future__ import annotations

from importlib import import_module

from .._extras import is_installed
from .._memory import pool
from .._runtime import FACTS
from ..numpy.backends import BACKENDS

#: The names of all backends.
BACKEND_NAMES = ("cpu", "triton", "reference")


def why_not(backend: str) -> str:
    """Return why a backend is unavailable; an empty text if it is available."""
    if backend == "triton":
        reason = _why_no_triton()
        return f"not ready: {reason}" if reason else ""
    try:
        import_module(BACKENDS["separable"][backend])
    except ImportError as error:
        return f"not ready: {error}"
    wrong = wrong_environment() if backend == "cpu" else ""
    return f"not ready: {wrong}" if wrong else ""


def wrong_environment() -> str:
    """Return what is wrong with an environment variable of the CPU kernels; an empty text if nothing is."""
    try:
        pool()
        FACTS["isa"]()
    except ImportError:  # there is no core that would read it
        return ""
    except ValueError as error:
        return str(error)
    return ""


def _why_no_triton() -> str:
    """Return why the Triton kernels cannot run; an empty text if they can."""
    for package in ("torch", "triton"):
        if not is_installed(package):
            return f"it needs CUDA tensors, and {package} is not installed"
    from ..torch.devices import why_no_cuda

    reason = why_no_cuda()
    return f"it needs CUDA tensors, and {reason}" if reason else ""
