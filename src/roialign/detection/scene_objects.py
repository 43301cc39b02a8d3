"""The objects of scenes: handwritten digits, or drawings with transparency from a folder."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from PIL import Image

from .._extras import require
from .._typing import Array
from ..files.images import explained
from ..files.kinds import check_is_folder
from ..files.problems import FileError, Problems

#: Every fifth object is held out for the splits other than "train", so that no model is tested on training objects.
HELD_OUT = 5
#: Pixels with at least this much ink belong to the object.
INK = 0.4
#: The shorter side of an elongated object is at least this many pixels long, so that it stays visible.
LEAST_BREADTH = 4.0
#: Drawings are scaled down to at most this many pixels on the longer side.
LONGEST_SIDE = 512


class Drawn(NamedTuple):
    """An object to place in a scene."""

    ink: Array
    """``[h, w]`` from 0 to 1: the opacity of each pixel."""
    colour: Array | None
    """``[h, w, 3]`` from 0 to 1, or None for a single colour that contrasts with the background."""
    label: int
    """The class, from 0."""
    rotated_box: tuple[float, float, float, float, float]
    """The upright box of the object before it was rotated, rotated with it: (centre x, centre y, width, height, angle)
    in pixels from the corner of `ink` and in radians, clockwise."""


class SceneObjects(Protocol):
    """A source of objects for scenes."""

    description: str
    names: tuple[str, ...]
    """The names of the classes."""

    def draw(
        self,
        generator: np.random.Generator,
        sizes: tuple[int, int],
        max_angle: float,
        aspect_ratios: tuple[float, float] | None = None,
        *,
        held_out: bool,
    ) -> Drawn:
        """Draw one object, with a longer side within `sizes` in pixels, rotated by up to `max_angle` degrees.

        If `aspect_ratios` is given, the object is squeezed to a ratio of the longer to the shorter side within this
        range.
        """


class Digits:
    """The handwritten digits of scikit-learn's `load_digits`, 8 x 8 pixels each."""

    description = "handwritten digits of scikit-learn's load_digits"
    names: tuple[str, ...] = tuple(map(str, range(10)))

    def draw(
        self,
        generator: np.random.Generator,
        sizes: tuple[int, int],
        max_angle: float,
        aspect_ratios: tuple[float, float] | None = None,
        *,
        held_out: bool,
    ) -> Drawn:
        images, targets = _digits(held_out)
        which = int(generator.integers(len(targets)))
        size = int(generator.integers(sizes[0], sizes[1] + 1))
        angle = float(generator.uniform(-max_angle, max_angle))
        padded = np.pad(images[which], 3).astype(np.float32)
        side = size * len(padded) // len(images[which])
        image = Image.fromarray(padded).resize((side, side), Image.Resampling.BICUBIC)
        if aspect_ratios is not None:
            image = _squeezed(image, size, float(generator.uniform(*aspect_ratios)))
        turned = np.asarray(image.rotate(angle, Image.Resampling.BICUBIC), dtype=np.float64)
        window = _window(turned)
        box = _rotated_box(_window(np.asarray(image)), image.size, angle, turned.shape, window)
        return Drawn(np.clip(turned[window] * 1.5, 0, 1), None, int(targets[which]), box)


