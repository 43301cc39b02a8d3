"""The two kinds of boxes of a detector, upright and rotated, and the operations that differ between them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from ..ops.rotated_iou import rotated_iou
from .boxes import BoxCoder, box_iou, clip_boxes, large_enough
from .rotated_boxes import flipped, from_upright, hulls, scaled
from .rotated_coders import MidpointOffsetCoder, RotatedBoxCoder

#: The size (height, width) of an image.
Size = tuple[int, int]


class Coder(Protocol):
    """Boxes as offsets from reference boxes."""

    numbers: int
    """The number of offsets of a box."""

    def encode(self, boxes: Tensor, references: Tensor) -> Tensor:
        """Offsets ``[L, numbers]``."""
        ...

    def decode(self, offsets: Tensor, references: Tensor) -> Tensor:
        """Boxes ``[L, D, ...]`` at offsets ``[L, D, numbers]``."""
        ...


class BoxKind(ABC):
    """How boxes of one kind are stored, encoded, compared and moved.

    There is one object of each kind, :data:`UPRIGHT` and :data:`ROTATED`.
    """

    key: ClassVar[str]
    """The name of the boxes in a target and in detections."""
    numbers: ClassVar[int]
    """The number of values of a box."""
    form: ClassVar[str]
    """The expected form of a row of a target, for error messages."""
    pooler: ClassVar[str]
    """The default pooler."""
    shared_offsets: ClassVar[bool]
    """Whether all classes share the offsets of the last stage."""
    proposals: ClassVar[Mapping[str, Any]] = {}
    """The values of :class:`ProposalSettings` that differ from its defaults."""
    regions: ClassVar[Mapping[str, Any]] = {}
    """The values of :class:`RoISettings` that differ from its defaults."""

    @abstractmethod
    def proposal_coder(self) -> Coder:
        """The offsets of proposals from upright anchors."""

    @abstractmethod
    def stage_coder(self, factor: float) -> Coder:
        """The offsets of a stage from its proposals, as `factor` times the weighted offsets of a single stage."""

    @abstractmethod
    def hulls(self, boxes: Tensor) -> Tensor:
        """The upright hulls ``[..., 4]``."""

    @abstractmethod
    def overlaps(self, boxes: Tensor, others: Tensor) -> Tensor:
        """Intersection over union ``[L, M]``."""

    @abstractmethod
    def clip(self, boxes: Tensor, size: Size) -> Tensor:
        """Clip boxes to an image."""

    @abstractmethod
    def large_enough(self, boxes: Tensor, side: float) -> Tensor:
        """Whether both sides of each box are at least `side` long, ``[L]``."""

    @abstractmethod
    def resize(self, boxes: Tensor, size: Size, new_size: Size) -> Tensor:
        """Scale boxes from an image of `size` to the same image of `new_size`."""

    @abstractmethod
    def move(self, boxes: Tensor, x: float, y: float) -> Tensor:
        """Move boxes by so many pixels."""

    @abstractmethod
    def as_rotated(self, boxes: Tensor) -> Tensor:
        """The boxes as rotated boxes ``[..., 5]``."""

    @abstractmethod
    def mirror(self, boxes: Tensor, size: Size, *, vertically: bool = False) -> Tensor:
        """Mirror boxes left to right on an image of `size` (height, width), or top to bottom with `vertically`."""

    @abstractmethod
    def valid(self, boxes: Tensor) -> Tensor:
        """Whether each box of a target is finite and has an area, ``[L]``."""

    def found(self, boxes: Tensor) -> dict[str, Tensor]:
        """The boxes of detections by their names: always `boxes`, the upright hulls."""
        return {self.key: boxes, "boxes": self.hulls(boxes)}


class UprightBoxes(BoxKind):
    """Boxes ``[L, 4]`` (x1, y1, x2, y2)."""

    key = "boxes"
    numbers = 4
    form = "x1 < x2, y1 < y2"
    pooler = "exact"
    shared_offsets = False

    def proposal_coder(self) -> Coder:
        return BoxCoder((1.0, 1.0, 1.0, 1.0))

    def stage_coder(self, factor: float) -> Coder:
        return BoxCoder((10.0 * factor, 10.0 * factor, 5.0 * factor, 5.0 * factor))

    def hulls(self, boxes: Tensor) -> Tensor:
        return boxes

    def overlaps(self, boxes: Tensor, others: Tensor) -> Tensor:
        return box_iou(boxes, others)

    def clip(self, boxes: Tensor, size: Size) -> Tensor:
        return clip_boxes(boxes, size)

    def large_enough(self, boxes: Tensor, side: float) -> Tensor:
        return large_enough(boxes, side)

    def resize(self, boxes: Tensor, size: Size, new_size: Size) -> Tensor:
        y, x = new_size[0] / size[0], new_size[1] / size[1]
        return boxes * boxes.new_tensor([x, y, x, y])

    def move(self, boxes: Tensor, x: float, y: float) -> Tensor:
        return boxes + boxes.new_tensor([x, y, x, y])

    def as_rotated(self, boxes: Tensor) -> Tensor:
        return from_upright(boxes)

    def mirror(self, boxes: Tensor, size: Size, *, vertically: bool = False) -> Tensor:
        left, top, right, bottom = boxes.unbind(1)
        if vertically:
            return torch.stack([left, size[0] - bottom, right, size[0] - top], dim=1)
        return torch.stack([size[1] - right, top, size[1] - left, bottom], dim=1)

    def valid(self, boxes: Tensor) -> Tensor:
        return (boxes[:, 2:] > boxes[:, :2]).all(dim=1) & boxes.isfinite().all(dim=1)


class RotatedBoxes(BoxKind):
    """Boxes ``[L, 5]`` (centre x, centre y, width, height, angle): see :mod:`roialign.detection.rotated_boxes`.

    The defaults are those of Oriented R-CNN in mmrotate. An aerial image can have more than a thousand objects.
    """

    key = "rotated_boxes"
    numbers = 5
    form = "(centre x, centre y, width > 0, height > 0, angle)"
    pooler = "rotated"
    shared_offsets = True
    proposals: ClassVar[Mapping[str, Any]] = {
        "before_nms": (2000, 2000),
        "after_nms": (2000, 2000),
        "nms_threshold": 0.8,
    }
    regions: ClassVar[Mapping[str, Any]] = {"nms_threshold": 0.1, "detections": 2000}

    def proposal_coder(self) -> Coder:
        return MidpointOffsetCoder()

    def stage_coder(self, factor: float) -> Coder:
        return RotatedBoxCoder((10.0 * factor, 10.0 * factor, 5.0 * factor, 5.0 * factor, 10.0 * factor))

    def hulls(self, boxes: Tensor) -> Tensor:
        return hulls(boxes)

    def overlaps(self, boxes: Tensor, others: Tensor) -> Tensor:
        return rotated_iou(boxes, others, clockwise=True)

    def clip(self, boxes: Tensor, size: Size) -> Tensor:
        """Move the centres into the image, and limit the sides to the sum of its height and width.

        Clipping the box itself would give a polygon.
        """
        height, width = size
        x, y = boxes[..., :1].clamp(0, width), boxes[..., 1:2].clamp(0, height)
        return torch.cat([x, y, boxes[..., 2:4].clamp(max=height + width), boxes[..., 4:]], dim=-1)

    def large_enough(self, boxes: Tensor, side: float) -> Tensor:
        return (boxes[:, 2:4] >= side).all(dim=1) & boxes.isfinite().all(dim=1)

    def resize(self, boxes: Tensor, size: Size, new_size: Size) -> Tensor:
        return scaled(boxes, new_size[1] / size[1], new_size[0] / size[0])

    def move(self, boxes: Tensor, x: float, y: float) -> Tensor:
        return boxes + boxes.new_tensor([x, y, 0, 0, 0])

    def as_rotated(self, boxes: Tensor) -> Tensor:
        return boxes

    def mirror(self, boxes: Tensor, size: Size, *, vertically: bool = False) -> Tensor:
        return flipped(boxes, size, vertically=vertically)

    def valid(self, boxes: Tensor) -> Tensor:
        # If the centre is far away, a short side is lost in the rounding of the hull.
        return (boxes[:, 2:4] > 0).all(dim=1) & boxes.isfinite().all(dim=1) & UPRIGHT.valid(hulls(boxes))


UPRIGHT, ROTATED = UprightBoxes(), RotatedBoxes()
KINDS: tuple[BoxKind, ...] = (UPRIGHT, ROTATED)
