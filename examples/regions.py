"""Name regions of photographs by the nearest class of ImageNet, and draw where that class appears."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as parquet
import skimage.data
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from sklearn.datasets import load_sample_image

from roialign.features.efficientnet_lite import classifier

Array = np.ndarray[Any, np.dtype[Any]]

PHOTOGRAPHS = ("china", "flower", "astronaut", "cat", "coffee", "rocket", "camera")
COLOURS = ("#ffd400", "#00e5ff", "#ff5ca8")
#: Rows and columns of the grid in the lower pictures.
GRID = (24, 32)


class Named(NamedTuple):
    """A region, and the class whose weights are nearest to its features."""

    image: str
    label: str
    box: tuple[float, float, float, float]
    name: str
    number: int
    """Name of the class."""
    share: float
    """Probability of the class among the thousand classes."""


def write_photographs(folder: Path) -> None:
    """Write seven photographs from scikit-learn and scikit-image as JPEG files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in PHOTOGRAPHS:
        bundled = name in ("china", "flower")
        pixels = load_sample_image(f"{name}.jpg") if bundled else getattr(skimage.data, name)()
        Image.fromarray(pixels).save(folder / f"{name}.jpg", quality=95)


def probabilities(vectors: Array) -> Array:
    """Return the probabilities ``[K, 1000]`` of the classes for features ``[K, 1280]``, by the network's last layer."""
    weight, bias, _ = classifier()
    logits = vectors @ weight.T + bias
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def read_vectors(folder: Path) -> tuple[list[dict[str, Any]], Array]:
    """Return the rows of a result and their features ``[K, C]``."""
    rows = parquet.read_table(folder, partitioning=None).to_pylist()
    return rows, np.array([row["vector"] for row in rows], dtype=np.float32)


def name_regions(folder: Path) -> list[Named]:
    """Name every region of a result by its most likely class."""
    names = classifier().names
    rows, vectors = read_vectors(folder)
    shares = probabilities(vectors)
    best = shares.argmax(axis=1)
    return [
        Named(
            Path(row["image"]).name, row["label"], tuple(row["box"]), names[number], int(number), float(share[number])
        )
        for row, number, share in zip(rows, best, shares, strict=True)
    ]


def draw_regions(path: Path, photographs: Path, named: list[Named], grid: Path) -> None:
    """Draw each photograph with its regions, and below it the grid cells where its most certain class appears."""
    rows, vectors = read_vectors(grid)
    shares = probabilities(vectors)
    images = np.array([Path(row["image"]).name for row in rows])
    figure = Figure(figsize=(18, 13), layout="constrained")
    columns = (len(PHOTOGRAPHS) + 1) // 2
    axes = figure.subplots(4, columns)
    for index, name in enumerate(PHOTOGRAPHS):
        file = f"{name}.jpg"
        own = [region for region in named if region.image == file]
        upper, lower = (axes[2 * (index // columns) + below, index % columns] for below in (0, 1))
        with Image.open(photographs / file) as opened:
            pixels = np.asarray(opened.convert("RGB"))
        _draw_boxes(upper, pixels, own)
        surest = max(own, key=lambda region: region.share)
        _draw_heat(lower, pixels, shares[images == file, surest.number].reshape(GRID), surest.name)
    for axis in figure.axes:
        axis.set_axis_off()
    figure.suptitle(
        "Features of EfficientNet-Lite0, pooled in boxes, named by the nearest of ImageNet's 1000 classes", fontsize=18
    )
    figure.savefig(path, dpi=80)


def _draw_boxes(axis: Axes, pixels: Array, regions: list[Named]) -> None:
    axis.imshow(pixels)
    height, width = pixels.shape[:2]
    for colour, region in zip(COLOURS, regions, strict=False):
        x1, y1, x2, y2 = region.box
        axis.plot([x1, x2, x2, x1, x1], [y1, y1, y2, y2, y1], color="black", linewidth=4)
        axis.plot([x1, x2, x2, x1, x1], [y1, y1, y2, y2, y1], color=colour, linewidth=2)
        right = x1 > 0.6 * width
        axis.text(
            x2 if right else x1,
            min(max(y1, 0.07 * height), height),
            f"{region.name} {region.share:.0%}",
            fontsize=12,
            horizontalalignment="right" if right else "left",
            verticalalignment="bottom",
            bbox={"facecolor": colour, "edgecolor": "black", "boxstyle": "square,pad=0.2"},
        )
    axis.set(xlim=(0, width), ylim=(height, 0))


def _draw_heat(axis: Axes, pixels: Array, shares: Array, name: str) -> None:
    height, width = pixels.shape[:2]
    grey = pixels.mean(axis=2)
    axis.imshow(grey, cmap="gray")
    axis.imshow(
        shares, cmap="inferno", alpha=0.65, extent=(0, width, height, 0), interpolation="bilinear", vmin=0, vmax=1
    )
    axis.set_title(f"where it sees: {name}", fontsize=13)
