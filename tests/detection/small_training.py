"""Scenes to learn from and settings that learn quickly, which several tests share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from roialign.detection import CocoDataset, SceneSettings, TrainSettings, new_detector, write_scenes
from roialign.detection.coco import find_split

#: The pooler that draws its points, so that a run's random numbers count.
RANDOM = "align:sampling=random,sampling_ratio=2"


def write_training_scenes(folder: Path) -> None:
    write_scenes(folder, {"train": 4}, SceneSettings(image_size=96, objects=(2, 3), object_size=(20, 40)))


def training_set(folder: Path) -> CocoDataset:
    return CocoDataset(*find_split(folder, "train"))


def small_settings(dataset: CocoDataset, pooler: str = RANDOM, **more: Any) -> TrainSettings:
    """A tiny Mask R-CNN, ten steps, images mirrored."""
    detector = new_detector(
        dataset,
        backbone="resnet18-fpn",
        pooler=pooler,
        width=8,
        out_channels=16,
        hidden=32,
        mask_hidden=8,
    )
    return TrainSettings(detector, **{"iterations": 10, "batch_size": 2, "warmup": 3, "flip": 0.5, **more})
