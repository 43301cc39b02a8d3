"""Which backends run here, and why the others do not."""

from __future__ import annotations

from importlib import import_module

from .._extras import is_installed
from ..numpy.backends import BACKENDS

#: Every backend that the public functions name.
BACKEND_NAMES = ("cpu", "triton", "reference")


def why_not(backend: str) -> str:
    """Why a backend cannot be used here; nothing if it can."""
    if backend == "triton":
        reason = _why_no_triton()
        return f"not ready: {reason}" if reason else ""
    try:
        import_module(BACKENDS["separable"][backend])
    except ImportError as error:
        return f"not ready: {error}"
    return ""


def _why_no_triton() -> str:
    """Why Triton's kernels do not run here; nothing if they do."""
    for package in ("torch", "triton"):
        if not is_installed(package):
            return f"it runs on CUDA tensors, and {package} is not installed"
    from ..torch.devices import why_no_cuda

    reason = why_no_cuda()
    return f"it runs on CUDA tensors, and {reason}" if reason else ""
