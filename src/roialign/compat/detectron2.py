"""Drop-in replacements for detectron2's `ROIAlign`, `ROIAlignRotated`, `ROIPooler` and overlaps of rotated boxes.

Signatures and conventions are detectron2's: boxes are aligned by default, and levels are assigned by its rule. Known
bugs of detectron2 are not reproduced; docs/migrating.md lists the differences.
"""

from __future__ import annotations

from ..torch import _installed  # noqa: F401 - first, so that it says what is missing

# isort: split
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from .. import _validate
from .._frameworks import operator_call
from .._levels import check_order, level_numbers
from .._recording import is_proxy
from .._spec import Spec
from ..ops.roi_align import roi_align_spec
from ..ops.roi_align_rotated import roi_align_rotated, roi_align_rotated_spec
from ..ops.roi_pool import ROI_POOL
from ..torch.checks import check_array, check_boxes
from ..torch.levels import box_side, levels_reached
from ..torch.rois import rows_of_images
from ._calls import asserting, not_negative, peer
from ._containers import BOXES, items_of, level_maps
from ._detectron2_rotated import batched_nms_rotated, in_radians, nms_rotated, pairwise_iou_rotated
from ._level_layers import are_alike, pool_level_by_level
from ._module import DescribedModule, RoIAlignModule, check_arguments, empty_map, whole
from ._names import renaming
from ._torchvision_points import RoIPool

__all__ = [
    "ROIAlign",
    "ROIAlignRotated",
    "ROIPooler",
    "assign_boxes_to_levels",
    "batched_nms_rotated",
    "convert_boxes_to_pooler_format",
    "nms_rotated",
    "pairwise_iou_rotated",
]


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
        if not is_proxy(rois):
            check_array(rois, "rois")
        return roi_align_rotated(input, in_radians(rois), size, self.spatial_scale, points)


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


def _tensors_of(box_lists: Sequence[Tensor | BoxesLike], columns: int | None = None) -> list[Tensor]:
    """Return the boxes of every image. If `columns` is not given, all have as many as those of the first image."""
    entries = items_of(box_lists, "box_lists", BOXES)
    if columns is None:
        first = getattr(entries[0], "tensor", entries[0]) if entries else None
        columns = 5 if isinstance(first, Tensor) and first.shape[-1:] == (5,) else 4
    return [_tensor_of(entry, f"box_lists[{image}]", columns) for image, entry in enumerate(entries)]


@peer()
def convert_boxes_to_pooler_format(box_lists: Sequence[Tensor | BoxesLike]) -> Tensor:
    """`detectron2.modeling.poolers.convert_boxes_to_pooler_format`: all boxes as rows that begin with the image index.

    The rows are ``[K, 5]``, or ``[K, 6]`` for rotated boxes. Boxes with half precision give float32, which holds every
    image index.
    """
    boxes = _tensors_of(box_lists)
    if not boxes:
        return torch.zeros((0, 5))
    rows = rows_of_images(boxes)
    return rows.to(torch.promote_types(boxes[0].dtype, torch.float32))


@peer()
def assign_boxes_to_levels(
    box_lists: Sequence[Tensor | BoxesLike],
    min_level: int,
    max_level: int,
    canonical_box_size: float,
    canonical_level: float,
) -> Tensor:
    """`detectron2.modeling.poolers.assign_boxes_to_levels`: the level of each box, counted from `min_level`.

    Concretely, the level of a box of area A is ``floor(canonical_level + log2(sqrt(A) / canonical_box_size + 1e-8))``,
    clamped to the range from `min_level` to `max_level`.
    """
    if min_level > max_level:
        raise ValueError(f"min_level: expected at most max_level, {max_level}, got {min_level}")
    return _levels_of(_tensors_of(box_lists), range(min_level + 1, max_level + 1), canonical_box_size, canonical_level)


def _levels_of(boxes: list[Tensor], starts: Sequence[int], canonical_box_size: float, canonical_level: float) -> Tensor:
    """The level of each box. `starts` are the levels after the first."""
    canonical_box_size = _validate.check_number(canonical_box_size, "canonical_box_size", positive=True)
    canonical_level = _validate.check_number(canonical_level, "canonical_level")
    sides = box_side(torch.cat(boxes)) if boxes else torch.zeros(0)
    return levels_reached(torch.floor(canonical_level + torch.log2(sides / canonical_box_size + 1e-8)), starts)


def _starts_of(scales: Sequence[float]) -> list[int]:
    """The levels after the first."""
    check_order(scales)
    return level_numbers(scales[1:])


@peer(features="x", rois="box_lists", spatial_scales="scales")
def _levels_by_scales(
    box_lists: Sequence[Tensor | BoxesLike], scales: Sequence[float], canonical_box_size: float, canonical_level: float
) -> Tensor:
    """Assign boxes to the levels with the given scales by the rule of :class:`ROIPooler`."""
    return _levels_of(_tensors_of(box_lists), _starts_of(scales), canonical_box_size, canonical_level)