class Drawings:
    """Drawings from PNG files with transparency.

    The class of a file in a subfolder is the name of the subfolder. The class of a file directly in `folder` is its own
    name. Every fifth drawing of a class is held out. If a class has fewer than five, all of them are in every split.

    Parameters
    ----------
    folder : Path
        The folder, searched recursively.
    problems : Problems
        Collects the files that cannot be read or are fully transparent. They are left out.

    Raises
    ------
    FileError
        If there is no such folder, or no usable file in it.
    """

    def __init__(self, folder: Path, problems: Problems) -> None:
        check_is_folder(folder)
        self.description = f"drawings of {folder.name}"
        found: dict[str, list[Image.Image]] = {}
        for path in sorted(folder.rglob("*.png")):
            inner = path.relative_to(folder)
            name = inner.parts[0] if len(inner.parts) > 1 else path.stem
            try:
                found.setdefault(name, []).append(_drawing(path))
            except FileError as error:
                problems.add(path, error)
        found = {name: images for name, images in found.items() if images}
        if not found:
            raise FileError(f"{folder}: expected at least one usable PNG file, got none")
        self.names = tuple(found)
        self._images = {
            held_out: [
                (image, label)
                for label, images in enumerate(found.values())
                for image in [one for i, one in enumerate(images, 1) if (i % HELD_OUT == 0) == held_out] or images
            ]
            for held_out in (False, True)
        }

    def draw(
        self,
        generator: np.random.Generator,
        sizes: tuple[int, int],
        max_angle: float,
        aspect_ratios: tuple[float, float] | None = None,
        *,
        held_out: bool,
    ) -> Drawn:
        chosen = self._images[held_out]
        image, label = chosen[int(generator.integers(len(chosen)))]
        size = int(generator.integers(sizes[0], sizes[1] + 1))
        angle = float(generator.uniform(-max_angle, max_angle))
        factor = size / max(image.size)
        width, height = (max(round(side * factor), 1) for side in image.size)
        if aspect_ratios is not None:
            breadth = round(max(size / float(generator.uniform(*aspect_ratios)), LEAST_BREADTH))
            width, height = (size, breadth) if width > height else (breadth, size)
        resized = image.resize((width, height), Image.Resampling.BICUBIC)
        turned = np.asarray(resized.rotate(angle, Image.Resampling.BICUBIC, expand=True), dtype=np.float64) / 255
        ink = turned[..., 3]
        window = _window(ink) if (ink > INK).any() else (slice(None), slice(None))
        box = _rotated_box((slice(0, height), slice(0, width)), (width, height), angle, ink.shape, window)
        return Drawn(ink[window], turned[..., :3][window], label, box)


@cache
def _digits(held_out: bool) -> tuple[Array, Array]:
    """Images ``[n, 8, 8]`` with values from 0 to 1, and their digits."""
    require("detection", "sklearn")
    from sklearn.datasets import load_digits  # imported here, because the models do not need it

    data = load_digits()
    kept = (np.arange(len(data.target)) % HELD_OUT == 0) == held_out
    return data.images[kept] / 16, data.target[kept]


def _drawing(path: Path) -> Image.Image:
    """Read a file as RGBA, without its transparent margin."""
    with explained(path), Image.open(path) as opened:
        image: Image.Image = opened.convert("RGBA")
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    alpha = np.asarray(image.getchannel("A")) / 255
    if not (alpha > INK).any():
        raise FileError("expected a drawing, got only transparent pixels")
    rows, columns = _window(alpha)
    return image.crop((columns.start, rows.start, columns.stop, rows.stop))


def _window(ink: Array) -> tuple[slice, slice]:
    """The rows and columns that the object covers."""
    rows, columns = (np.flatnonzero((ink > INK).any(axis=axis)) for axis in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _squeezed(digit: Image.Image, length: int, aspect_ratio: float) -> Image.Image:
    """A digit centred in an empty square, with the given length and aspect ratio of its own box."""
    rows, columns = _window(np.asarray(digit))
    breadth = max(length / aspect_ratio, LEAST_BREADTH)
    sides = digit.width * breadth / (columns.stop - columns.start), digit.height * length / (rows.stop - rows.start)
    resized = digit.resize((round(sides[0]), round(sides[1])), Image.Resampling.BICUBIC)
    square = Image.new("F", (max(resized.size),) * 2)
    square.paste(resized, ((square.width - resized.width) // 2, (square.height - resized.height) // 2))
    return square


def _rotated_box(
    box: tuple[slice, slice],
    size: tuple[int, int],
    angle: float,
    turned_shape: tuple[int, ...],
    window: tuple[slice, slice],
) -> tuple[float, float, float, float, float]:
    """The box of an object, rotated with an image of `size` (width, height) about its middle.

    The angle is in degrees and counter-clockwise, as in Pillow. The rotated image has `turned_shape`, and the result is
    relative to `window` in it.
    """
    rows, columns = box
    x, y = 0.5 * (columns.start + columns.stop - size[0]), 0.5 * (rows.start + rows.stop - size[1])
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return (
        0.5 * turned_shape[1] - window[1].start + cosine * x + sine * y,
        0.5 * turned_shape[0] - window[0].start - sine * x + cosine * y,
        float(columns.stop - columns.start),
        float(rows.stop - rows.start),
        -math.radians(angle),
    )
