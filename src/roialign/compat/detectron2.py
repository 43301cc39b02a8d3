"""Drop-in replacements for detectron2's `ROIAlign`, `ROIAlignRotated`, `ROIPooler` and overlaps of rotated boxes.

Signatures and conventions are detectron2's: boxes are aligned by default, and levels are assigned by its rule. Known
bugs of detectron2 are not reproduced; docs/migrating.md lists the differences.
"""

from __future__ import annotations

from ..torch import _installed  # noqa: F401 - first, so that it says what is missing

# isort: split
import math
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from .. import _validate
from .._frameworks import operator_call
from .._spec import Spec
from ..ops.roi_align import roi_align_spec
from ..ops.roi_align_rotated import roi_align_rotated, roi_align_rotated_spec
from ..ops.roi_pool import ROI_POOL
from ..torch.checks import check_boxes
from ..torch.levels import box_side, levels_reached
from ._calls import asserting, not_negative, peer
from ._detectron2_rotated import batched_nms_rotated, nms_rotated, pairwise_iou_rotated
from ._module import DescribedModule, RoIAlignModule, check_arguments, empty_map, whole
from ._names import renaming

__all__ = [
    "ROIAlign",
    "ROIAlignRotated",
    "ROIPooler",
    "batched_nms_rotated",
    "nms_rotated",
    "pairwise_iou_rotated",
]

#: The pooler types by detectron2's names, and for each a function from the sampling ratio to its specification.
POOLERS: dict[str, Callable[[int], Spec]] = {
    "ROIAlign": lambda ratio: roi_align_spec(ratio, False, "avg", "grid"),
    "ROIAlignV2": lambda ratio: roi_align_spec(ratio, True, "avg", "grid"),
    "ROIPool": lambda _: ROI_POOL,
    "ROIAlignRotated": lambda ratio: roi_align_rotated_spec(ratio, True, False, "avg", "grid"),
}


class BoxesLike(Protocol):
    """The interface of `detectron2.structures.Boxes` and `RotatedBoxes` that is used here."""

    tensor: Tensor


class ROIAlign(RoIAlignModule):
    """`detectron2.layers.ROIAlign`: RoIAlign on one map, for ``[K, 5]`` rows (image index, x1, y1, x2, y2)."""

    def __init__(
        self, output_size: int | Sequence[int], spatial_scale: float, sampling_ratio: int, aligned: bool = True
    ) -> None:
        super().__init__(output_size, spatial_scale, sampling_ratio, aligned)


class ROIAlignRotated(DescribedModule):
    """`detectron2.layers.ROIAlignRotated`: RoIAlign for rotated boxes on one map, always aligned.

    The boxes are ``[K, 6]`` rows (image index, centre x, centre y, width, height, angle). The angle is in degrees,
    counter-clockwise.
    """

    shown = ("output_size", "spatial_scale", "sampling_ratio")
    columns = 6

    def __init__(self, output_size: int | Sequence[int], spatial_scale: float, sampling_ratio: int) -> None:
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio
        check_arguments(self, ROIAlignRotated.forward)

    @asserting
    @renaming(features="input")
    def forward(self, input: Tensor, rois: Tensor) -> Tensor:
        size = _validate.check_output_size(self.output_size)
        points = not_negative(whole(self.sampling_ratio))
        return roi_align_rotated(input, _in_radians(rois), size, self.spatial_scale, points)


def _in_radians(rows: Tensor) -> Tensor:
    """Convert the angle in the last column from degrees to radians."""
    return torch.cat([rows[:, :-1], torch.deg2rad(rows[:, -1:])], dim=1)


def _tensor_of(entry: object, name: str, columns: int) -> Tensor:
    """Return the boxes of one image, given as a tensor or as an object with a `tensor` attribute."""
    boxes = entry if isinstance(entry, Tensor) else getattr(entry, "tensor", None)
    if not isinstance(boxes, Tensor):
        kind = type(entry)
        raise TypeError(
            f"{name}: expected a torch.Tensor, or an object with one as its attribute `tensor`, "
            f"got {kind.__module__}.{kind.__qualname__}"
        )
    check_boxes(boxes, columns, name)
    return boxes


class ROIPooler(DescribedModule):
    """`detectron2.modeling.poolers.ROIPooler`: pool each box from one level of a feature pyramid.

    The pooler types are "ROIAlign" (not aligned), "ROIAlignV2" (aligned), "ROIPool" and "ROIAlignRotated". The boxes of
    "ROIAlignRotated" are (centre x, centre y, width, height, angle in degrees, counter-clockwise).

    Concretely, a box of area A is pooled from the coarsest level whose stride is at most
    ``2 ** floor(canonical_level + log2(sqrt(A) / canonical_box_size + 1e-8))``, or from the finest level if there is
    none. The strides are ``1 / scales``, which need not be powers of two. The output need not be square.
    """

    shown = ("output_size", "scales", "sampling_ratio", "pooler_type", "canonical_box_size", "canonical_level")

    @asserting
    @renaming(spatial_scales="scales")
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
        _validate.check_choice(pooler_type, "pooler_type", tuple(POOLERS))
        self.output_size = _validate.check_output_size(output_size)
        self.scales = _validate.check_scales(scales)
        self.sampling_ratio = sampling_ratio
        self.pooler_type = pooler_type
        self.canonical_box_size = canonical_box_size
        self.canonical_level = canonical_level
        columns = 5 if pooler_type == "ROIAlignRotated" else 4
        maps = [empty_map()] * len(self.scales)
        check_arguments(self, ROIPooler.forward, maps, [torch.zeros((0, columns), device="cpu")])

    def forward(self, x: Sequence[Tensor], box_lists: Sequence[Tensor | BoxesLike]) -> Tensor:
        """Pool boxes from the levels `x`, to a tensor ``[K, C, PH, PW]`` in the order of the boxes.

        The boxes of each image are a ``[L, 4]`` tensor, or an object that holds one as `tensor`. For "ROIAlignRotated"
        they are ``[L, 5]``.
        """
        options = (self.sampling_ratio, self.canonical_box_size, self.canonical_level)
        return pool_boxes(x, box_lists, self.pooler_type, self.output_size, self.scales, *options)


@peer(features="x", rois="box_lists", spatial_scale="scales", spatial_scales="scales")
def pool_boxes(
    x: Sequence[Tensor],
    box_lists: Sequence[Tensor | BoxesLike],
    pooler_type: str,
    output_size: tuple[int, int],
    scales: Sequence[float],
    sampling_ratio: int,
    canonical_box_size: int,
    canonical_level: int,
) -> Tensor:
    """Compute :class:`ROIPooler`."""
    columns = 5 if pooler_type == "ROIAlignRotated" else 4
    boxes = [_tensor_of(entry, f"box_lists[{image}]", columns) for image, entry in enumerate(box_lists)]
    levels = None
    if boxes:
        target = torch.floor(canonical_level + torch.log2(box_side(torch.cat(boxes)) / canonical_box_size + 1e-8))
        levels = levels_reached(target, [round(-math.log2(scale)) for scale in scales[1:]])
    if pooler_type == "ROIAlignRotated":
        boxes = [_in_radians(entry) for entry in boxes]
    spec = POOLERS[pooler_type](not_negative(whole(sampling_ratio)))
    call = operator_call(spec, list(x), _validate.check_scales(scales, len(x)), boxes, levels=levels)
    pooled: Tensor = call.forward(output_size)
    return pooled
