"""mmcv's rotated RoIAlign, RoIPool and deformable RoI pooling, as functions and as modules."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from .. import _validate
from .._frameworks import single_map_forward
from .._spec import PointwiseSpec
from ..ops.deform_roi_pool import deform_roi_pool as _deform_roi_pool
from ..ops.riroi_align_rotated import riroi_align_rotated as _riroi_align_rotated
from ..ops.roi_align_rotated import roi_align_rotated as _roi_align_rotated
from ..torch import modules as point_modules
from ._calls import asserting, not_negative, peer
from ._deprecated import deprecated_names
from ._held import HeldFunction
from ._names import renaming

#: mmcv's RoIPool does not round the boxes. Its bins divide the interval from x1 * scale to (x2 + 1) * scale.
ROI_POOL = PointwiseSpec(mapping="inclusive", rule="pixels", reduction="max")


@peer(features="input")
def roi_align_rotated(
    input: Tensor,
    rois: Tensor,
    output_size: int | Sequence[int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = 0,
    aligned: bool = True,
    clockwise: bool = False,
) -> Tensor:
    """`mmcv.ops.roi_align_rotated`, which is also differentiable with respect to the boxes.

    Concretely, it is ``roialign.roi_align_rotated(input, rois, output_size, spatial_scale, sampling_ratio, ...)``,
    where `rois` has shape ``[K, 6]`` and rows (image index, centre x, centre y, width, height, angle in radians).

    Examples
    --------
    >>> import torch
    >>> from roialign.compat.mmcv import roi_align_rotated
    >>> roi_align_rotated(torch.ones(1, 1, 8, 8), torch.tensor([[0, 4.0, 4.0, 3.0, 2.0, 0.5]]), 1).round(decimals=4)
    tensor([[[[1.]]]])
    """
    size = _validate.check_output_size(output_size)
    options = (size, spatial_scale, not_negative(sampling_ratio))
    return _roi_align_rotated(input, rois, *options, aligned=aligned, clockwise=clockwise)


@peer(sampling_ratio="num_samples")
def riroi_align_rotated(
    features: Tensor,
    rois: Tensor,
    out_size: int | Sequence[int],
    spatial_scale: float,
    num_samples: int = 0,
    num_orientations: int = 8,
    clockwise: bool = False,
) -> Tensor:
    """`mmcv.ops.riroi_align_rotated`, which is also differentiable with respect to the boxes.

    Concretely, it is ``roialign.riroi_align_rotated(features, rois, out_size, spatial_scale, num_samples, ...)``.

    Examples
    --------
    >>> import torch
    >>> from roialign.compat.mmcv import riroi_align_rotated
    >>> riroi_align_rotated(torch.ones(1, 8, 8, 8), torch.tensor([[0, 4.0, 4.0, 3.0, 2.0, 0.5]]), 1, 1.0).shape
    torch.Size([1, 8, 1, 1])
    """
    size = _validate.check_output_size(out_size, "out_size")
    options = (size, spatial_scale, not_negative(num_samples))
    return _riroi_align_rotated(features, rois, *options, num_orientations=num_orientations, clockwise=clockwise)


@peer(features="input")
def roi_pool(input: Tensor, rois: Tensor, output_size: int | Sequence[int], spatial_scale: float = 1.0) -> Tensor:
    """`mmcv.ops.roi_pool`: RoIPool without rounding of the boxes. (torchvision rounds them.)

    Concretely, ``out[k, c, i, j]`` is the maximum over the rows from ``floor(y1 * spatial_scale + i * h)`` to
    ``ceil(y1 * spatial_scale + (i + 1) * h) - 1`` with ``h = (y2 + 1 - y1) * spatial_scale / PH``, and over the
    analogous columns.

    Examples
    --------
    >>> import torch
    >>> from roialign.compat.mmcv import roi_pool
    >>> roi_pool(torch.arange(16.0).reshape(1, 1, 4, 4), torch.tensor([[0, 0.0, 0.0, 1.0, 1.0]]), 1)
    tensor([[[[5.]]]])
    """
    pooled: Tensor = single_map_forward(ROI_POOL, input, spatial_scale, rois, output_size)
    return pooled


@peer(features="input")
def deform_roi_pool(
    input: Tensor,
    rois: Tensor,
    offset: Tensor | None,
    output_size: int | Sequence[int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = 0,
    gamma: float = 0.1,
) -> Tensor:
    """`mmcv.ops.deform_roi_pool`, which is also differentiable with respect to the boxes.

    Concretely, it is ``roialign.deform_roi_pool(input, rois, offset, output_size, spatial_scale, ...)``. An empty
    `offset` means no offsets. Unlike in mmcv, the gradient of an offset is also correct at the border of the map.

    Examples
    --------
    >>> import torch
    >>> from roialign.compat.mmcv import deform_roi_pool
    >>> deform_roi_pool(torch.ones(1, 1, 8, 8), torch.tensor([[0, 1.0, 1.0, 5.0, 5.0]]), torch.zeros(1, 2, 1, 1), 1)
    tensor([[[[1.]]]])
    """
    given = None if offset is None or offset.numel() == 0 else offset
    size = _validate.check_output_size(output_size)
    return _deform_roi_pool(input, rois, given, size, spatial_scale, not_negative(sampling_ratio), gamma)


class RoIAlignRotated(HeldFunction):
    """`mmcv.ops.RoIAlignRotated`: :func:`roi_align_rotated` as a module."""

    function = staticmethod(roi_align_rotated)
    columns = 6
    required = ("spatial_scale",)
    holds_pair = True
    __init__ = asserting(deprecated_names(out_size="output_size", sample_num="sampling_ratio")(HeldFunction.__init__))


class RiRoIAlignRotated(HeldFunction):
    """`mmcv.ops.RiRoIAlignRotated`: :func:`riroi_align_rotated` as a module."""

    function = staticmethod(riroi_align_rotated)
    columns = 6

    def forward(self, features: Tensor, rois: Tensor) -> Tensor:
        return super().forward(features, rois)


class RoIPool(HeldFunction):
    """`mmcv.ops.RoIPool`: :func:`roi_pool` as a module."""

    function = staticmethod(roi_pool)
    holds_pair = True


#: Arguments of roialign's modules that mmcv's modules do not have.
NOT_OF_MMCV = ("sampling", "layout", "invalid", "seed", "backend")


class DeformRoIPool(point_modules.DeformRoIPool):
    """`mmcv.ops.DeformRoIPool`: :func:`deform_roi_pool` as a module."""

    left_out = NOT_OF_MMCV

    @asserting
    def forward(self, input: Tensor, rois: Tensor, offset: Tensor | None = None) -> Tensor:  # type: ignore[override]
        return deform_roi_pool(input, rois, offset, **self.arguments)


class DeformRoIPoolPack(point_modules.DeformRoIPoolPack):
    """`mmcv.ops.DeformRoIPoolPack`: predicts its offsets from features pooled without offsets."""

    left_out = NOT_OF_MMCV

    @asserting
    @renaming(features="input")
    def forward(self, input: Tensor, rois: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(input, rois)


class ModulatedDeformRoIPoolPack(point_modules.ModulatedDeformRoIPoolPack):
    """`mmcv.ops.ModulatedDeformRoIPoolPack`: predicts its offsets and a weight for every bin."""

    left_out = NOT_OF_MMCV

    @asserting
    @renaming(features="input")
    def forward(self, input: Tensor, rois: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(input, rois)
