"""The two ways from boxes to features, of one and the same backbone."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

import roialign
from roialign.features import Backbone

from .scenes import Boxed

Array = np.ndarray[Any, np.dtype[Any]]

#: Levels of EfficientNet-Lite0 that are compared: stride 16 with 112 channels, and the head with 1280.
LEVELS, STRIDES, NAMES = (2, 3), (16, 32), ("stride 16", "head")
BATCH = 8


class Way(NamedTuple):
    """A way from boxes to features."""

    kind: str
    """"crop" or "pool"."""
    side: int
    """Pixels of the side of each crop, or of the whole image."""

    def __str__(self) -> str:
        return f"{self.kind} {self.side}"


WAYS = (Way("crop", 224), Way("crop", 112), Way("pool", 640), Way("pool", 1280))


class Encoded(NamedTuple):
    """The features of a scene's boxes."""

    features: list[Array]
    """By level: float32 ``[K, C]``."""
    seconds: float
    """CPU time."""


def encode(backbone: Backbone, scene: Boxed, way: Way) -> Encoded:
    """Features of every box, and the processor time that they took; the image is in memory before."""
    start = time.process_time()
    features = (_crop if way.kind == "crop" else _pool)(backbone, scene, way.side)
    return Encoded(features, time.process_time() - start)


def _crop(backbone: Backbone, scene: Boxed, side: int) -> list[Array]:
    """Cut every box out, make it a square of `side` pixels, and take the mean of its maps."""
    image = Image.fromarray(scene.pixels)
    crops = [
        np.asarray(image.resize((side, side), Image.Resampling.BICUBIC, box=tuple(box), reducing_gap=3.0))
        for box in scene.boxes.tolist()
    ]
    means: list[Sequence[Any]] = []
    for first in range(0, len(crops), BATCH):
        maps = backbone.maps(np.stack(crops[first : first + BATCH]), LEVELS)
        means.append([values.mean(axis=(2, 3)) for values in maps])
    return [np.concatenate(level) for level in zip(*means, strict=True)]


def _pool(backbone: Backbone, scene: Boxed, side: int) -> list[Array]:
    """One pass over the image, and RoIAlign of every box: exact sampling, one bin."""
    image, scale = scene.pixels, side / scene.pixels.shape[0]
    if scale != 1:
        image = np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))
    maps = backbone.maps(image[None], LEVELS)
    boxes = [scene.boxes * scale]
    pooled = [
        roialign.roi_align(np.asarray(values), boxes, 1, 1 / stride, sampling="exact")
        for values, stride in zip(maps, STRIDES, strict=True)
    ]
    return [values[:, :, 0, 0] for values in pooled]
