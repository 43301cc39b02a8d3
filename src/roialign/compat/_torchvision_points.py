"""torchvision's RoIPool and position-sensitive operators, as functions and as modules."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from .. import _validate
from ..ops.ps_roi_align import ps_roi_align as _ps_roi_align
from ..ops.ps_roi_pool import ps_roi_pool as _ps_roi_pool
from ..ops.roi_pool import roi_pool as _roi_pool
from ._calls import not_negative, peer
from ._held import HeldFunction


@peer(features="input", rois="boxes")
def roi_pool(
    input: Tensor, boxes: Tensor | Sequence[Tensor], output_size: int | Sequence[int], spatial_scale: float = 1.0
) -> Tensor:
    """`torchvision.ops.roi_pool`: the maximum over whole pixels. NaN counts as larger than every number.

    Concretely, it is ``roialign.roi_pool(input, boxes, output_size, spatial_scale)``.

    Examples
    --------
    >>> import torch
    >>> from roialign.compat.torchvision import roi_pool
    >>> roi_pool(torch.arange(16.0).reshape(1, 1, 4, 4), [torch.tensor([[0.0, 0.0, 1.0, 1.0]])], 1)
    tensor([[[[5.]]]])
    """
    return _roi_pool(input, boxes, _validate.check_output_size(output_size), spatial_scale)


@peer(features="input", rois="boxes")
def ps_roi_align(
    input: Tensor,
    boxes: Tensor | Sequence[Tensor],
    output_size: int | Sequence[int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
) -> Tensor:
    """`torchvision.ops.ps_roi_align`, which is also differentiable with respect to the boxes.

    Concretely, it is ``roialign.ps_roi_align(input, boxes, output_size, spatial_scale, max(sampling_ratio, 0))``.
    Unlike in torchvision, the result for a box of zero size is finite.

    Examples
    --------
    >>> import torch
    >>> from roialign.compat.torchvision import ps_roi_align
    >>> ps_roi_align(torch.ones(1, 4, 8, 8), [torch.tensor([[1.0, 1.0, 5.0, 5.0]])], 2).shape
    torch.Size([1, 1, 2, 2])
    """
    size = _validate.check_output_size(output_size)
    return _ps_roi_align(input, boxes, size, spatial_scale, not_negative(sampling_ratio))


@peer(features="input", rois="boxes")
def ps_roi_pool(
    input: Tensor, boxes: Tensor | Sequence[Tensor], output_size: int | Sequence[int], spatial_scale: float = 1.0
) -> Tensor:
    """`torchvision.ops.ps_roi_pool`, with a correct gradient.

    Concretely, it is ``roialign.ps_roi_pool(input, boxes, output_size, spatial_scale)``. The gradient uses the same
    bins as the forward pass; torchvision's does not.

    Examples
    --------
    >>> import torch
    >>> from roialign.compat.torchvision import ps_roi_pool
    >>> ps_roi_pool(torch.ones(1, 4, 8, 8), [torch.tensor([[1.0, 1.0, 5.0, 5.0]])], 2).shape
    torch.Size([1, 1, 2, 2])
    """
    return _ps_roi_pool(input, boxes, _validate.check_output_size(output_size), spatial_scale)


class RoIPool(HeldFunction):
    """`torchvision.ops.RoIPool`: :func:`roi_pool` as a module."""

    function = staticmethod(roi_pool)
    required = ("spatial_scale",)


class PSRoIAlign(HeldFunction):
    """`torchvision.ops.PSRoIAlign`: :func:`ps_roi_align` as a module."""

    function = staticmethod(ps_roi_align)
    required = ("spatial_scale", "sampling_ratio")


class PSRoIPool(HeldFunction):
    """`torchvision.ops.PSRoIPool`: :func:`ps_roi_pool` as a module."""

    function = staticmethod(ps_roi_pool)
    required = ("spatial_scale",)
