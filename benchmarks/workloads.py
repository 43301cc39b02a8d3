"""The workloads: shapes of feature maps, distributions of boxes, and data generated from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Level:
    """One feature map: its size in pixels, and its feature pixels per image pixel."""

    height: int
    width: int
    scale: float


@dataclass(frozen=True)
class Boxes:
    """How boxes are drawn: the root of the area is log-uniform in `sides`, the aspect ratio between 1/2 and 2, the
    position uniform.

    If `spread` is given, all boxes lie in the middle of the image, at most that many pixels apart. If `whole` is true,
    boxes keep their size; otherwise they are clipped to the image.
    """

    sides: tuple[float, float] = (16.0, 600.0)
    spread: float | None = None
    whole: bool = False


@dataclass(frozen=True)
class Workload:
    """One situation in which the operator is used."""

    name: str
    summary: str
    levels: tuple[Level, ...]
    channels: int
    rois: int
    output_size: tuple[int, int]
    images: int = 1
    image_size: tuple[int, int] = (800, 1333)
    boxes: Boxes = Boxes()
    surrounded: bool = False

    @property
    def shape(self) -> str:
        """Return the full shape, as shown in the tables."""
        maps = ", ".join(f"{level.height}x{level.width}" for level in self.levels)
        height, width = self.output_size
        images = f"{self.images} images, " if self.images > 1 else ""
        rois = f"{self.rois} RoI{'' if self.rois == 1 else 's'}"
        return f"{images}maps {maps}, {self.channels} channels, {rois}, {height}x{width}"

    @property
    def output_elements(self) -> int:
        return self.rois * self.channels * self.output_size[0] * self.output_size[1]


@dataclass(frozen=True)
class Data:
    """The arrays of a workload."""

    maps: list[Array]  # per level [N, C, H, W] float32
    rois: Array  # [K, 5] float32: image, x1, y1, x2, y2 in image pixels
    level_of_roi: Array  # [K] int64
    grad_output: Array | None  # [K, C, PH, PW] float32


P2, P3, P4, P5 = (
    Level(200, 336, 1 / 4),
    Level(100, 168, 1 / 8),
    Level(50, 84, 1 / 16),
    Level(25, 42, 1 / 32),
)
PYRAMID = (P2, P3, P4, P5)

WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("box-test", "the box head at test time", PYRAMID, 256, 1000, (7, 7)),
        Workload("box-train", "the box head in training", PYRAMID, 256, 512, (7, 7)),
        Workload("mask-test", "the mask head at test time", PYRAMID, 256, 100, (14, 14)),
        Workload("mask-test-1000", "the mask head, many boxes", PYRAMID, 256, 1000, (14, 14)),
        Workload("c4", "one deep level", (P4,), 1024, 300, (14, 14)),
        Workload("vit", "a plain transformer, a batch", (Level(24, 24, 1 / 16),), 1024, 256, (7, 7), 8, (384, 384)),
        Workload(
            "vit-small", "a plain transformer, one image", (Level(16, 16, 1 / 16),), 768, 64, (7, 7), 1, (256, 256)
        ),
        Workload("video", "actions in video", (Level(14, 14, 1 / 16),), 2304, 64, (7, 7), 1, (224, 224)),
        Workload("dense-small", "very many small boxes", (P2,), 256, 30_000, (7, 7), boxes=Boxes((8.0, 32.0))),
        Workload("huge-box", "a box of 10^5 pixels", (P4,), 256, 1, (7, 7), boxes=Boxes((1e5, 1e5), whole=True)),
        Workload("hot-tile", "boxes on top of each other", (P4,), 256, 1000, (7, 7), boxes=Boxes((90.0, 110.0), 4.0)),
        Workload(
            "between",
            "box-test between a pass that writes the maps and one that reads the output",
            PYRAMID,
            256,
            1000,
            (7, 7),
            surrounded=True,
        ),
        # With eight bins, float32 and float64 divide a RoI in the same way, so peers choose the same whole pixels.
        Workload("operators", "every operator on one level", (P4,), 384, 500, (8, 8)),
        Workload("one-roi", "the cost of a call", (P4,), 256, 1, (7, 7)),
        Workload("ten-rois", "the cost of a call", (P4,), 256, 10, (7, 7)),
    )
}


def make_data(workload: Workload, *, gradient: bool = False, seed: int = 0) -> Data:
    """Generate the arrays of a workload. The same seed gives the same arrays."""
    rng = np.random.default_rng([seed, *workload.name.encode()])
    corners = draw_boxes(workload, rng)
    images = rng.integers(0, workload.images, workload.rois)
    rois = np.column_stack([images, corners]).astype(np.float32)
    maps = [
        rng.standard_normal((workload.images, workload.channels, level.height, level.width), dtype=np.float32)
        for level in workload.levels
    ]
    grad_output = None
    if gradient:
        grad_output = rng.random((workload.rois, workload.channels, *workload.output_size), dtype=np.float32)
    return Data(maps, rois, assign_levels(rois[:, 1:], workload.levels), grad_output)


def draw_boxes(workload: Workload, rng: np.random.Generator) -> Array:
    """Return boxes ``[K, 4]`` (x1, y1, x2, y2) in image pixels."""
    image = np.array(workload.image_size[::-1], dtype=np.float64)
    boxes = workload.boxes
    smallest, largest = np.log(boxes.sides)
    if not boxes.whole:
        largest = min(largest, np.log(image.min()))
    side = np.exp(rng.uniform(smallest, largest, workload.rois))
    aspect = np.exp2(rng.uniform(-1, 1, workload.rois))
    size = np.column_stack([side * np.sqrt(aspect), side / np.sqrt(aspect)])
    if not boxes.whole:
        size = np.minimum(size, image)
    free = image - size
    if boxes.spread is None and not boxes.whole:
        start = rng.random((workload.rois, 2)) * free
    else:
        start = free / 2 + rng.uniform(-1, 1, (workload.rois, 2)) * (boxes.spread or 0.0) / 2
    return np.hstack([start, start + size])


def assign_levels(
    boxes: Array, levels: Sequence[Level], canonical_size: float = 224, canonical_level: int = 4
) -> Array:
    """Return each box's index into `levels` by detectron2's rule, ``floor(4 + log2(sqrt(area) / 224 + 1e-8))``."""
    finest = round(-np.log2(levels[0].scale))
    wide = boxes.astype(np.float64)
    side = np.sqrt((wide[:, 2] - wide[:, 0]) * (wide[:, 3] - wide[:, 1]))
    level = np.floor(canonical_level + np.log2(side / canonical_size + 1e-8))
    indices: Array = np.clip(level - finest, 0, len(levels) - 1).astype(np.int64)
    return indices
