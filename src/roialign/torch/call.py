"""A public function's call with tensors: validated, in the one form that the family takes, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .. import _validate
from .._dispatch import check_need
from .._levels import Assignment
from . import checks
from .backends import OUTLINED, check_backend
from .memory import is_channels_last
from .rois import rows_of
from .wiring.pairing import Setting
from .wiring.primitive import Inputs
from .wiring.separable import SEPARABLE, SeparableCall
from .wiring.tracing import is_traced


class TensorCall:
    """The arguments that the forward function and its backward twin share, validated as far as no value is read."""

    pairing = SEPARABLE

    def __init__(
        self,
        spec: Any,
        features: Sequence[Any],
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
        if invalid is not None:
            _validate.check_choice(invalid, "invalid", ("raise", "zero"))
        self.layout = layout
        self.features = _check_all_features(features, layout)
        first = self.features[0]
        check_backend(first, backend)
        self.rois, self.restore = rows_of(rois, first, batch_indices, rois_name, spec.geometry)
        if levels is not None:
            levels = checks.check_indices(levels, self.rois.shape[0], "levels", "rois")
            checks.check_device(levels, first.device, "levels")
        key: Tensor | None = None
        if spec.rule == "random":
            if drawn and (seed is None or isinstance(seed, torch.Generator)):
                key = torch.randint(2**63 - 1, (), generator=seed, device="cpu" if seed is None else seed.device)
            else:
                spec = replace(spec, seed=_validate.check_seed(seed, drawn=drawn))
        self.inputs = Inputs(self.features, None, self.rois, levels, key, ())
        if isinstance(rois, (list, tuple)):
            rois_name += _validate.OF_LIST
        call = self._describe(spec, tuple(scales), assignment, invalid, backend, rois_name)
        self.setting = Setting(call, (), (), is_channels_last(first))

    def _describe(self, *parts: Any) -> Any:
        return SeparableCall(*parts)

    def _out_channels(self, output_size: tuple[int, int]) -> int:
        del output_size
        return self.features[0].shape[1]

    def _take_bins(self, bins: tuple[int, int]) -> None:
        """What an operator has for every bin can be checked once those are known."""

    def forward(self, output_size: tuple[int, int], out: object = None) -> Tensor:
        """``[K, C, PH, PW]``, or ``[K, PH, PW, C]`` in the NHWC layout."""
        self._take_bins(output_size)
        channels = self._out_channels(output_size)
        setting = self.setting._replace(output_size=output_size)
        if out is not None:
            return self._forward_into(out, channels, setting)
        (answer,) = self.pairing.forward(setting, self.inputs)
        return checks.own_layout(answer, self.layout)

    def _forward_into(self, out: object, c: int, setting: Setting) -> Tensor:
        bins_y, bins_x = setting.output_size
        count, inputs = self.rois.shape[0], (*self.features, self.rois)
        shape = (count, c, bins_y, bins_x) if self.layout == "NCHW" else (count, bins_y, bins_x, c)
        tensor = checks.check_out(out, shape, inputs)
        if is_traced(tensor) or tensor.is_meta:
            (answer,) = self.pairing.forward(setting, self.inputs)
            tensor.copy_(checks.own_layout(answer, self.layout))
            return tensor
        checks.check_memory_apart(tensor, inputs)
        self.pairing.forward.fill(setting, self.inputs.in_memory(), (checks.nchw(tensor, self.layout),))
        return tensor

    def backward(
        self, grad_output: object, need: Sequence[str], names: tuple[str, str] = ("features", "rois")
    ) -> tuple[list[Tensor] | None, Any]:
        """The gradients of the levels in their own layout, and those of the RoIs in their own structure."""
        wanted = check_need(need, names)
        gradient = checks.check_grad_output(
            grad_output, self.features[0], self.rois.shape[0], self.layout, self._out_channels
        )
        self._take_bins((gradient.shape[2], gradient.shape[3]))
        phi = self.inputs._replace(grad_output=gradient)
        grad_features, grad_rois = None, None
        if names[0] in wanted:
            grad_features = self._backward_features(phi)
        if names[1] in wanted:
            grad_rois = self.restore(self._backward_rows(phi))
        return grad_features, grad_rois

    def _backward_features(self, phi: Inputs) -> list[Tensor]:
        sizes = tuple([size for level in self.features for size in level.shape])
        setting = self.setting._replace(map_sizes=sizes)
        gradients = self.pairing.adjoint_features(setting, phi._replace(features=()))
        return [checks.own_layout(level, self.layout) for level in gradients]

    def _backward_rows(self, phi: Inputs) -> Tensor:
        (rows,) = self.pairing.adjoint_boxes(self.setting, phi)
        return rows


def _check_all_features(features: Sequence[Any], layout: str) -> tuple[Tensor, ...]:
    if len(features) == 1:
        return (checks.check_features(features[0], layout, "features"),)
    levels = [checks.check_features(level, layout, f"features[{index}]") for index, level in enumerate(features)]
    device = levels[0].device.type
    if device != OUTLINED and torch.is_autocast_enabled(device):
        # Autocast gives maps of several dtypes; the widest holds them all.
        widest = levels[0].dtype
        for level in levels[1:]:
            widest = torch.promote_types(widest, level.dtype)
        levels = [level.to(widest) for level in levels]
    checks.check_levels_alike(levels)
    return tuple(levels)
