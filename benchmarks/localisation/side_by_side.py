"""Draw detections of several poolers' heads on the scenes where they differ most."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from roialign.detection import CocoDataset
from roialign.detection.average_precision import Row
from roialign.detection.boxes import box_iou
from roialign.detection.drawing import Drawn, draw_detections
from roialign.files.run_lengths import mask_of

from .first_stage import dataset_of
from .pictures import ALIGNED, BASE, draw_side_by_side
from .plan import Cell, Plan
from .run import read_detections

SHOWN = (BASE, ALIGNED, "exact")
SCORE = 0.5
IMAGES = 3

Picture = np.ndarray[Any, np.dtype[Any]]


def draw_differences(path: Path, folder: Path, plan: Plan) -> None:
    """Draw a row for each scene where RoIAlign and RoIPool differ most, from one cell with the smallest stride."""
    cell = Cell(plan.sets[0], min(plan.strides), plan.seeds[0])
    dataset = dataset_of(folder, plan, cell, "val")
    rows = {pooler: read_detections(folder, cell, pooler) for pooler in SHOWN}
    fits = {pooler: fit_of_images(dataset, rows[pooler]) for pooler in (BASE, ALIGNED)}
    order = np.argsort(-np.abs(fits[ALIGNED] - fits[BASE]), kind="stable")[:IMAGES]
    pictures = [tuple(_picture(dataset, int(index), rows[pooler]) for pooler in SHOWN) for index in order]
    draw_side_by_side(path, pictures, SHOWN)


def fit_of_images(dataset: CocoDataset, rows: Sequence[Row]) -> Picture:
    """Return, per image, the mean over its objects of the overlap with the best shown detection of the right class."""
    fits = []
    for index in range(len(dataset)):
        truth = dataset[index][1]
        found = _shown(dataset, index, rows)
        boxes = torch.tensor([row["bbox"] for row in found], dtype=torch.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        labels = torch.tensor([dataset.category_ids.index(row["category_id"]) + 1 for row in found])
        overlaps = box_iou(truth["boxes"], boxes) * (truth["labels"][:, None] == labels[None])
        fits.append(float(overlaps.amax(dim=1).mean()) if overlaps.numel() else 0.0)
    return np.array(fits)


def _shown(dataset: CocoDataset, index: int, rows: Sequence[Row]) -> list[Row]:
    image = dataset.rows[index]["id"]
    return [row for row in rows if row["image_id"] == image and row["score"] >= SCORE]


def _picture(dataset: CocoDataset, index: int, rows: Sequence[Row]) -> Picture:
    drawn = []
    for row in _shown(dataset, index, rows):
        left, top, width, height = row["bbox"]
        label = dataset.category_ids.index(row["category_id"]) + 1
        mask = mask_of(row["segmentation"]).astype(bool)
        box = (left, top, left + width, top + height)
        drawn.append(Drawn(box, dataset.class_names[label - 1], row["score"], label, mask))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "detections.png"
        draw_detections(path, dataset[index][0].numpy(), drawn)
        with Image.open(path) as file:
            return np.asarray(file.convert("RGB"))
