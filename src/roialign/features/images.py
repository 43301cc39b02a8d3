"""Reads an image and resizes it for a backbone. The reader processes run this."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from .._typing import Array
from ..files.images import Picture, orientation_remark, read_picture
from ..files.orientation import UPRIGHT, Annotated, Turning
from ..files.problems import Remark
from .backbone import ImageSize

WHITE = 255.0


@dataclass(frozen=True, slots=True)
class ReadImage:
    """One image, resized for a backbone."""

    pixels: Array
    """Uint8 ``[H, W, 3]``, resized."""
    height: int
    """The height before resizing, in the pixels of the boxes."""
    width: int
    """The width before resizing."""
    turning: Turning = UPRIGHT
    """Whether it was turned upright, and why."""

    @property
    def remark(self) -> Remark | None:
        """A remark about its EXIF orientation."""
        return orientation_remark(self.turning)


def read_resized(path: Path, annotated: Annotated | None, size: ImageSize) -> ReadImage:
    """Read an image with 8 bits per channel, and resize it with antialiasing.

    Raises
    ------
    FileError
        If it cannot be read.
    """
    picture = read_picture(path, annotated)
    pixels = _eight_bits(picture)
    height, width = pixels.shape[:2]
    wanted = size.of(height, width)
    if wanted != (height, width):
        image = Image.fromarray(pixels).resize((wanted[1], wanted[0]), Image.Resampling.BICUBIC, reducing_gap=3.0)
        pixels = np.asarray(image)
    return ReadImage(pixels, height, width, picture.turning)


def _eight_bits(picture: Picture) -> Array:
    if picture.white == WHITE:
        return picture.pixels.astype(np.uint8)
    rounded: Array = np.rint(picture.unit_range() * np.float32(WHITE)).astype(np.uint8)
    return rounded