#: The layer of each pooler type, made from the output size, the scale of a level and the sampling ratio.
LAYERS: dict[str, Callable[[tuple[int, int], float, int], nn.Module]] = {
    "ROIAlign": lambda size, scale, ratio: ROIAlign(size, scale, ratio, aligned=False),
    "ROIAlignV2": lambda size, scale, ratio: ROIAlign(size, scale, ratio, aligned=True),
    "ROIPool": lambda size, scale, _: RoIPool(size, scale),
    "ROIAlignRotated": lambda size, scale, ratio: ROIAlignRotated(size, scale, ratio),
}


def _points(layer: Any) -> Any:
    return not_negative(whole(layer.sampling_ratio))


#: The layers that have an operator for all levels of a pyramid, and its specification.
IN_ONE_CALL: dict[type[nn.Module], Callable[[Any], Spec]] = {
    ROIAlign: lambda layer: roi_align_spec(_points(layer), layer.aligned, "avg", "grid"),
    RoIPool: lambda _: ROI_POOL,
    ROIAlignRotated: lambda layer: roi_align_rotated_spec(_points(layer), True, False, "avg", "grid"),
}


class ROIPooler(DescribedModule):
    """`detectron2.modeling.poolers.ROIPooler`: pool each box from one level of a feature pyramid.

    The pooler types are "ROIAlign" (not aligned), "ROIAlignV2" (aligned), "ROIPool" and "ROIAlignRotated". The boxes of
    "ROIAlignRotated" are (centre x, centre y, width, height, angle in degrees, counter-clockwise).

    Concretely, a box of area A is pooled from the coarsest level whose stride is at most
    ``2 ** floor(canonical_level + log2(sqrt(A) / canonical_box_size + 1e-8))``, or from the finest level if there is
    none. The strides are ``1 / scales``, finest first, which need not be powers of two. The output need not be square.

    As in detectron2, `level_poolers` holds one RoI layer per level, which may be replaced. `min_level` and `max_level`
    are the logarithms of the first and the last stride, base 2, rounded.
    """

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
        _validate.check_choice(pooler_type, "pooler_type", tuple(LAYERS))
        self.output_size = _validate.check_output_size(output_size)
        scales = _validate.check_scales(scales)
        make = LAYERS[pooler_type]
        self.level_poolers = nn.ModuleList([make(self.output_size, scale, sampling_ratio) for scale in scales])
        self.min_level, self.max_level = level_numbers([scales[0], scales[-1]])
        self.canonical_box_size = canonical_box_size
        self.canonical_level = canonical_level
        columns = 5 if pooler_type == "ROIAlignRotated" else 4
        check_arguments(self, ROIPooler.forward, [empty_map()] * len(scales), [torch.zeros((0, columns), device="cpu")])

    @property
    def scales(self) -> list[float]:
        """The scales of the levels: those of the layers or, for a layer without one, of the level by its place."""
        layers: list[Any] = list(self.level_poolers)
        return [
            layer.spatial_scale if hasattr(layer, "spatial_scale") else 0.5 ** (self.min_level + place)
            for place, layer in enumerate(layers)
        ]

    @asserting
    def forward(self, x: Sequence[Tensor], box_lists: Sequence[Tensor | BoxesLike]) -> Tensor:
        """Pool boxes from the levels `x`, to a tensor ``[K, C, PH, PW]`` in the order of the boxes.

        The boxes of each image are a ``[L, 4]`` tensor, or an object that holds one as `tensor`. For "ROIAlignRotated"
        they are ``[L, 5]``.
        """
        layers: list[Any] = list(self.level_poolers)
        rule = (self.scales, self.canonical_box_size, self.canonical_level)
        spec_of = IN_ONE_CALL.get(type(layers[0]))  # a subclass may compute something else
        if spec_of is not None and are_alike(layers):
            return pool_boxes(x, box_lists, spec_of(layers[0]), layers[0].output_size, *rule)
        maps = _one_per_level(x, len(layers))
        rois = convert_boxes_to_pooler_format(box_lists)
        return pool_level_by_level(layers, maps, rois, _levels_by_scales(box_lists, *rule))


def _one_per_level(x: Sequence[Tensor], count: int) -> list[Tensor]:
    maps = level_maps(x, "x", count)
    if len(maps) != count:
        raise ValueError(f"x: expected one map per level ({count}), got {len(maps)}")
    return maps


@peer(features="x", rois="box_lists", spatial_scale="scales", spatial_scales="scales")
def pool_boxes(
    x: Sequence[Tensor],
    box_lists: Sequence[Tensor | BoxesLike],
    spec: Spec,
    output_size: int | Sequence[int],
    scales: Sequence[float],
    canonical_box_size: int,
    canonical_level: int,
) -> Tensor:
    """Compute :class:`ROIPooler` for all levels in one call."""
    maps = _one_per_level(x, len(scales))
    boxes = _tensors_of(box_lists, spec.geometry())
    starts, levels = _starts_of(scales), None
    if boxes:
        levels = _levels_of(boxes, starts, canonical_box_size, canonical_level)
    if spec.geometry() == 5:
        boxes = [in_radians(entry) for entry in boxes]
    call = operator_call(spec, maps, _validate.check_scales(scales), boxes, levels=levels)
    pooled: Tensor = call.forward(_validate.check_output_size(output_size))
    return pooled
