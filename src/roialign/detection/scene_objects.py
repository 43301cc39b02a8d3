"""The objects of scenes: handwritten digits, or drawings with transparency from a folder."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from PIL import Image

from .._extras import require
from ..files.images import explained
from ..files.problems import FileError, Problems

Array = np.ndarray[Any, np.dtype[Any]]

#: Every fifth object is held out for the splits other than "train", so that no model is tested on training objects.
HELD_OUT = 5
#: Pixels with at least this much ink belong to the object.
INK = 0.4
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


class SceneObjects(Protocol):
    """A source of objects for scenes."""

    description: str
    names: tuple[str, ...]
    """The names of the classes."""

    def draw(
        self, generator: np.random.Generator, sizes: tuple[int, int], max_angle: float, *, held_out: bool
    ) -> Drawn:
        """Draw one object, with a longer side within `sizes` in pixels, rotated by up to `max_angle` degrees."""


class Digits:
    """The handwritten digits of scikit-learn's `load_digits`, 8 x 8 pixels each."""

    description = "handwritten digits of scikit-learn's load_digits"
    names = tuple(map(str, range(10)))

    def draw(
        self, generator: np.random.Generator, sizes: tuple[int, int], max_angle: float, *, held_out: bool
    ) -> Drawn:
        images, targets = _digits(held_out)
        which = int(generator.integers(len(targets)))
        size = int(generator.integers(sizes[0], sizes[1] + 1))
        angle = float(generator.uniform(-max_angle, max_angle))
        padded = np.pad(images[which], 3).astype(np.float32)
        side = size * len(padded) // len(images[which])
        image = Image.fromarray(padded).resize((side, side), Image.Resampling.BICUBIC)
        turned = np.asarray(image.rotate(angle, Image.Resampling.BICUBIC), dtype=np.float64)
        return Drawn(np.clip(turned[_window(turned)] * 1.5, 0, 1), None, int(targets[which]))


class Drawings:
    """Drawings from PNG files with transparency.

    The class of a file in a subfolder is the name of the subfolder. The class of a file directly in `folder` is its own
    name. If a class has several drawings, every fifth one is held out.

    Parameters
    ----------
    folder : Path
        The folder, searched recursively.
    problems : Problems
        Collects the files that cannot be read or are fully transparent. They are left out.

    Raises
    ------
    FileError
        If there is no usable file.
    """

    def __init__(self, folder: Path, problems: Problems) -> None:
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
            raise FileError(f"{folder}: expected PNG files, found none that can be used")
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
        self, generator: np.random.Generator, sizes: tuple[int, int], max_angle: float, *, held_out: bool
    ) -> Drawn:
        chosen = self._images[held_out]
        image, label = chosen[int(generator.integers(len(chosen)))]
        size = int(generator.integers(sizes[0], sizes[1] + 1))
        angle = float(generator.uniform(-max_angle, max_angle))
        factor = size / max(image.size)
        width, height = (max(round(side * factor), 1) for side in image.size)
        resized = image.resize((width, height), Image.Resampling.BICUBIC)
        turned = np.asarray(resized.rotate(angle, Image.Resampling.BICUBIC, expand=True), dtype=np.float64) / 255
        ink = turned[..., 3]
        window = _window(ink) if (ink > INK).any() else (slice(None), slice(None))
        return Drawn(ink[window], turned[..., :3][window], label)


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
        raise FileError("expected a drawing, found nothing but transparent pixels")
    rows, columns = _window(alpha)
    return image.crop((columns.start, rows.start, columns.stop, rows.stop))


def _window(ink: Array) -> tuple[slice, slice]:
    """The rows and columns that the object covers."""
    rows, columns = (np.flatnonzero((ink > INK).any(axis=axis)) for axis in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
