"""What a backbone is: batches of images to maps, with the strides of the maps and what it wants images to be like."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np

from .._typing import Array
from ..files.problems import FileError

if TYPE_CHECKING:
    from torch import Tensor

#: A map ``[N, C, H, W]`` of NumPy or torch, of any strides.
Map: TypeAlias = "Array | Tensor"
Precision: TypeAlias = Literal["float32", "float16", "bfloat16"]

#: How pixels from 0 to 255 are normalised, by name: what is subtracted, and then divided by.
NORMALISATIONS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "imagenet": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "clip": ((122.7709383, 116.7460125, 104.09373615), (68.5005327, 66.6321579, 70.32316305)),
    "symmetric": ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
    "lite": ((127.0, 127.0, 127.0), (128.0, 128.0, 128.0)),
    "unit": ((0.0, 0.0, 0.0), (255.0, 255.0, 255.0)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
#: An image is at most so many times as long as it is wide; a longer one is made smaller on both sides.
LONGEST_SIDE = 4


class BackboneError(FileError):
    """A backbone cannot be had, or cannot be used on these images; the message says why."""


@dataclass(frozen=True, slots=True)
class Normalisation:
    """What is done to pixels from 0 to 255: ``(pixel - mean) / deviation``, of each channel."""

    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]

    @classmethod
    def of(cls, text: str) -> Normalisation:
        """By a name of `NORMALISATIONS`, or by six numbers ``R,G,B/R,G,B`` in units of pixels from 0 to 255."""
        if text in NORMALISATIONS:
            return cls(*NORMALISATIONS[text])
        mean, _, deviation = text.partition("/")
        try:
            (r, g, b), (s, t, u) = (map(float, numbers.split(",")) for numbers in (mean, deviation))
            if not min(s, t, u) > 0 or not np.isfinite([r, g, b, s, t, u]).all():
                raise ValueError
        except ValueError:
            names = ", ".join(NORMALISATIONS)
            raise ValueError(f"normalise: expected {names}, or R,G,B/R,G,B of 0 to 255, found {text!r}") from None
        return cls((r, g, b), (s, t, u))

    def __call__(self, images: Array) -> Array:
        """uint8 ``[N, H, W, 3]`` to float32 ``[N, 3, H, W]``."""
        mean, deviation = (np.array(values, dtype=np.float32) for values in (self.mean, self.deviation))
        normalised: Array = np.ascontiguousarray(((images - mean) / deviation).transpose(0, 3, 1, 2))
        return normalised


@dataclass(frozen=True, slots=True)
class ImageSize:
    """The size that an image is given before it goes through a backbone."""

    shorter: int | None = None
    """Pixels of the shorter side, the other in proportion; None leaves the image as it is."""
    multiple: int = 1
    """Both sides are rounded to a multiple of this, so that every stride divides them and nothing is padded."""
    fixed: tuple[int, int] | None = None
    """Height and width of a backbone that takes one size only; images are stretched to it."""

    def of(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that an image of this size is given.

        >>> ImageSize(320, 32).of(427, 640)
        (320, 480)
        """
        if self.fixed is not None:
            return self.fixed
        factor = 1.0
        if self.shorter is not None:
            short, long = min(height, width), max(height, width)
            factor = min(self.shorter / short, LONGEST_SIDE * self.shorter / long)
        one, other = (max(round(side * factor / self.multiple), 1) * self.multiple for side in (height, width))
        return one, other


@dataclass(frozen=True, slots=True)
class BackboneOptions:
    """What a user may say about a backbone; None is what the backbone knows itself."""

    image_size: int | tuple[int, int] | None = None
    """Pixels of the shorter side, or height and width."""
    normalise: str | None = None
    weights: str | None = None
    """A file of weights in place of the model's own; "none" for random ones."""
    prefix_tokens: int | None = None
    """How many tokens come before those of the patches."""
    patch_size: int | None = None
    """Pixels of the side of a token's patch."""
    device: str = "cpu"
    precision: Precision = "float32"
    channels_last: bool = False
    threads: int = 1


