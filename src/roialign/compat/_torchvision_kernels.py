"""The kernels that `install` registers for torchvision's operators, with torchvision's schemas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .._frameworks import operator_call
from ..ops.ps_roi_align import ps_roi_align, ps_roi_align_backward
from ..ops.ps_roi_pool import ps_roi_pool, ps_roi_pool_backward
from ..ops.roi_align import roi_align, roi_align_backward
from ..ops.roi_pool import ROI_POOL, roi_pool
from ._names import renaming


def _roi_align(input: Tensor, rois: Tensor, scale: float, height: int, width: int, ratio: int, aligned: bool) -> Tensor:
    if not input.is_quantized:
        return roi_align(input, rois, (height, width), scale, max(ratio, 0), aligned=aligned)
    # As in torchvision, only one image is allowed, because quantised rows may not represent all image indices.
    if input.shape[0] != 1:
        raise RuntimeError("Only one image per batch is allowed in roi_align when quantized tensors are passed.")
    rows = torch.nn.functional.pad(rois.dequantize()[:, 1:], (1, 0))
    pooled = roi_align(input.dequantize(), rows, (height, width), scale, max(ratio, 0), aligned=aligned)
    return torch.quantize_per_tensor(pooled, input.q_scale(), input.q_zero_point(), input.dtype)


def _roi_align_backward(grad: Tensor, rois: Tensor, scale: float, _height: int, _width: int, *rest: Any) -> Any:
    *shape, ratio, aligned = rest
    gradient, _ = roi_align_backward(
        grad, _features_of(grad, shape), rois, scale, max(ratio, 0), need=("features",), aligned=aligned
    )
    return gradient


def _roi_pool(input: Tensor, rois: Tensor, scale: float, height: int, width: int) -> tuple[Tensor, Tensor]:
    return roi_pool(input, rois, (height, width), scale), _argmax(input, rois, scale, height, width)


def _ps_roi_align(
    input: Tensor, rois: Tensor, scale: float, height: int, width: int, ratio: int
) -> tuple[Tensor, Tensor]:
    pooled: Tensor = ps_roi_align(input, rois, (height, width), scale, max(ratio, 0))
    return pooled, _channels_read(pooled)


def _ps_roi_align_backward(
    grad: Tensor, rois: Tensor, _channels: Tensor, scale: float, _height: int, _width: int, ratio: int, *shape: int
) -> Any:
    gradient, _ = ps_roi_align_backward(grad, _features_of(grad, shape), rois, scale, max(ratio, 0), need=("features",))
    return gradient


def _ps_roi_pool(input: Tensor, rois: Tensor, scale: float, height: int, width: int) -> tuple[Tensor, Tensor]:
    pooled: Tensor = ps_roi_pool(input, rois, (height, width), scale)
    return pooled, _channels_read(pooled)


def _ps_roi_pool_backward(
    grad: Tensor, rois: Tensor, _channels: Tensor, scale: float, _height: int, _width: int, *shape: int
) -> Tensor:
    gradient: Tensor = ps_roi_pool_backward(grad, _features_of(grad, shape), rois, scale)
    return gradient


#: torchvision's names of arguments.
NAMES = {"features": "input", "rois": "boxes"}
#: The forward kernels, by the name of the operator. Some have a second result, which tells the backward kernel where
#: each value came from. `_roi_pool_backward` depends only on that result, so torchvision's own kernel is kept.
FORWARD: dict[str, Callable[..., Any]] = {
    "roi_align": renaming(**NAMES)(_roi_align),
    "roi_pool": renaming(**NAMES)(_roi_pool),
    "ps_roi_align": renaming(**NAMES)(_ps_roi_align),
    "ps_roi_pool": renaming(**NAMES)(_ps_roi_pool),
}
BACKWARD: dict[str, Callable[..., Any]] = {
    "_roi_align_backward": _roi_align_backward,
    "_ps_roi_align_backward": _ps_roi_align_backward,
    "_ps_roi_pool_backward": _ps_roi_pool_backward,
}


def _features_of(grad: Tensor, shape: Any) -> Tensor:
    """A stand-in with the shape of the features: the gradient of a mean does not depend on their values."""
    return grad.new_zeros(()).expand(*shape)


def _channels_read(pooled: Tensor) -> Tensor:
    """The index of the input channel that every value is pooled from."""
    count, channels, height, width = pooled.shape
    numbers = torch.arange(channels * height * width, dtype=torch.int32, device=pooled.device)
    return numbers.reshape(1, channels, height, width).repeat(count, 1, 1, 1)


def _argmax(input: Tensor, rois: Tensor, scale: float, height: int, width: int) -> Tensor:
    """The index ``y * W + x`` of the pixel that every value of RoIPool comes from; -1 for an empty bin.

    It is RoIPool of a map of pixel indices, with the maxima chosen by the values of `input`.
    """
    images, channels, rows, columns = input.shape
    # float32 represents every index exactly if the map has fewer than 2^24 pixels.
    enough = torch.float32 if rows * columns < 1 << 24 else torch.float64
    deciding = input.detach().to(torch.promote_types(input.dtype, enough))
    numbers = torch.arange(1, rows * columns + 1, dtype=deciding.dtype, device=input.device)
    indices = numbers.reshape(1, 1, rows, columns).expand(images, channels, -1, -1)
    call = operator_call(ROI_POOL, [indices], [scale], rois.detach(), deciding=(deciding,))
    pooled: Tensor = call.forward((height, width))
    return (pooled - 1).to(torch.int32)
