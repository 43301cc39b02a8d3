"""RoIPool and deformable RoI pooling on a feature pyramid in one call, as functions and modules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from .. import _validate
from .._recording import recordable
from .._spec import PointwiseSpec
from ..ops.deform_roi_pool import deform_roi_pool_spec
from ..ops.multiscale_roi_align import pyramid_call
from ..ops.roi_pool import ROI_POOL
from ..torch import DeformRoIPoolPack, ModulatedDeformRoIPoolPack, RoIPool

#: The canonical size and level of :func:`roialign.fpn_levels`, which assigns RoIs to levels.
CANONICAL_SIZE, CANONICAL_LEVEL = 224, 4


@recordable
def multiscale_roi_pool(
    features: Sequence[Tensor],
    rois: Tensor | Sequence[Tensor],
    output_size: int | tuple[int, int],
    spatial_scales: Sequence[float] = (1.0,),
    *,
    levels: Tensor | None = None,
    batch_indices: Tensor | None = None,
    layout: str = "NCHW",
) -> Tensor:
    """Apply :func:`roialign.roi_pool` to each RoI on one level of a feature pyramid.

    Concretely, ``out[k]`` is ``roi_pool(features[l], rois[k], output_size, spatial_scales[l])`` with
    l = ``fpn_levels(rois, spatial_scales)[k]``, or ``levels[k]`` if `levels` is given.
    """
    return _pool(ROI_POOL, features, rois, output_size, spatial_scales, levels, batch_indices, layout)


@recordable
def multiscale_deform_roi_pool(
    features: Sequence[Tensor],
    rois: Tensor | Sequence[Tensor],
    offset: Tensor | None,
    output_size: int | tuple[int, int],
    spatial_scales: Sequence[float] = (1.0,),
    sampling_ratio: int | tuple[int, int] = 0,
    gamma: float = 0.1,
    *,
    mask: Tensor | None = None,
    levels: Tensor | None = None,
    batch_indices: Tensor | None = None,
    layout: str = "NCHW",
) -> Tensor:
    """Apply :func:`roialign.deform_roi_pool` to each RoI on one level of a feature pyramid.

    Concretely, ``out[k]`` is ``deform_roi_pool(features[l], rois[k], offset[k], output_size, spatial_scales[l], ...)``
    with l as in :func:`multiscale_roi_pool`.
    """
    spec = deform_roi_pool_spec(sampling_ratio, gamma, "grid")
    rest = (output_size, spatial_scales, levels, batch_indices, layout)
    return _pool(spec, features, rois, *rest, offset=offset, mask=mask)


def _pool(
    spec: PointwiseSpec,
    features: Sequence[Tensor],
    rois: Tensor | Sequence[Tensor],
    output_size: int | tuple[int, int],
    spatial_scales: Sequence[float],
    levels: Tensor | None,
    batch_indices: Tensor | None,
    layout: str,
    **per_bin: Any,
) -> Tensor:
    rule = (CANONICAL_SIZE, CANONICAL_LEVEL)
    call = pyramid_call(
        spec, features, rois, spatial_scales, levels, *rule, batch_indices, layout, None, None, None, **per_bin
    )
    pooled: Tensor = call.forward(_validate.check_output_size(output_size))
    return pooled


class MultiScaleRoIPool(RoIPool):
    """:func:`multiscale_roi_pool` as a module.

    Concretely, ``MultiScaleRoIPool(output_size, spatial_scales)(features, rois)`` is
    ``multiscale_roi_pool(features, rois, output_size, spatial_scales)``.

    Examples
    --------
    >>> import torch
    >>> from roialign.detection import MultiScaleRoIPool
    >>> pyramid = [torch.ones(1, 8, 64, 64), 2 * torch.ones(1, 8, 32, 32)]
    >>> boxes = torch.tensor([[0, 16.0, 16.0, 48.0, 48.0], [0, 0.0, 0.0, 250.0, 250.0]])
    >>> MultiScaleRoIPool(7, [1 / 4, 1 / 8])(pyramid, boxes).mean(dim=(1, 2, 3))
    tensor([1., 2.])
    """

    function = staticmethod(multiscale_roi_pool)  # type: ignore[assignment]


class MultiScaleDeformRoIPool(DeformRoIPoolPack):
    """Deformable RoI pooling on a feature pyramid, with learned offsets.

    Concretely, it is :class:`roialign.torch.DeformRoIPoolPack` on the level of each RoI:
    ``MultiScaleDeformRoIPool(output_size, output_channels, deform_fc_channels, spatial_scales, ...)(features, rois)``.

    Examples
    --------
    >>> import torch
    >>> from roialign.detection import MultiScaleDeformRoIPool
    >>> pyramid = [torch.ones(1, 8, 64, 64), 2 * torch.ones(1, 8, 32, 32)]
    >>> boxes = torch.tensor([[0, 16.0, 16.0, 48.0, 48.0], [0, 0.0, 0.0, 250.0, 250.0]])
    >>> MultiScaleDeformRoIPool(7, 8, 16, [1 / 4, 1 / 8])(pyramid, boxes).mean(dim=(1, 2, 3)).round().tolist()
    [1.0, 2.0]
    """

    function = staticmethod(multiscale_deform_roi_pool)  # type: ignore[assignment]


class MultiScaleModulatedDeformRoIPool(ModulatedDeformRoIPoolPack):
    """Deformable RoI pooling on a feature pyramid, with learned offsets and a learned weight for every bin.

    Concretely, it is :class:`roialign.torch.ModulatedDeformRoIPoolPack` on the level of each RoI.

    Examples
    --------
    >>> import torch
    >>> from roialign.detection import MultiScaleModulatedDeformRoIPool
    >>> pyramid = [2 * torch.ones(1, 8, 64, 64), 4 * torch.ones(1, 8, 32, 32)]
    >>> boxes = torch.tensor([[0, 16.0, 16.0, 48.0, 48.0], [0, 0.0, 0.0, 250.0, 250.0]])
    >>> pool = MultiScaleModulatedDeformRoIPool(7, 8, 16, [1 / 4, 1 / 8])
    >>> pool(pyramid, boxes).mean(dim=(1, 2, 3)).round().tolist()
    [1.0, 2.0]
    """

    function = staticmethod(multiscale_deform_roi_pool)  # type: ignore[assignment]