class Detections(NamedTuple):
    """What a detector finds in one image, the surest first."""

    boxes: Array
    """float64 ``[D, 4]``: x1, y1, x2, y2 in the pixels that the detector saw."""
    scores: Array
    """float32 ``[D]``, from 0 to 1."""
    names: list[str]


class Backbone(ABC):
    """Batches of images to maps.

    Attributes
    ----------
    strides : tuple of int
        Of every level: image pixels per pixel of its map. Levels are in order, the finest first.
    channels : tuple of int
        Of every level's map.
    image_size : ImageSize
        What size an image is given before.
    normalisation : Normalisation
        What :meth:`maps` does to its pixels.
    """

    strides: tuple[int, ...]
    channels: tuple[int, ...]
    image_size: ImageSize
    normalisation: Normalisation
    default_levels: str = "last"
    """Which levels are pooled from unless the user says so."""
    most_detections: int = 0
    """Of an image; 0 of a backbone that is not a detector's."""

    @abstractmethod
    def maps(self, images: Array, levels: Sequence[int]) -> list[Map]:
        """The maps ``[N, C, H / stride, W / stride]`` of some of the levels.

        Parameters
        ----------
        images : uint8 ``[N, H, W, 3]``
            RGB, of a size that :attr:`image_size` gives.
        levels : sequence of int
            Indices into :attr:`strides`.
        """

    def detect(
        self, images: Array, levels: Sequence[int], score_threshold: float
    ) -> tuple[list[Map], list[Detections]]:
        """The maps as :meth:`maps` gives them, and what the detector finds in each image with at least this score."""
        del images, levels, score_threshold
        raise NotImplementedError("this backbone is not a detector's")

    @abstractmethod
    def facts(self) -> dict[str, object]:
        """What decides the values of the maps: for the fingerprint of a job, as JSON has it."""


def chosen_size(options: BackboneOptions, default: int, multiple: int) -> ImageSize:
    """What the user asks for, or the backbone's own size of the shorter side.

    Raises
    ------
    ValueError
        Where a height or width is given that is no multiple.
    """
    size = options.image_size
    if isinstance(size, tuple):
        if any(side % multiple for side in size):
            raise ValueError(f"image-size: expected multiples of {multiple}, found {size[0]}x{size[1]}")
        return ImageSize(fixed=size)
    return ImageSize(default if size is None else size, multiple)


def chosen_normalisation(options: BackboneOptions, default: str) -> Normalisation:
    """What the user asks for, or the backbone's own."""
    return Normalisation.of(options.normalise or default)


def probed(maps: Sequence[Map], size: tuple[int, int], name: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Strides and channels by the maps of an image of this size, which must come the finest first.

    Raises
    ------
    BackboneError
        Where a map is none, or does not divide the image evenly.
    """
    strides = []
    for index, features in enumerate(maps):
        height, width = features.shape[2:]
        stride = round(size[0] / height)
        if (height * stride, width * stride) != size:
            raise BackboneError(
                f"{name}: output {index} of {height} x {width} does not divide an image of {size[0]} x {size[1]} "
                "evenly; give another --image-size"
            )
        strides.append(stride)
    if not strides or sorted(set(strides)) != strides:
        raise BackboneError(f"{name}: expected maps of growing strides, found {strides or 'none'}")
    return tuple(strides), tuple(int(features.shape[1]) for features in maps)


def file_hash(*paths: Path) -> str:
    """SHA-256 of the contents of files, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
    return digest.hexdigest()


def refuse(options: BackboneOptions, name: str, **allowed: Any) -> None:
    """Refuse options that a backbone does not have.

    Raises
    ------
    ValueError
        Naming the first that is not at its default.
    """
    for option, only in allowed.items():
        found = getattr(options, option)
        if found != only:
            raise ValueError(f"{option.replace('_', '-')}: {name} has {only!r} only, found {found!r}")
