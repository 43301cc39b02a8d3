"""torchvision's own `torchvision::roi_align`, in this process, on our kernels."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from ..ops.roi_align import roi_align, roi_align_backward

#: What `install` registered; the dispatcher takes torchvision's kernels again when it is gone.
_registered: torch.library.Library | None = None


def install() -> None:
    """Make `torchvision.ops.roi_align`, and every model that uses it, run on our kernels on the CPU.

    Concretely, the kernels of the operators ``torchvision::roi_align`` and ``torchvision::_roi_align_backward`` are
    replaced for CPU tensors in this process, for every caller: functions, modules and models, new or already made.
    Boxes that require a gradient get one. CUDA tensors are left to torchvision. A second call does nothing.

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
        library.impl("roi_align", _forward, "CPU")
        library.impl("_roi_align_backward", _backward, "CPU")
    # torchvision registers one autograd kernel for all devices, which knows no gradient of the boxes and no second
    # derivative; the one of a device goes before it.
    library.impl("roi_align", _forward, "AutogradCPU")
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


def _forward(
    input: Tensor,
    rois: Tensor,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    size = (pooled_height, pooled_width)
    return roi_align(input, rois, size, spatial_scale, max(sampling_ratio, 0), aligned=aligned)


def _backward(
    grad: Tensor,
    rois: Tensor,
    spatial_scale: float,
    _pooled_height: int,
    _pooled_width: int,
    batch_size: int,
    channels: int,
    height: int,
    width: int,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    # The gradient to the features needs their shape only.
    features = grad.new_zeros(()).expand(batch_size, channels, height, width)
    gradient: Any
    gradient, _ = roi_align_backward(
        grad, features, rois, spatial_scale, max(sampling_ratio, 0), need=("features",), aligned=aligned
    )
    return gradient  # type: ignore[no-any-return]
