"""`detectron2.layers.ROIAlign` and `detectron2.modeling.poolers.ROIPooler` on our kernels.

Signatures and conventions are detectron2's: aligned by default, and its rule of levels. Where detectron2 goes wrong
this does not follow; docs/migrating.md says where.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from .. import _validate
from ..ops.multiscale_roi_align import multiscale_roi_align
from ..ops.roi_align_rotated import roi_align_rotated
from ..torch._levels import box_side, levels_reached
from ._module import DescribedModule, RoIAlignModule

__all__ = ["ROIAlign", "ROIAlignRotated", "ROIPooler"]

#: The types of pooler by detectron2's names, and whether each shifts by half a pixel.
ALIGNED_OF_TYPE = {"ROIAlign": False, "ROIAlignV2": True}


class BoxesLike(Protocol):
    """What `detectron2.structures.Boxes` is to us."""

    tensor: Tensor


class ROIAlign(RoIAlignModule):
    """`detectron2.layers.ROIAlign`: RoIAlign of ``[K, 5]`` rows (image index, x1, y1, x2, y2) on one map."""

    def __init__(
        self, output_size: int | Sequence[int], spatial_scale: float, sampling_ratio: int, aligned: bool = True
    ) -> None:
        super().__init__(output_size, spatial_scale, sampling_ratio, aligned)


class ROIAlignRotated(DescribedModule):
    """`detectron2.layers.ROIAlignRotated`: RoIAlign of ``[K, 6]`` rows (image index, centre x, centre y, width, height,
    angle in degrees, counter-clockwise), always aligned."""

    shown = ("output_size", "spatial_scale", "sampling_ratio")

    def __init__(self, output_size: int | Sequence[int], spatial_scale: float, sampling_ratio: int) -> None:
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio

    def forward(self, input: Tensor, rois: Tensor) -> Tensor:
        size = _validate.check_output_size(self.output_size)
        radians = torch.cat([rois[:, :5], torch.deg2rad(rois[:, 5:])], dim=1)
        return roi_align_rotated(input, radians, size, self.spatial_scale, max(self.sampling_ratio, 0))


class ROIPooler(DescribedModule):
    """`detectron2.modeling.poolers.ROIPooler`: RoIAlign of each box on one level of a feature pyramid.

    Concretely, a box of area A is pooled from the coarsest level whose stride is at most ``2 ** floor(canonical_level +
    log2(sqrt(A) / canonical_box_size + 1e-8))``, and from the finest where there is none. The strides are those of
    `scales`, which need not be powers of two, and the output need not be square.
    """

    shown = ("output_size", "scales", "sampling_ratio", "pooler_type", "canonical_box_size", "canonical_level")

    def __init__(
        self,
        output_size: int | Sequence[int],
        scales: Sequence[float],
        sampling_ratio: int,
        pooler_type: str,
        canonical_box_size: int = 224,
        canonical_level: int = 4,
    ) -> None:
        super().__init__()
        _validate.check_choice(pooler_type, "pooler_type", tuple(ALIGNED_OF_TYPE))
        self.output_size = _validate.check_output_size(output_size)
        self.scales = _validate.check_scales(scales)
        self.sampling_ratio = sampling_ratio
        self.pooler_type = pooler_type
        self.canonical_box_size = canonical_box_size
        self.canonical_level = canonical_level

    def forward(self, x: Sequence[Tensor], box_lists: Sequence[Tensor | BoxesLike]) -> Tensor:
        """Pool boxes, per image a ``[L, 4]`` tensor or an object that holds it as `tensor`, from the levels `x`.

        Returns ``[K, C, PH, PW]`` in the order of the boxes.
        """
        boxes = [entry if isinstance(entry, Tensor) else entry.tensor for entry in box_lists]
        return multiscale_roi_align(
            list(x),
            boxes,
            self.output_size,
            self.scales,
            max(self.sampling_ratio, 0),
            levels=self._levels(torch.cat(boxes)) if boxes else None,
            aligned=ALIGNED_OF_TYPE[self.pooler_type],
        )

    def _levels(self, boxes: Tensor) -> Tensor:
        target = torch.floor(self.canonical_level + torch.log2(box_side(boxes) / self.canonical_box_size + 1e-8))
        return levels_reached(target, [round(-math.log2(scale)) for scale in self.scales[1:]])
