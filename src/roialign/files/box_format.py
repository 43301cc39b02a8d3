"""Remarks on COCO files whose boxes are probably not (x, y, width, height) in pixels, as some programs export them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .._typing import Corners
from .._validate import LARGEST_COORDINATE
from .orientation import TOLERANCE, Size
from .problems import Problems

#: Relative numbers may lie this far outside 0 to 1, because of rounding.
ROUNDING = 1e-3
#: A box as in the file, and the width and height of its image.
SizedBox = tuple[Sequence[float], Size]


def remark_corners(path: Path, boxes: Sequence[SizedBox], problems: Problems) -> None:
    """Add a remark if the boxes of the file seem to be (x1, y1, x2, y2)."""
    limits = [(box, _limits(size)) for box, size in boxes]
    beyond = sum(x + width > right or y + height > lower for (x, y, width, height), (right, lower) in limits)
    if beyond and all(
        -TOLERANCE <= x1 < x2 <= right and -TOLERANCE <= y1 < y2 <= lower for (x1, y1, x2, y2), (right, lower) in limits
    ):
        count = f"{beyond} of {len(boxes)} boxes {'reaches' if beyond == 1 else 'reach'} beyond the image"
        what = f"bbox: {count}, and as [x1, y1, x2, y2] every one fits: is it [x, y, width, height]?"
        problems.remark(f"{path}: annotations", what, "box format")


def remark_relative(where: object, boxes: Sequence[SizedBox], problems: Problems, name: str = "bbox") -> None:
    """Add a remark if the boxes seem to be relative to the size of the image. `name` is the name of their field."""
    if boxes and all(seems_relative((x, y, x + width, y + height), size) for (x, y, width, height), size in boxes):
        what = f"{name}: every box lies within one pixel: are its numbers relative to the size of the image?"
        problems.remark(where, what, "box format")


def seems_relative(corners: Corners, size: tuple[float, float]) -> bool:
    """Whether a box (x1, y1, x2, y2) lies within the first pixel of an image of this size, apart from rounding."""
    return min(corners) >= -ROUNDING and max(corners) <= 1 + ROUNDING and min(size) > 2


def are_of_images(stated: Sequence[tuple[str | None, Corners, Size]]) -> bool:
    """Whether widths and heights in a table are those of images, not of boxes. Each row has an image, a box and a size.

    All boxes of an image have its size and fit in it, and some box is smaller.
    """
    sizes: dict[str | None, Size] = {}
    are_smaller = False
    for image, (x1, y1, x2, y2), (width, height) in stated:
        right, lower = _limits((width, height))
        if sizes.setdefault(image, (width, height)) != (width, height) or max(x1, x2) > right or max(y1, y2) > lower:
            return False
        are_smaller |= max(abs(x2 - x1 - width), abs(y2 - y1 - height)) > TOLERANCE
    return are_smaller


def _limits(size: Size) -> tuple[float, float]:
    """Return the largest x and y that a box may have."""
    width, height = (min(side, LARGEST_COORDINATE) for side in size)  # an int may be larger than any float
    return width + TOLERANCE, height + TOLERANCE
