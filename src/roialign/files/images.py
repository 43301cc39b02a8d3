"""Reads images of any bit depth, colour mode and orientation. All commands use this reader."""

from __future__ import annotations

import logging
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from .._typing import Array
from .kinds import HEAD_BYTES, check_readable, what_is
from .orientation import (
    ORIENTATION_TAG,
    UPRIGHT,
    Annotated,
    Size,
    Turning,
    how_to_read,
    reverse,
    turn,
    turned_size,
    turned_window,
)
from .problems import FileError, Remark
from .similar import similar_file

logging.getLogger("PIL").addHandler(logging.NullHandler())  # otherwise, Pillow prints messages

#: The endings of the images to read from a folder. A file given by name may have any ending.
IMAGE_ENDINGS = (
    *(".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"),
    *(".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"),
)
#: Pillow's modes with more than 8 bits per value. Pillow's conversion to RGB would clip these values.
DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")
#: The formats that Pillow only identifies or decodes with another program. They are not read.
FOREIGN_FORMATS = ("BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF")
#: The formats whose 16-bit values Pillow stores as 32-bit integers.
SIXTEEN_BIT_FORMATS = ("PNG", "PPM")
#: TIFF's SampleFormat tag, and its value for unsigned integers.
SAMPLE_FORMAT_TAG, UNSIGNED = 339, 1
#: TIFF's BitsPerSample tag; its PhotometricInterpretation tag, and the value of that for images whose white is 0.
BITS_TAG, PHOTOMETRIC_TAG, WHITE_IS_ZERO = 258, 262, 0
#: Float pixels may be this far outside the range from 0 to 1, because resampling can overshoot.
OVERSHOOT = 1 / 255
LARGEST_8_BIT, LARGEST_12_BIT, LARGEST_16_BIT = 255.0, 4095.0, 65535.0
#: The most pixels of an image that is read in parts: 32768 x 32768.
LARGEST_PICTURE = 2**30
_limit_lock = threading.RLock()


def orientation_remark(turning: Turning) -> Remark | None:
    """Return the remark about the EXIF orientation of an image."""
    return None if turning.remark is None else Remark(turning.remark, "EXIF orientation")


@dataclass(frozen=True, slots=True)
class Picture:
    """An image and the range of its values."""

    pixels: Array
    """Float32 ``[H, W, 3]``, in the range of the file."""
    white: float | None
    """The largest value of the format: 255, 4095, 65535, or 1 for floats. 32-bit integers have none."""
    turning: Turning = UPRIGHT
    """Whether it was turned upright, and why."""

    @property
    def remark(self) -> Remark | None:
        """A remark about its EXIF orientation."""
        return orientation_remark(self.turning)

    def range_remark(self) -> Remark | None:
        """Return a remark with the range of the values if the image does not have 8 bits, otherwise None."""
        if self.white == LARGEST_8_BIT:
            return None
        finite = self.pixels[np.isfinite(self.pixels)]
        ranges = [f"{finite.min():g} to {finite.max():g}"] if finite.size else []
        found = " and ".join([*ranges, *(["NaN or infinity"] if finite.size < self.pixels.size else [])])
        kind = {LARGEST_12_BIT: "12-bit", LARGEST_16_BIT: "16-bit", 1.0: "float"}.get(self.white or 0.0, "32-bit")
        return Remark(f"a {kind} image: its values are used as they are and not rescaled: {found}", "range")

    def unit_range(self) -> Array:
        """Return the pixels scaled to the range from 0 to 1, as detectors expect them.

        Raises
        ------
        FileError
            If the range of the values is unknown, or if float pixels are outside 0 to 1.
        """
        lowest, highest = float(self.pixels.min()), float(self.pixels.max())
        found = f"found {lowest:g} to {highest:g}"
        if self.white is None:
            raise FileError(f"the range of 32-bit integer pixels is unknown, {found}: save the image with 8 or 16 bits")
        if self.white == 1.0:
            if not (lowest >= -OVERSHOOT and highest <= 1 + OVERSHOOT):  # false for NaN
                raise FileError(f"expected float pixels from 0 to 1, {found}: scale them")
            return self.pixels.clip(0, 1)
        scaled: Array = self.pixels / np.float32(self.white)
        return scaled


