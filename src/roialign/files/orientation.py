"""Whether an image is turned upright, as its EXIF orientation says: one convention for every command.

Images are turned upright, as browsers and annotation tools show them, and coordinates are those of the upright image.
Only where a COCO file gives the size of the image as it is stored, and that is another than its size upright, were the
annotations made on the pixels as stored; they are read as they are meant, and it is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .problems import FileError

Array = np.ndarray[Any, np.dtype[Any]]
#: Width and height.
Size = tuple[int, int]
#: x1, y1, x2, y2.
Corners = tuple[float, float, float, float]

#: The number of the orientation among the EXIF tags.
ORIENTATION_TAG = 0x0112
#: So many pixels a box may lie beyond the border, by rounding, and still be meant for the image.
TOLERANCE = 2.0


@dataclass(frozen=True, slots=True)
class Annotated:
    """What annotations say about the image that they were made on."""

    size: Size | None = None
    """Its width and height, where they are known."""
    boxes: Sequence[Corners] = ()
    source: str | None = None
    """The file that says so."""

    def fits(self, size: Size) -> bool:
        """Whether the boxes lie in an image of that size."""
        width, height = (side + TOLERANCE for side in size)
        return all(max(x1, x2) <= width and max(y1, y2) <= height for x1, y1, x2, y2 in self.boxes)


class Reading(NamedTuple):
    """How an image is read."""

    upright: bool
    """Turned as its orientation says, or as it is stored."""
    remark: str | None = None
    """What its owner should know about it."""


def turned_size(size: Size, orientation: int) -> Size:
    """The size of an image once it is turned upright; or, of one that is upright, as it was stored."""
    return (size[1], size[0]) if orientation >= 5 else size


def how_to_read(orientation: int, stored: Size, annotated: Annotated) -> Reading:
    """Whether the annotations are those of the upright image or of the image as stored.

    Raises
    ------
    FileError
        Where the size is that of another image, or that of one of the two and the boxes fit in the other only.
    """
    upright = turned_size(stored, orientation)
    if annotated.size not in (None, stored, upright):
        raise FileError(_of_another(annotated, upright))
    if orientation == 1:
        return Reading(True)
    tag = f"EXIF orientation {orientation}"
    if annotated.size is None:
        if annotated.boxes and not annotated.fits(upright) and annotated.fits(stored):
            only = f"the boxes fit in the image as stored, {_sides(stored)}, not in the upright one, {_sides(upright)}"
            return Reading(False, f"{tag}: {only}: it is read as stored")
        return Reading(True)
    if stored == upright:
        meant = "the annotations are taken to be of the upright image, as viewers show it"
        return Reading(True, f"{tag}: {meant}; remove the tag if they were made on the pixels as stored")
    as_upright = annotated.size == upright
    given, other = (upright, stored) if as_upright else (stored, upright)
    if not annotated.fits(given) and annotated.fits(other):
        names = ("upright", "as stored") if as_upright else ("as stored", "upright")
        raise FileError(
            f"{tag}: width and height are those of the image {names[0]}, {_sides(given)}, but its boxes fit only in "
            f"the image {names[1]}, {_sides(other)}; correct width and height, or the boxes"
        )
    if as_upright:
        return Reading(True)
    meant = f"width and height are those of the image as stored, {_sides(stored)}, not upright, {_sides(upright)}"
    return Reading(False, f"{tag}: {meant}: it is read as stored, and its annotations are taken to be of that")


def _of_another(annotated: Annotated, found: Size) -> str:
    """That the annotations are those of an image of another size."""
    assert annotated.size is not None
    source = f", as in {annotated.source}" if annotated.source else ""
    turned = "; the sides are exchanged: was it turned, or its EXIF orientation lost, after it was annotated?"
    more = turned if annotated.size == found[::-1] else ""
    return f"expected {_sides(annotated.size)} pixels{source}, got {_sides(found)}{more}"


def turn(pixels: Array, orientation: int) -> Array:
    """Pixels ``[H, W, ...]`` as stored, turned upright."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def turn_back(pixels: Array, orientation: int) -> Array:
    """Upright pixels as they were stored: :func:`turn`, undone."""
    return turn(pixels, {6: 8, 8: 6}.get(orientation, orientation))


def _sides(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
