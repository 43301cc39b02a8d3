"""Large images of plain objects, and a detector that finds them by their colour, also where a patch cuts them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from roialign.detection import DetectorSettings, TwoStageDetector
from roialign.detection.rotated_boxes import corners, from_polygons, from_upright, hulls
from tests.detection.detectors import SETTINGS

Array = np.ndarray[Any, np.dtype[Any]]
#: Colours are multiples of this, so that none is the colour of the ground or of padding.
STEP = 8


def settings_of(model: str) -> DetectorSettings:
    pooler = "rotated" if model == "oriented-rcnn" else "exact"
    return DetectorSettings.of({**SETTINGS.to_dict(), "model": model, "pooler": pooler})


def painted(path: Path, size: tuple[int, int], boxes: Array) -> None:
    """An image of `size` (width, height) with a rotated box in each colour on black."""
    image = Image.new("RGB", size)
    draw = ImageDraw.Draw(image)
    for index, polygon in enumerate(corners(torch.tensor(boxes, dtype=torch.float64)).numpy()):
        draw.polygon([tuple(point - 0.5) for point in polygon], fill=colour_of(index))
    image.save(path, compress_level=1)


def colour_of(index: int) -> tuple[int, int, int]:
    return 255, STEP * (index % 30 + 1), STEP * (index // 30 + 1)


def colour_detector(model: str) -> TwoStageDetector:
    """A detector that finds the visible part of each colour, all of class 1. Parts with fewer pixels score higher."""
    settings = settings_of(model)
    detector = settings.build().eval()

    def forward(images: list[Tensor]) -> list[dict[str, Tensor]]:
        return [_found(image, settings) for image in images]

    detector.forward = forward  # type: ignore[method-assign]
    return detector


def _found(image: Tensor, settings: DetectorSettings) -> dict[str, Tensor]:
    pixels = (255 * image.permute(1, 2, 0)).round().to(torch.int64).numpy()
    own = (pixels[..., 0] == 255) & (pixels[..., 1:] % STEP == 0).all(axis=2)
    codes = np.where(own, pixels[..., 1] * 256 + pixels[..., 2], 0)
    rotated, masks = [], []
    for code in np.unique(codes[codes > 0]):
        y, x = np.nonzero(codes == code)
        points = np.concatenate([np.stack([x + dx, y + dy], axis=1) for dx in (0, 1) for dy in (0, 1)])
        if settings.has_rotated_boxes:
            rotated.append(from_polygons(torch.tensor(points[None], dtype=torch.float64))[0].float())
        else:
            upright = np.concatenate([points.min(axis=0), points.max(axis=0)])
            rotated.append(from_upright(torch.tensor(upright, dtype=torch.float32)))
        masks.append(torch.from_numpy(codes == code).float())
    boxes = torch.stack(rotated) if rotated else torch.zeros(0, 5)
    areas = torch.tensor([float(mask.sum()) for mask in masks])
    found = {"boxes": hulls(boxes), "labels": torch.ones(len(boxes), dtype=torch.int64), "scores": 1 / (1 + areas)}
    if settings.has_rotated_boxes:
        found["rotated_boxes"] = boxes
    if settings.has_masks:
        found["masks"] = torch.stack(masks)[:, None] if masks else torch.zeros(0, 1, *codes.shape)
    return found
