"""Images as cameras, scanners and broken downloads leave them, and what is right for each."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

Array = np.ndarray[Any, np.dtype[Any]]

#: What an EXIF orientation does to the pixels as stored, to show them upright: Pillow's names.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def encoded(pixels: Array | Image.Image, kind: str = "PNG", *, orientation: int | None = None, **more: Any) -> bytes:
    """An image file."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    if orientation is not None:
        more["exif"] = Image.Exif()
        more["exif"][0x0112] = orientation
    file = io.BytesIO()
    image.save(file, kind, **more)
    return file.getvalue()


def as_stored(upright: Array, orientation: int) -> Array:
    """The pixels of which that orientation makes `upright`."""
    undone = {6: 8, 8: 6}.get(orientation, orientation)
    return np.asarray(Image.fromarray(upright).transpose(TURNS[undone])) if orientation > 1 else upright


def ramp(highest: float, dtype: Any, width: int = 64, height: int = 48) -> Array:
    """Grey that rises from 0 to `highest` from left to right."""
    return np.tile(np.linspace(0, highest, width), (height, 1)).astype(dtype)


def tiff(values: Array, sample_format: int, *, bits: int | None = None, white_is_zero: bool = False) -> bytes:
    """A grey TIFF image of any depth: 1 without a sign, 2 with, 3 floats. Of 12 bits, two pixels take three bytes."""
    height, width = values.shape
    data = values.astype(values.dtype.newbyteorder("<")).tobytes()
    if bits == 12:
        one, other = values.reshape(-1, 2).T
        data = np.stack([one >> 4, (one & 15) << 4 | other >> 8, other & 255], axis=1).astype(np.uint8).tobytes()
    entries = [
        (256, width), (257, height), (258, bits or 8 * values.itemsize), (259, 1), (262, int(not white_is_zero)),
        (273, 0), (277, 1), (278, height), (279, len(data)), (339, sample_format),
    ]  # fmt: skip
    start = 8 + 2 + 12 * len(entries) + 4
    written = b"II*\0" + struct.pack("<IH", 8, len(entries))
    for tag, value in entries:
        written += struct.pack("<HHII", tag, 4, 1, start if tag == 273 else value)
    return written + bytes(4) + data


def png_of_size(width: int, height: int) -> bytes:
    """A PNG whose header promises so many pixels, and whose data are few."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def animation(frames: int = 3) -> bytes:
    """A GIF whose frames are red, then blue."""
    first, *others = [Image.new("RGB", (64, 48), colour) for colour in ("#f00000", "#0000f0", "#0000f0")[:frames]]
    return encoded(first, "GIF", save_all=True, append_images=others)
