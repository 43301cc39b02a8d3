"""torchvision's own operators, in this process, on our kernels."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch

from ._torchvision_kernels import BACKWARD, FORWARD

#: What `install` registered; the dispatcher takes torchvision's kernels again when it is gone.
_registered: torch.library.Library | None = None


def install() -> None:
    """Make torchvision's RoI operators, and every model that uses them, run on our kernels on the CPU.

    Concretely, the kernels of the operators ``torchvision::roi_align``, ``roi_pool``, ``ps_roi_align`` and
    ``ps_roi_pool`` and of their backwards are replaced for CPU tensors in this process, for every caller: functions,
    modules and models, new or already made. Boxes that require a gradient get one, where the operator has one. CUDA
    tensors are left to torchvision. A second call does nothing.

    Raises
    ------
    ImportError
        Where torchvision is not installed.
    """
    global _registered
    if _registered is not None:
        return
    import_module("torchvision")  # defines the operators
    library: Any = torch.library.Library("torchvision", "IMPL")  # type: ignore[no-untyped-call]
    with warnings.catch_warnings():
        # torch warns of the first kernel that is replaced in a process; here that is what was asked for.
        warnings.filterwarnings("ignore", "Warning only once for all operators", UserWarning)
        for name, kernel in {**FORWARD, **BACKWARD}.items():
            library.impl(name, kernel, "CPU")
    # torchvision registers one autograd kernel for all devices, which knows no gradient of the boxes and no second
    # derivative; the one of a device goes before it.
    for name, kernel in FORWARD.items():
        library.impl(name, kernel, "AutogradCPU")
    _registered = library


def uninstall() -> None:
    """Undo :func:`install`; does nothing where nothing is installed."""
    global _registered
    _registered = None


@contextmanager
def installed() -> Iterator[None]:
    """:func:`install` for the length of a ``with`` block; an outer installation is left as it was."""
    before = _registered
    install()
    try:
        yield
    finally:
        if before is None:
            uninstall()
