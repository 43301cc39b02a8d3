"""Real photographs, those that scikit-learn and scikit-image bring, as files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image
from sklearn.datasets import load_sample_image

NAMES = ("china", "flower", "astronaut", "cat", "coffee", "rocket")


def photograph(name: str) -> Image.Image:
    if name in ("china", "flower"):
        return Image.fromarray(load_sample_image(f"{name}.jpg"))
    return Image.fromarray(np.asarray(getattr(skimage.data, name)()))


def write_photographs(folder: Path, count: int = 12, shorter: int = 96) -> list[Path]:
    """So many small JPEG files, upright and lying ones: every photograph, then each mirrored, then each cut."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index in range(count):
        image = photograph(NAMES[index % len(NAMES)])
        turn = index // len(NAMES)
        if turn % 2:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if turn >= 2:
            image = image.crop((0, 0, image.width * 2 // 3, image.height))
        image.thumbnail((10_000, shorter) if image.width >= image.height else (shorter, 10_000))
        paths.append(folder / f"{index:03}.jpg")
        image.save(paths[-1], quality=92)
    return paths


def write_boxes(path: Path, images: list[Path], each: int = 3) -> Path:
    """A table of random boxes within the images."""
    random = np.random.default_rng(0)
    lines = ["image,label,x1,y1,x2,y2"]
    for image in images:
        with Image.open(image) as opened:
            width, height = opened.size
        for number in range(each):
            (x1, x2), (y1, y2) = (np.sort(random.uniform(0, side, 2)) for side in (width, height))
            lines.append(f"{image.name},{number},{x1:.2f},{y1:.2f},{x2:.2f},{y2:.2f}")
    path.write_text("\n".join(lines))
    return path
