"""Replace the kernels of torchvision's own operators in this process."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch

from ._torchvision_kernels import BACKWARD, FORWARD

#: The kernels that `install` registered. When they are destroyed, the dispatcher uses torchvision's kernels again.
_registered: torch.library.Library | None = None


def install() -> None:
    """Make torchvision's RoI operators, and every model that uses them, run on roialign's CPU kernels.

    Concretely, this replaces the CPU kernels of the operators ``torchvision::roi_align``, ``roi_pool``,
    ``ps_roi_align`` and ``ps_roi_pool``, and of their backward operators, in this process. It affects every caller:
    functions, modules and models, including those that already exist. Boxes that require a gradient get one, if the
    operator is differentiable with respect to boxes. CUDA tensors still use torchvision's kernels, except within the
    transforms of torch.func. Calling it again has no effect.

    Raises
    ------
    ImportError
        If torchvision is not installed.
    """
    global _registered
    if _registered is not None:
        return
    import_module("torchvision")  # defines the operators
    library: Any = torch.library.Library("torchvision", "IMPL")  # type: ignore[no-untyped-call]
    with warnings.catch_warnings():
        # torch warns about the first kernel that is replaced in a process. Here, replacing it is the purpose.
        warnings.filterwarnings("ignore", "Warning only once for all operators", UserWarning)
        for name, kernel in {**FORWARD, **BACKWARD}.items():
            library.impl(name, kernel, "CPU")
    # torchvision registers one autograd kernel for all devices. It has no gradient to the boxes and no second
    # derivatives. A kernel for one device takes precedence over it.
    for name, kernel in FORWARD.items():
        library.impl(name, kernel, "AutogradCPU")
        # The transforms of torch.func call it before they take a call apart, which they cannot do with the others.
        library.impl(name, kernel, "FuncTorchDynamicLayerFrontMode")
    _registered = library


def uninstall() -> None:
    """Undo :func:`install`. It has no effect if nothing is installed."""
    global _registered
    _registered = None


@contextmanager
def installed() -> Iterator[None]:
    """Context manager: :func:`install` within a ``with`` block. An earlier installation stays in place afterwards."""
    before = _registered
    install()
    try:
        yield
    finally:
        if before is None:
            uninstall()
