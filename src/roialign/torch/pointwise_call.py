"""A public function's call of the pointwise family with tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .._dispatch import check_need
from ..numpy.pointwise_call import check_channels
from . import checks
from .call import TensorCall
from .wiring.pointwise import POINTWISE, PointwiseCall


class PointwiseTensorCall(TensorCall):
    """Beside a separable call's: bin offsets and masks, and channels that are not those of the features."""

    pairing = POINTWISE

    def __init__(self, *arguments: Any, offset: object = None, mask: object = None, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.offset, self.mask = offset, mask
        self.boxes = self.rois
        if self.setting.call.spec.reduction != "mean":
            self.inputs = self.inputs._replace(deciding=tuple([level.detach() for level in self.features]))

    def _describe(self, *parts: Any) -> Any:
        return PointwiseCall(*parts)

    def _out_channels(self, output_size: tuple[int, int]) -> int:
        return check_channels(self.setting.call.spec, self.features[0].shape[1], output_size)

    def _take_bins(self, bins: tuple[int, int]) -> None:
        count = self.boxes.shape[0]
        parts = [self.boxes]
        if self.offset is not None:
            parts.append(_check_per_bin(self.offset, "offset", (count, 2, *bins), self.boxes))
        if self.mask is not None:
            parts.append(_check_per_bin(self.mask, "mask", (count, *bins), self.boxes))
        rows = self.boxes if len(parts) == 1 else torch.cat([part.double() for part in parts], dim=1)
        self.inputs = self.inputs._replace(rois=rows)
        call = replace(self.setting.call, bins=bins, has_offset=self.offset is not None, has_mask=self.mask is not None)
        self.setting = self.setting._replace(call=call)

    def backward(
        self, grad_output: object, need: Sequence[str], names: tuple[str, str] = ("features", "rois")
    ) -> tuple[list[Tensor] | None, Any]:
        given: Any = checks.check_array(grad_output, "grad_output")
        answers = self.backward_all(given, need, names)
        return answers[0], answers[1]

    def backward_all(self, grad_output: object, need: Sequence[str], names: Sequence[str]) -> tuple[Any, ...]:
        """The gradients by name: of the features, the RoIs, the offset and the mask, where the operator has them."""
        wanted = check_need(need, names)
        gradient = checks.check_grad_output(
            grad_output, self.features[0], self.boxes.shape[0], self.layout, self._out_channels
        )
        bins = (gradient.shape[2], gradient.shape[3])
        self._take_bins(bins)
        phi = self.inputs._replace(grad_output=gradient)
        answers: dict[str, Any] = dict.fromkeys(names)
        if "features" in wanted:
            answers["features"] = self._backward_features(phi)
        if set(wanted) - {"features"}:
            rows, place = self._backward_rows(phi), self.boxes.shape[1]
            answers["rois"] = self.restore(rows[:, :place].to(_gradient_dtype(self.boxes)))
            for name, given, numbers in (("offset", self.offset, 2), ("mask", self.mask, 1)):
                if isinstance(given, Tensor):
                    end = place + numbers * math.prod(bins)
                    part = rows[:, place:end].reshape(given.shape)
                    answers[name], place = part.to(_gradient_dtype(given)), end
        return tuple(answers[name] if name in wanted else None for name in names)


def _check_per_bin(values: object, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
    tensor = checks.check_array(values, name)
    checks.check_device(tensor, like.device, name)
    checks.check_real(tensor, name)
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name}: expected shape {list(shape)}, got {list(tensor.shape)}")
    return tensor.flatten(1)


def _gradient_dtype(tensor: Tensor) -> torch.dtype:
    return tensor.dtype if tensor.is_floating_point() else torch.float64
