"""The operators of mmcv over rotated, rounded and moving bins, and the modules that hold their arguments."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from .. import _validate
from .._frameworks import operator_call
from .._spec import PointwiseSpec
from ..ops.deform_roi_pool import deform_roi_pool as _deform_roi_pool
from ..ops.riroi_align_rotated import riroi_align_rotated as _riroi_align_rotated
from ..ops.roi_align_rotated import roi_align_rotated as _roi_align_rotated
from ..torch import modules as point_modules
from ._calls import asserting, peer
from ._deprecated import deprecated_names
from ._held import HeldFunction

#: mmcv's RoIPool rounds nothing: its bins run from x1 * scale to (x2 + 1) * scale.
ROI_POOL = PointwiseSpec(mapping="inclusive", rule="pixels", reduction="max")


@peer
def roi_align_rotated(
    input: Tensor,
    rois: Tensor,
    output_size: int | Sequence[int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = 0,
    aligned: bool = True,
    clockwise: bool = False,
) -> Tensor:
    """`mmcv.ops.roi_align_rotated`, with gradients to the boxes as well.

    Concretely, it is ``roialign.roi_align_rotated(input, rois, output_size, spatial_scale, sampling_ratio, ...)`` with
    `rois` ``[K, 6]`` rows (image index, centre x, centre y, width, height, angle in radians).

    Examples
    --------
    >>> import torch
    >>> from roialign.compat.mmcv import roi_align_rotated
    >>> roi_align_rotated(torch.ones(1, 1, 8, 8), torch.tensor([[0, 4.0, 4.0, 3.0, 2.0, 0.5]]), 1).round(decimals=4)
    tensor([[[[1.]]]])
    """
    size = _validate.check_output_size(output_size)
    options = (size, spatial_scale, max(sampling_ratio, 0))
    return _roi_align_rotated(input, rois, *options, aligned=aligned, clockwise=clockwise)


@peer
def riroi_align_rotated(
    features: Tensor,
    rois: Tensor,
    out_size: int | Sequence[int],
    spatial_scale: float,
    num_samples: int = 0,
    num_orientations: int = 8,
    clockwise: bool = False,
) -> Tensor:
    """`mmcv.ops.riroi_align_rotated`, with gradients to the boxes as well.

    Concretely, it is ``roialign.riroi_align_rotated(features, rois, out_size, spatial_scale, num_samples, ...)``.

    Examples
    --------
    >>> import torch
    >>> from roialign.compat.mmcv import riroi_align_rotated
    >>> riroi_align_rotated(torch.ones(1, 8, 8, 8), torch.tensor([[0, 4.0, 4.0, 3.0, 2.0, 0.5]]), 1, 1.0).shape
    torch.Size([1, 8, 1, 1])
    """
    size = _validate.check_output_size(out_size, "out_size")
    options = (size, spatial_scale, max(num_samples, 0))
    return _riroi_align_rotated(features, rois, *options, num_orientations=num_orientations, clockwise=clockwise)


@peer
def roi_pool(input: Tensor, rois: Tensor, output_size: int | Sequence[int], spatial_scale: float = 1.0) -> Tensor:
    """`mmcv.ops.roi_pool`: the maximum over whole pixels of bins that are not rounded first, as torchvision's are.

    Concretely, ``out[k, c, i, j]`` is the maximum over rows ``floor(y1 * spatial_scale + i * h)`` to
    ``ceil(y1 * spatial_scale + (i + 1) * h) - 1`` with ``h = (y2 + 1 - y1) * spatial_scale / PH``, and columns alike.

    Examples
    --------
    >>> import torch
    >>> from roialign.compat.mmcv import roi_pool
    >>> roi_pool(torch.arange(16.0).reshape(1, 1, 4, 4), torch.tensor([[0, 0.0, 0.0, 1.0, 1.0]]), 1)
    tensor([[[[5.]]]])
    """
    scale = _validate.check_number(spatial_scale, "spatial_scale", positive=True)
    pooled: Tensor = operator_call(ROI_POOL, [input], [scale], rois).forward(_validate.check_output_size(output_size))
    return pooled


@peer
def deform_roi_pool(
    input: Tensor,
    rois: Tensor,
    offset: Tensor | None,
    output_size: int | Sequence[int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = 0,
    gamma: float = 0.1,
) -> Tensor:
    """`mmcv.ops.deform_roi_pool`, with gradients to the boxes as well, and an offset's gradient right at the border.

    Concretely, it is ``roialign.deform_roi_pool(input, rois, offset, output_size, spatial_scale, ...)``; an empty
    `offset` is none.

    Examples
    --------
    >>> import torch
    >>> from roialign.compat.mmcv import deform_roi_pool
    >>> deform_roi_pool(torch.ones(1, 1, 8, 8), torch.tensor([[0, 1.0, 1.0, 5.0, 5.0]]), torch.zeros(1, 2, 1, 1), 1)
    tensor([[[[1.]]]])
    """
    given = None if offset is None or offset.numel() == 0 else offset
    size = _validate.check_output_size(output_size)
    return _deform_roi_pool(input, rois, given, size, spatial_scale, max(sampling_ratio, 0), gamma)


class RoIAlignRotated(HeldFunction):
    """`mmcv.ops.RoIAlignRotated`: :func:`roi_align_rotated` with its arguments held."""

    function = staticmethod(roi_align_rotated)
    required = ("spatial_scale",)
    holds_pair = True
    __init__ = asserting(deprecated_names(out_size="output_size", sample_num="sampling_ratio")(HeldFunction.__init__))


class RiRoIAlignRotated(HeldFunction):
    """`mmcv.ops.RiRoIAlignRotated`: :func:`riroi_align_rotated` with its arguments held."""

    function = staticmethod(riroi_align_rotated)

    def forward(self, features: Tensor, rois: Tensor) -> Tensor:
        return super().forward(features, rois)


class RoIPool(HeldFunction):
    """`mmcv.ops.RoIPool`: :func:`roi_pool` with its arguments held."""

    function = staticmethod(roi_pool)
    holds_pair = True


#: What our modules take besides what mmcv's do.
NOT_OF_MMCV = ("sampling", "layout", "invalid", "seed", "backend")


class DeformRoIPool(point_modules.DeformRoIPool):
    """`mmcv.ops.DeformRoIPool`: :func:`deform_roi_pool` with its arguments held."""

    left_out = NOT_OF_MMCV

    @asserting
    def forward(self, input: Tensor, rois: Tensor, offset: Tensor | None = None) -> Tensor:  # type: ignore[override]
        return deform_roi_pool(input, rois, offset, **self.arguments)


class DeformRoIPoolPack(point_modules.DeformRoIPoolPack):
    """`mmcv.ops.DeformRoIPoolPack`: learns its offsets from what it pools without them."""

    left_out = NOT_OF_MMCV

    @asserting
    def forward(self, input: Tensor, rois: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(input, rois)


class ModulatedDeformRoIPoolPack(point_modules.ModulatedDeformRoIPoolPack):
    """`mmcv.ops.ModulatedDeformRoIPoolPack`: learns its offsets, and a weight for every bin."""

    left_out = NOT_OF_MMCV

    @asserting
    def forward(self, input: Tensor, rois: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(input, rois)
