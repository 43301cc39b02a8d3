"""Decides whether to turn an image upright according to its EXIF orientation. All commands use this convention.

By default, images are turned upright, as browsers and annotation tools show them, and coordinates refer to the upright
image. An image is read as stored, with a remark, if its annotations were made on the stored pixels. This is assumed if
the annotated size, or else the boxes, fit the stored image but not the upright one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .._typing import Array, Corners
from .problems import FileError

#: (width, height).
Size = tuple[int, int]

#: The EXIF tag of the orientation.
ORIENTATION_TAG = 0x0112
#: A box may extend this many pixels beyond the image, because of rounding.
TOLERANCE = 2.0


@dataclass(frozen=True, slots=True)
class Annotated:
    """The size and the boxes of an image according to its annotations."""

    size: Size | None = None
    """The width and height, if known."""
    boxes: Sequence[Corners] = ()
    source: str | None = None
    """The annotation file, for messages."""

    def fits(self, size: Size) -> bool:
        """Whether all boxes lie in an image of this size."""
        width, height = (side + TOLERANCE for side in size)
        return all(max(x1, x2) <= width and max(y1, y2) <= height for x1, y1, x2, y2 in self.boxes)


class Turning(NamedTuple):
    """Whether to turn an image upright, and why."""

    upright: bool
    """Whether to turn it upright. If False, it is read as stored."""
    remark: str | None = None
    """A remark for the user."""
    is_assumed: bool = False
    """Whether it has an orientation, and neither the annotated size nor the boxes show what they refer to."""


#: How to read an image without annotations.
UPRIGHT = Turning(True)


def turned_size(size: Size, orientation: int) -> Size:
    """Convert the size as stored to the size turned upright, or the reverse."""
    return (size[1], size[0]) if orientation >= 5 else size


def how_to_read(orientation: int, stored: Size, annotated: Annotated) -> Turning:
    """Decide whether the annotations refer to the upright image or to the image as stored.

    Raises
    ------
    FileError
        If the annotated size is neither of the two sizes, or if the boxes only fit the other one.
    """
    upright = turned_size(stored, orientation)
    if annotated.size not in (None, stored, upright):
        raise FileError(_size_mismatch_text(annotated, upright))
    if orientation == 1:
        return Turning(True)
    tag = f"EXIF orientation {orientation}"
    if annotated.size is None:
        fits_upright, fits_stored = annotated.fits(upright), annotated.fits(stored)
        if not fits_upright and fits_stored:
            only = f"the boxes fit the image as stored, {_sides(stored)}, but not upright, {_sides(upright)}"
            return Turning(False, f"{tag}: {only}: it is read as stored")
        return Turning(True, is_assumed=bool(annotated.boxes) and fits_upright == fits_stored)
    if stored == upright:
        meant = "the annotations are assumed to refer to the upright image, as viewers show it"
        return Turning(True, f"{tag}: {meant}; remove the tag if they were made on the stored pixels", is_assumed=True)
    as_upright = annotated.size == upright
    given, other = (upright, stored) if as_upright else (stored, upright)
    if not annotated.fits(given) and annotated.fits(other):
        names = ("upright", "as stored") if as_upright else ("as stored", "upright")
        raise FileError(
            f"{tag}: width and height are those of the image {names[0]}, {_sides(given)}, but its boxes fit only in "
            f"the image {names[1]}, {_sides(other)}; correct width and height, or the boxes"
        )
    if as_upright:
        return Turning(True)
    meant = f"width and height are those of the image as stored, {_sides(stored)}, not upright, {_sides(upright)}"
    return Turning(False, f"{tag}: {meant}: it is read as stored, and its annotations are assumed to refer to that")


def _size_mismatch_text(annotated: Annotated, found: Size) -> str:
    """Return the message for an image whose size differs from the annotated size."""
    assert annotated.size is not None
    source = f", as in {annotated.source}" if annotated.source else ""
    swapped = "; width and height are swapped"
    cause = "was the image rotated, or its EXIF orientation removed, after it was annotated?"
    more = f"{swapped}: {cause}" if annotated.size == found[::-1] else ""
    return f"expected {_sides(annotated.size)} pixels{source}, got {_sides(found)}{more}"


def turn(pixels: Array, orientation: int) -> Array:
    """Turn stored pixels ``[H, W, ...]`` upright."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def reverse(orientation: int) -> int:
    """Return the orientation that undoes :func:`turn`."""
    return {6: 8, 8: 6}.get(orientation, orientation)


def turned_window(window: tuple[int, int, int, int], size: Size, orientation: int) -> tuple[int, int, int, int]:
    """Return the corners (x1, y1, x2, y2) of a window of an image of `size` after :func:`turn`."""
    x1, y1, x2, y2 = window
    width, height = turned_size(size, orientation)
    if orientation in (5, 6, 7, 8):
        x1, y1, x2, y2 = y1, x1, y2, x2
    if orientation in (3, 4, 7, 8):
        y1, y2 = height - y2, height - y1
    if orientation in (2, 3, 6, 7):
        x1, x2 = width - x2, width - x1
    return x1, y1, x2, y2


def _sides(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
