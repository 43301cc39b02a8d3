"""From a validated call to a backend and back: one path forward and one path backward for a whole family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

from . import _validate
from ._levels import Assignment, levels_of
from ._memory import empty
from ._spec import PointwiseSpec, SeparableSpec
from ._typing import Array

#: By family: the backends, each a module with the three functions of the family.
FAMILIES = {
    "separable": {"cpu": "roialign.numpy.cpu.separable", "reference": "roialign.numpy.reference.separable"},
    "pointwise": {"cpu": "roialign.numpy.cpu.pointwise", "reference": "roialign.numpy.reference.pointwise"},
}
BACKENDS = FAMILIES["separable"]

Spec = SeparableSpec | PointwiseSpec


def load_backend(name: str | None, family: str = "separable") -> ModuleType:
    """The module of a backend by its name; None is the compiled core."""
    if name == "triton":
        raise ValueError("backend: 'triton' runs on CUDA tensors, and features is a numpy.ndarray; use 'cpu'")
    if name is not None:
        _validate.check_choice(name, "backend", tuple(BACKENDS))
    return import_module(FAMILIES[family][name or "cpu"])


def is_tensor(value: object) -> bool:
    """Whether a value is a tensor of torch, said without importing torch: by the protocol that only those have."""
    return hasattr(value, "__torch_function__")


def operator_call(spec: Spec, features: Sequence[object], *arguments: Any, **more: Any) -> Any:
    """The call, by the framework of the features and the family of the operator."""
    if any(is_tensor(level) for level in features):
        if isinstance(spec, PointwiseSpec):
            from .torch.pointwise_call import PointwiseTensorCall  # torch is there already

            return PointwiseTensorCall(spec, features, *arguments, **more)
        from .torch.call import TensorCall

        return TensorCall(spec, features, *arguments, **more)
    if isinstance(spec, PointwiseSpec):
        from .numpy.pointwise_call import PointwiseArrayCall

        return PointwiseArrayCall(spec, features, *arguments, **more)
    return ArrayCall(spec, features, *arguments, **more)


def checks_of(value: object) -> Any:
    """The checks of arguments, by the framework of the features: two modules with functions of the same names."""
    if is_tensor(value):
        from .torch import checks

        return checks
    return _validate


class ArrayCall:
    """The arguments that the forward function and its backward twin share, validated."""

    family = "separable"

    def __init__(
        self,
        spec: Any,
        features: Sequence[object],
        scales: Sequence[float],
        rois: object,
        *,
        levels: object = None,
        assignment: Assignment | None = None,
        batch_indices: object = None,
        layout: str = "NCHW",
        invalid: str | None = None,
        backend: str | None = None,
        rois_name: str = "rois",
        seed: object = None,
        drawn: bool = True,
    ) -> None:
        _validate.check_layout(layout)
        if spec.rule == "random":
            spec = replace(spec, seed=_validate.check_seed(seed, drawn=drawn))
        self.spec, self.scales, self.layout = spec, scales, layout
        self.backend = load_backend(backend, self.family)
        names = ["features"] if len(features) == 1 else [f"features[{i}]" for i in range(len(features))]
        self.features = [
            _validate.check_features(level, layout, name) for level, name in zip(features, names, strict=True)
        ]
        _validate.check_levels_alike(self.features)
        self.invalid = invalid
        self.rois = _validate.check_rois(
            rois, self.features[0].shape[0], batch_indices, invalid, rois_name, spec.geometry
        )
        self.levels = levels_of(self.rois.rows, scales, levels, assignment)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.features[0].dtype

    def forward(self, output_size: tuple[int, int], out: object = None) -> Array:
        """``[K, C, PH, PW]``, or ``[K, PH, PW, C]`` in the NHWC layout."""
        shape = self._output_shape(output_size)
        if out is None:
            answer = empty(shape, self.dtype)
        else:
            answer = _validate.check_out(out, shape, self.dtype, [*self.features, self.rois.rows])
        self._forward(_validate.nchw(answer, self.layout))
        return answer

    def backward(
        self, grad_output: object, need: Sequence[str], names: tuple[str, str] = ("features", "rois")
    ) -> tuple[list[Array] | None, Any]:
        """The gradients of the levels in their own layout, and those of the RoIs in their own structure."""
        wanted = check_need(need, names)
        gradient = self._check_grad_output(grad_output)
        grad_features, grad_rois = None, None
        if names[0] in wanted:
            grad_features = self.backward_features(gradient)
        if names[1] in wanted:
            grad_rois = self.rois.restore(self._adjoint_boxes(gradient))
        return grad_features, grad_rois

    def backward_features(self, gradient: Array) -> list[Array]:
        """The gradients of the levels in their own layout, from a checked gradient."""
        gradients = [empty(self._own_layout(level.shape), self.dtype) for level in self.features]
        self._adjoint_features(gradient, [_validate.nchw(level, self.layout) for level in gradients])
        return gradients

    def _forward(self, target: Array) -> None:
        self.backend.forward(self.spec, self.features, self.scales, self.rois.rows, self.levels, target)

    def _adjoint_features(self, gradient: Array, maps: Sequence[Array]) -> None:
        self.backend.adjoint_features(self.spec, gradient, self.scales, self.rois.rows, self.levels, maps)

    def _adjoint_boxes(self, gradient: Array) -> Array:
        answer: Array = self.backend.adjoint_boxes(
            self.spec, gradient, self.features, self.scales, self.rois.rows, self.levels
        )
        return answer

    def _own_layout(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape if self.layout == "NCHW" else (shape[0], shape[2], shape[3], shape[1])

    def _output_shape(self, output_size: tuple[int, int]) -> tuple[int, ...]:
        return self._own_layout((len(self.rois.rows), self._out_channels(output_size), *output_size))

    def _out_channels(self, output_size: tuple[int, int]) -> int:
        del output_size
        return int(self.features[0].shape[1])

    def _check_grad_output(self, grad_output: object) -> Array:
        gradient = _validate.check_array(grad_output, "grad_output")
        axes = "[K, C, PH, PW]" if self.layout == "NCHW" else "[K, PH, PW, C]"
        if gradient.ndim != 4:
            raise ValueError(f"grad_output: expected 4 dimensions {axes}, got shape {gradient.shape}")
        seen = _validate.nchw(gradient, self.layout)
        bins = (seen.shape[2], seen.shape[3])
        channels = self._out_channels(bins)
        if seen.shape[:2] != (len(self.rois.rows), channels) or 0 in bins:
            expected = self._own_layout((len(self.rois.rows), channels, "PH", "PW"))  # type: ignore[arg-type]
            raise ValueError(f"grad_output: expected shape {list(expected)}, got {gradient.shape}")
        if gradient.dtype != self.dtype:
            raise TypeError(f"grad_output: expected the dtype of features, {self.dtype}, got {gradient.dtype}")
        return seen


def check_need(need: Sequence[str], names: Sequence[str]) -> Sequence[str]:
    """Which gradients are asked for: a subset of the names of the differentiable arguments."""
    wanted = (need,) if isinstance(need, str) else tuple(need)
    for name in wanted:
        _validate.check_choice(name, "need", tuple(names))
    return wanted
