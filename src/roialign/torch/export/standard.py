"""ONNX's two RoI operators, for both ONNX exporters of torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..wiring.tracing import is_jit_traced

#: The operator set in which RoiAlign got its coordinate transformation modes.
ROI_ALIGN_VERSION = 16
#: The coordinate transformation mode of RoiAlign in earlier operator sets.
EARLIER_MODE = "output_half_pixel"
#: The suffix of an attribute's name for TorchScript's exporter, by the type of the attribute.
SUFFIXES = {int: "i", float: "f", str: "s", list: "i"}


def roi_align(level: Tensor, boxes: Tensor, images: Tensor, output_size: Sequence[int], **attributes: Any) -> Tensor:
    """ONNX's RoiAlign for boxes ``[K, 4]``."""
    height, width = output_size
    every = {"mode": "avg", "output_height": height, "output_width": width, **attributes}
    shape = (boxes.shape[0], level.shape[1], height, width)
    return _write("RoiAlign", (level, boxes, images), every, shape, ROI_ALIGN_VERSION)


def max_roi_pool(level: Tensor, rows: Tensor, output_size: Sequence[int], scale: float) -> Tensor:
    """ONNX's MaxRoiPool for rows ``[K, 5]``."""
    shape = (rows.shape[0], level.shape[1], *output_size)
    return _write("MaxRoiPool", (level, rows), {"pooled_shape": list(output_size), "spatial_scale": scale}, shape, None)


def check_may_scan() -> None:
    """Raise an error for TorchScript's exporter, which cannot export a `Scan`."""
    if is_jit_traced():
        raise NotImplementedError(
            "torch.onnx.export: with dynamo=False, this operator cannot be exported, because it is not equal to "
            "ONNX's RoiAlign or MaxRoiPool; use dynamo=True"
        )


def _write(
    name: str, inputs: tuple[Tensor, ...], attributes: dict[str, Any], shape: Any, version: int | None
) -> Tensor:
    if is_jit_traced():
        output: Tensor = _Written.apply(name, attributes, tuple(map(int, shape)), *inputs)  # type: ignore[no-untyped-call]
        return output
    return torch.onnx.ops.symbolic(name, inputs, attributes, dtype=inputs[0].dtype, shape=shape, version=version)


class _Written(torch.autograd.Function):
    """An ONNX operator for TorchScript's exporter. During the export, its result has a shape but no values."""

    @staticmethod
    def forward(ctx: Any, name: str, attributes: dict[str, Any], shape: tuple[int, ...], *inputs: Tensor) -> Tensor:
        del ctx, name, attributes
        return inputs[0].new_zeros(shape)

    @staticmethod
    def symbolic(g: Any, name: str, attributes: dict[str, Any], shape: tuple[int, ...], *inputs: Any) -> Any:
        del shape
        given = dict(attributes)
        if name == "RoiAlign" and g.opset < ROI_ALIGN_VERSION:
            mode = given.pop("coordinate_transformation_mode")
            if mode != EARLIER_MODE:
                raise ValueError(
                    f"opset_version: expected at least {ROI_ALIGN_VERSION} with aligned=True, got {g.opset}"
                )
        return g.op(name, *inputs, **{f"{key}_{SUFFIXES[type(value)]}": value for key, value in given.items()})
