"""What is installed and what runs here, as a table for bug reports."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from rich.table import Table

from .. import __version__, build_info
from .._extras import is_installed
from ..numpy.backends import BACKENDS

#: What roialign works with where it is installed; only NumPy is required.
PACKAGES = (
    "ml_dtypes",
    "torch",
    "triton",
    "pillow",
    "matplotlib",
    "typer",
    "rich",
    "pycocotools",
    "scikit-learn",
    "tensorboard",
    "timm",
)
#: Every backend that the public functions name.
BACKEND_NAMES = ("cpu", "triton", "reference")


def info_table() -> Table:
    """Versions, instruction set, threads, and the backends with why one cannot be used."""
    table = Table(title=f"roialign {__version__}", title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in (*_build(), *_packages(), *_backends()):
        table.add_row(name, value)
    return table


def _build() -> Iterator[tuple[str, str]]:
    try:
        facts = build_info()
    except ImportError:  # the row of the backend says why
        facts = {"python": platform.python_version(), "numpy": np.__version__, "platform": platform.platform()}
    for name, value in facts.items():
        if name != "version":
            yield name.replace("_", " "), ", ".join(value) if isinstance(value, list) else str(value)


def _packages() -> Iterator[tuple[str, str]]:
    for name in PACKAGES:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            yield name, "not installed"


def _backends() -> Iterator[tuple[str, str]]:
    for name in BACKEND_NAMES:
        yield f"backend {name}", why_not(name) or "ready"


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
