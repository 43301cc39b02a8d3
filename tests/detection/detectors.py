"""A small detector and scenes for it, which several tests share."""

from __future__ import annotations

from pathlib import Path

import torch

from roialign.detection import CocoDataset, DetectorSettings, SceneSettings, save_model, write_scenes
from roialign.detection.coco import find_split
from roialign.detection.model_files import MODEL_FILE

SETTINGS = DetectorSettings(
    "mask-rcnn",
    "resnet18-fpn",
    "exact",
    classes=tuple(map(str, range(10))),
    category_ids=tuple(range(1, 11)),
    width=4,
    out_channels=8,
    hidden=16,
    mask_hidden=4,
    min_size=96,
    proposals={"before_nms": (50, 50), "after_nms": (40, 40)},
    regions={"score_threshold": 0.0, "detections": 5},
)


def write_small_scenes(folder: Path, count: int) -> None:
    """Scenes to test on."""
    write_scenes(folder, {"val": count}, SceneSettings(image_size=96, objects=(2, 3), object_size=(20, 40)))


def write_detector(folder: Path) -> None:
    """A file of weights, as a training run leaves it."""
    torch.manual_seed(0)
    save_model(folder / MODEL_FILE, SETTINGS.build(), SETTINGS)


def validation_set(folder: Path) -> CocoDataset:
    return CocoDataset(*find_split(folder, "val"))
