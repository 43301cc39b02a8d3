"""The backends for NumPy arrays, by the family of an operator."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from types import ModuleType

from .. import _validate

#: The backends of each family by name, the default first. Each is a module with the functions `forward`,
#: `adjoint_features` and `adjoint_geometry`, which is imported on first use. Those of pairs of rotated boxes have
#: `rotated_iou`, `rotated_iou_backward` and `rotated_nms`.
BACKENDS = {
    "separable": {"cpu": "roialign.numpy.cpu.separable", "reference": "roialign.reference.backend"},
    "pointwise": {"cpu": "roialign.numpy.cpu.pointwise", "reference": "roialign.reference.backend"},
    "rotated": {"cpu": "roialign._core_rotated", "reference": "roialign.reference.rotated_iou"},
}


def backend_for(family: str, name: str | None) -> ModuleType:
    """Return the module of a backend by its name. None means the compiled core."""
    if name == "triton":
        raise ValueError("backend: 'triton' needs CUDA tensors, got features as a numpy.ndarray; use 'cpu'")
    backends = BACKENDS[family]
    if name is not None:
        _validate.check_choice(name, "backend", tuple(backends))
    return _load(backends[name or "cpu"])


@lru_cache
def _load(module: str) -> ModuleType:
    return import_module(module)
