"""Reads images: one reader for all commands, whatever their depth, colours and orientation."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from .kinds import HEAD_BYTES, check_readable, what_is
from .orientation import ORIENTATION_TAG, Annotated, Reading, how_to_read, turn, turn_back, turned_size
from .problems import FileError, Remark

Array = np.ndarray[Any, np.dtype[Any]]

logging.getLogger("PIL").addHandler(logging.NullHandler())  # else what Pillow logs of a damaged file is printed

#: Endings of the images that are read of a folder; a file that is named itself may have any.
IMAGE_ENDINGS = (
    *(".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"),
    *(".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"),
)
#: Pillow's modes whose values do not fit in eight bits: its own conversion to RGB would clip them.
DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")
#: What Pillow hands to another program or only names: their bytes are not read.
FOREIGN_FORMATS = ("BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF")
#: The formats in which Pillow's 32-bit whole numbers hold 16 bits.
SIXTEEN_BIT_FORMATS = ("PNG", "PPM")
#: TIFF's tag that says whether numbers have a sign, and what it says for those without.
SAMPLE_FORMAT_TAG, UNSIGNED = 339, 1
#: Floats may leave the range from 0 to 1 by so much, as resampling leaves them.
OVERSHOOT = 1 / 255
LARGEST_8_BIT, LARGEST_16_BIT = 255.0, 65535.0


@dataclass(frozen=True, slots=True)
class Picture:
    """An image as it was read."""

    pixels: Array
    """``[H, W, 3]`` float32, in the range of the file."""
    white: float | None
    """The largest value that the file could hold: 255, 65535, 1 for floats; None where there is none, of 32 bits."""
    remark: Remark | None = None
    """What is to be known about its orientation."""

    def range_remark(self) -> Remark | None:
        """That the values are not those of eight bits, for whoever takes them as they are; None where they are."""
        if self.white == LARGEST_8_BIT:
            return None
        finite = self.pixels[np.isfinite(self.pixels)]
        found = f"{finite.min():g} to {finite.max():g}" if finite.size else "nothing finite"
        holes = "" if finite.size == self.pixels.size else ", and NaN or infinity"
        kind = {LARGEST_16_BIT: "16 bits", 1.0: "floats"}.get(self.white or 0.0, "32 bits")
        return Remark(f"an image of {kind}: its values are taken as they are, {found}{holes}, not 0 to 255", "range")

    def unit_range(self) -> Array:
        """The pixels from 0 to 1, as detectors take them.

        Raises
        ------
        FileError
            Where the values have no usual range.
        """
        lowest, highest = float(self.pixels.min()), float(self.pixels.max())
        found = f"found {lowest:g} to {highest:g}"
        if self.white is None:
            raise FileError(f"32-bit whole numbers have no usual range, {found}: save it with 8 or 16 bits")
        if self.white == 1.0:
            if not (lowest >= -OVERSHOOT and highest <= 1 + OVERSHOOT):  # false for NaN
                raise FileError(f"expected pixels of floats from 0 to 1, {found}: scale them")
            return self.pixels.clip(0, 1)
        scaled: Array = self.pixels / np.float32(self.white)
        return scaled


def read_image(path: Path) -> Array:
    """An image as float32 pixels ``[H, W, 3]``, from 0 to 255: the pixels of :func:`read_picture`, upright."""
    return read_picture(path).pixels


def read_picture(path: Path, annotated: Annotated | None = None) -> Picture:
    """An image with three channels, and how its values are to be taken.

    It is turned upright as its EXIF orientation says, unless `annotated` tells that its annotations are of the image as
    stored: see :mod:`.orientation`. A palette or another colour space becomes RGB from 0 to 255. Grey is repeated for
    the three channels, with all its values where they are 16 or 32 bits or floats. Colours of 16 bits are read as 8.
    Transparent pixels are shown over black. Of several frames or pages the first is taken.

    Raises
    ------
    FileError
        Saying what the file is, where it is no image, and what is wrong with it, where it is one; and where its size is
        not the one that it was annotated with.
    """
    with explained(path), path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about what it can read; a larger image is an error
        with Image.open(file, formats=_formats()) as opened:
            # Pillow turns TIFF images itself when it loads them. To look for EXIF in a PNG it loads the pixels, and
            # reports damage only once: so other images are loaded first.
            is_tiff = opened.format == "TIFF"
            if not is_tiff:
                opened.load()
            named = _orientation(opened)
            opened.load()
            turned_already = is_tiff and _orientation(opened) != named
            stored = turned_size(opened.size, named) if turned_already else opened.size
            pixels, white = _values(opened)
    reading = how_to_read(named, stored, annotated) if annotated is not None else Reading(True)
    if reading.upright and not turned_already:
        pixels = turn(pixels, named)
    elif turned_already and not reading.upright:
        pixels = turn_back(pixels, named)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    remark = None if reading.remark is None else Remark(reading.remark, "EXIF orientation")
    return Picture(np.ascontiguousarray(pixels, dtype=np.float32), white, remark)


def upright_size(path: Path) -> tuple[int, int]:
    """Width and height of what :func:`read_picture` gives, from the head of the file where that tells them.

    Raises
    ------
    FileError
        For what is no image.
    """
    with explained(path), path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(file, formats=_formats()) as opened:
            # To look for EXIF in a PNG, Pillow loads the pixels, unless it stands before them.
            if "exif" not in opened.info and (opened.format == "PNG" or _orientation(opened) == 1):
                width, height = opened.size
                return width, height
    height, width = read_picture(path).pixels.shape[:2]
    return width, height


def most_pixels() -> int:
    """So many pixels an image may have: what Pillow takes for an attack is not read."""
    return 2 * Image.MAX_IMAGE_PIXELS if Image.MAX_IMAGE_PIXELS else 2**31


def _formats() -> list[str]:
    Image.init()
    return [name for name in Image.ID if name not in FOREIGN_FORMATS]


def _orientation(opened: Image.Image) -> int:
    """The number from 1 to 8; 1 where it is missing, or cannot be read."""
    try:
        number = opened.getexif().get(ORIENTATION_TAG, 1)
    except Exception:  # EXIF that is damaged raises what its bytes lead to; the image is as good as without
        return 1
    return number if isinstance(number, int) and 1 <= number <= 8 else 1


def _values(image: Image.Image) -> tuple[Array, float | None]:
    """Grey ``[H, W]`` or colours ``[H, W, 3]`` as stored, and the largest value that they could have."""
    if image.mode in DEEP_MODES:
        values = np.asarray(image)
        if image.mode == "F":
            return values, 1.0
        if image.mode != "I" or image.format in SIXTEEN_BIT_FORMATS:
            hidden = image.info.get("transparency")  # the grey value that is transparent
            return np.where(values == hidden, 0, values) if isinstance(hidden, int) else values, LARGEST_16_BIT
        formats = getattr(image, "tag_v2", {}).get(SAMPLE_FORMAT_TAG, (UNSIGNED,))
        # Pillow gives numbers without a sign as if they had one.
        unsigned = image.format == "TIFF" and formats[0] == UNSIGNED
        return values.view(np.uint32) if unsigned else values, None
    if image.has_transparency_data or "A" in image.getbands():
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba)
    return np.asarray(image.convert("RGB")), LARGEST_8_BIT


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Whatever Pillow raises on the bytes of a file, in words of our own."""
    try:
        check_readable(path)
        yield
    except FileError as error:
        raise FileError(f"cannot be read as an image: {error}") from error
    except Image.DecompressionBombError as error:
        raise FileError(
            f"cannot be read as an image: expected at most {most_pixels()} pixels, found more: save it smaller"
        ) from error
    except UnidentifiedImageError as error:
        known = _kind(path) or "not an image, or of a kind that Pillow does not know"
        raise FileError(f"cannot be read as an image: {known}") from error
    except MemoryError as error:
        raise FileError("cannot be read as an image: not enough memory") from error
    except OSError as error:
        why = error.strerror or f"damaged or cut short: {error}"
        raise FileError(f"cannot be read as an image: {why}") from error
    except Exception as error:  # the bytes of a file lead Pillow's readers anywhere
        raise FileError("cannot be read as an image: damaged or cut short") from error


def _kind(path: Path) -> str | None:
    with path.open("rb") as file:
        known = what_is(file.read(HEAD_BYTES))
    if known == "a TIFF image":  # of which there are more kinds than any program reads
        return "damaged, or a TIFF image of a kind that Pillow does not know: save it as PNG"
    return f"damaged or cut short: {known}" if known is not None and known.endswith(" image") else known