class OpenPicture:
    """A decoded image. Its pixels are converted to floats only for the part that is read, so that it can be large.

    Concretely, ``picture.read((x, y, width, height)).pixels`` is
    ``picture.read().pixels[y : y + height, x : x + width]``. The image takes one to four bytes per pixel.
    """

    def __init__(self, path: Path, decoded: Image.Image, orientation: int, turning: Turning, tag: int) -> None:
        self.path, self.turning, self.tag = path, turning, tag
        self.remark = orientation_remark(turning)
        self._decoded, self._orientation = decoded, orientation
        self.width, self.height = turned_size(decoded.size, orientation)

    def read(self, part: tuple[int, int, int, int] | None = None) -> Picture:
        """Read a part (x, y, width, height) of the image, by default the whole image.

        Raises
        ------
        FileError
            If the pixels cannot be converted.
        """
        # Pillow checks the size of a part as if it had yet to be decoded.
        with _size_limit(large=True), explained(self.path), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = self._decoded
            if part is not None and part != (0, 0, self.width, self.height):
                image = image.crop(self._stored(*part))
            pixels, white = _values(image, self._decoded)
            pixels = turn(pixels, self._orientation)
            if pixels.ndim == 2:
                pixels = np.repeat(pixels[:, :, None], 3, axis=2)
            return Picture(np.ascontiguousarray(pixels, dtype=np.float32), white, self.turning)

    def _stored(self, x: int, y: int, width: int, height: int) -> tuple[int, int, int, int]:
        """The corners, in the image as stored, of a part of the upright image."""
        size = (self.width, self.height)
        left, top, right, bottom = turned_window((x, y, x + width, y + height), size, reverse(self._orientation))
        return left, top, right, bottom


def read_picture(path: Path, annotated: Annotated | None = None) -> Picture:
    """Read an image with three channels, and the range of its values.

    The image is turned upright according to its EXIF orientation, unless `annotated` shows that the annotations were
    made on the image as stored; see :mod:`.orientation`. Palettes and other colour spaces are converted to RGB from 0
    to 255. A grey channel is repeated three times and keeps its values, also those of 16 bits, 32 bits and floats.
    Colours of 16 bits are read as 8 bits. Transparent pixels are blended with black. Only the first frame or page is
    read.

    Raises
    ------
    FileError
        If the file is not an image or is damaged, or if its size differs from the annotated size.
    """
    return open_picture(path, annotated).read()


def open_picture(path: Path, annotated: Annotated | None = None, *, large: bool = False) -> OpenPicture:
    """Decode an image, whose parts are then read as :func:`read_picture` reads the whole.

    With `large`, it may have up to `LARGEST_PICTURE` pixels. Otherwise, Pillow's limit applies.

    Raises
    ------
    FileError
        As :func:`read_picture` does.
    """
    with _size_limit(large=large), explained(path), path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns about large images before it refuses larger ones
        with Image.open(file, formats=_formats()) as opened:
            # Pillow turns TIFF images itself when it loads them. To look for EXIF in a PNG, Pillow loads the pixels,
            # and it reports damage only once. Therefore, all images except TIFF are loaded first.
            is_tiff = opened.format == "TIFF"
            if not is_tiff:
                opened.load()
            named = _orientation(opened)
            opened.load()
            turned_already = is_tiff and _orientation(opened) != named
            stored = turned_size(opened.size, named) if turned_already else opened.size
    turning = how_to_read(named, stored, annotated) if annotated is not None else UPRIGHT
    orientation = 1
    if turning.upright and not turned_already:
        orientation = named
    elif turned_already and not turning.upright:
        orientation = reverse(named)
    return OpenPicture(path, opened, orientation, turning, named)


def upright_size(path: Path, *, large: bool = False) -> Size:
    """Return the width and height of the image from :func:`read_picture`; see :func:`upright_size_and_tag`."""
    return upright_size_and_tag(path, large=large)[0]


def upright_size_and_tag(path: Path, *, large: bool = False) -> tuple[Size, int]:
    """Return the size of an image turned upright, and its EXIF orientation, reading only the header if possible.

    `large` is that of :func:`open_picture`.

    Raises
    ------
    FileError
        If the file is not an image.
    """
    with _size_limit(large=large), explained(path), path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(file, formats=_formats()) as opened:
            # To look for EXIF in a PNG, Pillow loads the pixels, unless the EXIF chunk comes before them.
            if "exif" not in opened.info and (opened.format == "PNG" or _orientation(opened) == 1):
                return opened.size, 1
    picture = open_picture(path, large=large)
    return (picture.width, picture.height), picture.tag


