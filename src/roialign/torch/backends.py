"""The backends for tensors, by the family of an operator and the device of its features."""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from torch import Tensor

from .. import _validate

#: The backends of each family and device, the default first. Each is a module with the three functions `forward`,
#: `adjoint_features` and `adjoint_boxes` on tensors. One that keeps the winners of maxima for gradients also has
#: `new_winners` and `forward_with_winners`. Those of pairs of rotated boxes have `rotated_iou` and
#: `rotated_iou_backward`.
BACKENDS = {
    "separable": {
        "cpu": {"cpu": "roialign.torch.cpu.separable", "reference": "roialign.torch.cpu.reference"},
        "cuda": {"triton": "roialign.torch.triton.separable"},
    },
    "pointwise": {
        "cpu": {"cpu": "roialign.torch.cpu.pointwise", "reference": "roialign.torch.cpu.reference"},
        "cuda": {"triton": "roialign.torch.triton.pointwise"},
    },
    "rotated": {
        "cpu": {"cpu": "roialign.torch.cpu.rotated", "reference": "roialign.torch.cpu.rotated"},
        "cuda": {"torch": "roialign.torch.rotated_tables"},
    },
}
#: For each family, the module with `forward` in standard ONNX operators.
EXPORTS = {"separable": "roialign.torch.export.separable", "pointwise": "roialign.torch.export.pointwise"}
#: Devices on which the Triton kernels can run in Triton's interpreter, if requested.
INTERPRETED = "cpu"
#: Tensors on this device have a shape but no values.
OUTLINED = "meta"


def check_backend(features: Tensor, name: str | None) -> None:
    """Check that the named backend, or any if None, supports the device of the features."""
    device, devices = features.device.type, BACKENDS["separable"]
    if device == OUTLINED:
        check_known_backend(name)
        return
    if device not in devices:
        raise ValueError(f"features: expected a tensor on the CPU or a CUDA device, got a tensor on {features.device}")
    if name == "triton" and device == INTERPRETED and not is_interpreted():
        raise ValueError(
            f"backend: 'triton' needs CUDA tensors, got features on {device}; use 'cpu' (or, to try the "
            "kernels without a GPU, set TRITON_INTERPRET=1 before the first import of triton)"
        )
    if name is not None and not (name == "triton" and device == INTERPRETED):
        _validate.check_choice(name, "backend", tuple(devices[device]))


def check_known_backend(name: object) -> None:
    """Check the name of a backend of any device."""
    if name is not None:
        known = {one for backends in BACKENDS["separable"].values() for one in backends}
        _validate.check_choice(name, "backend", sorted(known))


def backend_for(family: str, tensor: Tensor, name: str | None) -> ModuleType:
    """Return the module with the three functions of a family for the device of a tensor."""
    return _load(family, tensor.device.type, name)


@cache
def _load(family: str, device: str, name: str | None) -> ModuleType:
    backends = BACKENDS[family][device]
    if name == "triton" and device == INTERPRETED:
        backends = BACKENDS[family]["cuda"]
    return import_module(backends[name or next(iter(backends))])


@cache
def export_of(family: str) -> ModuleType:
    """Return the module that exports a family in standard operators. It is imported only for an export."""
    return import_module(EXPORTS[family])


def is_interpreted() -> bool:
    """Whether Triton is installed and interprets its kernels."""
    return os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "on", "yes") and _is_installed()


@cache
def _is_installed() -> bool:
    return find_spec("triton") is not None
