"""Detects boxes that are valid but probably a mistake, and counts them by kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .._text import counted
from .box_format import seems_relative
from .boxes import Box
from .problems import Problems
from .turnings import Turnings

#: For each kind, in the order of the report: the text for one box, for several boxes, and a hint.
KINDS = {
    "inverted": (
        "box has x2 < x1 or y2 < y1",
        "boxes have x2 < x1 or y2 < y1",
        "are its numbers x, y, width, height (--box-format xywh), or is its width or height negative?",
    ),
    "outside": (
        "box does not touch its input",
        "boxes do not touch their inputs",
        "is --spatial-scale right, and are its numbers corners? --box-format",
    ),
    "relative": (
        "box lies within one pixel",
        "boxes lie within one pixel",
        "are its numbers relative to the size of the image?",
    ),
    "size": (
        "box belongs to an image of another size than its columns width and height say",
        "boxes belong to images of another size than their columns width and height say",
        "was the image resized after it was annotated?",
    ),
}


@dataclass
class Doubts:
    """The number of suspicious boxes of a run by kind, with the first box of each kind."""

    counts: dict[str, int] = field(default_factory=dict)
    first: dict[str, Box] = field(default_factory=dict)
    sizes: dict[str, tuple[float, float]] = field(default_factory=dict)
    """The width and height of the input of each of the first boxes."""
    turnings: Turnings = field(default_factory=Turnings)
    """How the images were read that have an EXIF orientation."""

    def look(self, boxes: Sequence[Box], width: float, height: float, rounding: float = 1.0) -> None:
        """Check the boxes of one input. Its size is in the pixels of the boxes, and rounded by up to `rounding`."""
        for box in boxes:
            kind = kind_of(box, width, height, rounding)
            if kind is not None:
                self._count(kind, 1, box, (width, height))

    def add(self, other: Doubts) -> None:
        """Add what was found by another part of the run."""
        self.turnings.add(other.turnings)
        for kind, count in other.counts.items():
            self._count(kind, count, other.first[kind], other.sizes[kind])

    def _count(self, kind: str, count: int, first: Box, size: tuple[float, float]) -> None:
        """Count boxes of a kind, of which `first` is the first, in an input of this size."""
        self.counts[kind] = self.counts.get(kind, 0) + count
        if kind not in self.first or first.row < self.first[kind].row:
            self.first[kind], self.sizes[kind] = first, size

    def remark_in(self, problems: Problems, **hints: str) -> None:
        """Add one remark for each kind. `hints` has other hints by kind."""
        for kind, (one, several, hint) in KINDS.items():
            if kind in self.counts:
                box = self.first[kind]
                shown = f"({', '.join(f'{corner:g}' for corner in box.corners)})"
                if kind == "size" and box.stated_size is not None:
                    stated, found = (f"{width:g}x{height:g}" for width, height in (box.stated_size, self.sizes[kind]))
                    shown += f", expected {stated} pixels, got {found}"
                count = counted(self.counts[kind], one, several)
                problems.remark(box.where, f"{count}; the first is {shown}: {hints.get(kind, hint)}", kind)
        self.turnings.remark_in(problems)


def kind_of(box: Box, width: float, height: float, rounding: float = 1.0) -> str | None:
    """Return the kind of mistake that a box probably is on an input of this size; None if it looks valid.

    The size is rounded by up to `rounding`.
    """
    x1, y1, x2, y2 = box.corners
    if x2 < x1 or y2 < y1:
        return "inverted"
    if x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height:
        return "outside"
    if seems_relative(box.corners, (width, height)):
        return "relative"
    stated = box.stated_size or (width, height)
    return "size" if max(abs(stated[0] - width), abs(stated[1] - height)) > rounding else None