def most_pixels() -> int:
    """Return the largest number of pixels that Pillow reads. It treats larger images as decompression bombs."""
    return 2 * Image.MAX_IMAGE_PIXELS if Image.MAX_IMAGE_PIXELS else 2**31


@contextmanager
def _size_limit(*, large: bool) -> Iterator[None]:
    """Context manager: with `large`, Pillow reads images of up to `LARGEST_PICTURE` pixels."""
    if not large:
        yield
        return
    with _limit_lock:  # Pillow's limit is global
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None if before is None else max(before, LARGEST_PICTURE // 2)  # twice this is an error
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _formats() -> list[str]:
    Image.init()
    return [name for name in Image.ID if name not in FOREIGN_FORMATS]


def _orientation(opened: Image.Image) -> int:
    """Return the EXIF orientation from 1 to 8; 1 if it is missing or unreadable."""
    try:
        number = opened.getexif().get(ORIENTATION_TAG, 1)
    except Exception:  # damaged EXIF raises many kinds of errors, and the image is readable without it
        return 1
    return number if isinstance(number, int) and 1 <= number <= 8 else 1


def _values(image: Image.Image, whole: Image.Image) -> tuple[Array, float | None]:
    """Return grey ``[H, W]`` or RGB ``[H, W, 3]`` pixels as stored, and the largest value of their format.

    `image` is `whole` or a part of it. Pillow forgets the format of a part.
    """
    if image.mode in DEEP_MODES:
        values = np.asarray(image)
        tags = getattr(whole, "tag_v2", {})  # of TIFF
        if image.mode == "F":
            return values, 1.0
        if image.mode != "I" or whole.format in SIXTEEN_BIT_FORMATS:
            hidden = image.info.get("transparency")  # the grey value that is transparent
            values = np.where(values == hidden, 0, values) if isinstance(hidden, int) else values
            white = LARGEST_12_BIT if tags.get(BITS_TAG) == (12,) else LARGEST_16_BIT
            return (int(white) - values if tags.get(PHOTOMETRIC_TAG) == WHITE_IS_ZERO else values), white
        formats = tags.get(SAMPLE_FORMAT_TAG, (UNSIGNED,))
        # Pillow returns unsigned values as signed ones.
        unsigned = whole.format == "TIFF" and formats[0] == UNSIGNED
        return values.view(np.uint32) if unsigned else values, None
    if image.has_transparency_data or "A" in image.getbands():
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba)
    return np.asarray(image.convert("RGB")), LARGEST_8_BIT


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Convert any error that Pillow raises while it reads `path` into a FileError with a clear message."""
    try:
        check_readable(path)
        yield
    except FileError as error:
        is_missing = isinstance(error.__cause__, FileNotFoundError) and not os.path.islink(path)
        similar = similar_file(path) if is_missing else None
        hint = "" if similar is None else f"; did you mean {similar}?"
        raise FileError(f"cannot be read as an image: {error}{hint}") from error
    except Image.DecompressionBombError as error:
        raise FileError(
            f"cannot be read as an image: expected at most {most_pixels()} pixels, found more: save it smaller"
        ) from error
    except UnidentifiedImageError as error:
        known = _kind(path) or "not an image, or a format that Pillow does not support"
        raise FileError(f"cannot be read as an image: {known}") from error
    except MemoryError as error:
        raise FileError("cannot be read as an image: not enough memory") from error
    except OSError as error:
        why = error.strerror or f"damaged or cut short: {error}"
        raise FileError(f"cannot be read as an image: {why}") from error
    except Exception as error:  # damaged files raise many kinds of errors in Pillow
        raise FileError("cannot be read as an image: damaged or cut short") from error


def _kind(path: Path) -> str | None:
    with path.open("rb") as file:
        known = what_is(file.read(HEAD_BYTES))
    if known == "a TIFF image":  # TIFF has more variants than Pillow reads
        return "damaged, or a TIFF variant that Pillow does not support: save it as PNG"
    return f"damaged or cut short: {known}" if known is not None and known.endswith(" image") else known
