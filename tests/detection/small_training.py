"""Scenes to learn from and settings that learn quickly, which several tests share."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from torch import Tensor

from roialign.detection import CocoDataset, SceneSettings, TrainSettings, load_model, new_detector, write_scenes
from roialign.detection.rotated_data import RotatedDataset, open_split

#: The poolers that draw their points, so that a run's random numbers count.
RANDOM = "align:sampling=random,sampling_ratio=2"
ROTATED_RANDOM = "rotated:sampling=random,sampling_ratio=2"
#: Runs a script as two processes, and the script that trains.
LAUNCHER = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
SCRIPT = ("-m", "tests.detection.training_run")


def write_training_scenes(folder: Path) -> None:
    write_scenes(folder, {"train": 4}, SceneSettings(image_size=96, objects=(2, 3), object_size=(20, 40)))


def write_rotated_training_scenes(folder: Path) -> None:
    settings = SceneSettings(image_size=96, objects=(2, 3), object_size=(20, 40)).with_cases(rotated=True)
    write_scenes(folder, {"train": 4}, settings)


def training_set(folder: Path, *, rotated: bool = False) -> CocoDataset:
    return open_split(folder, "train", rotated=rotated)


def small_settings(dataset: CocoDataset, pooler: str = RANDOM, **more: Any) -> TrainSettings:
    """A tiny Mask R-CNN, or Oriented R-CNN for a set of rotated boxes, ten steps, images mirrored."""
    detector = new_detector(
        dataset,
        model="oriented-rcnn" if isinstance(dataset, RotatedDataset) else "mask-rcnn",
        backbone="resnet18-fpn",
        pooler=pooler,
        width=8,
        out_channels=16,
        hidden=32,
        mask_hidden=8,
    )
    return TrainSettings(detector, **{"iterations": 10, "batch_size": 2, "warmup": 3, "flip": 0.5, **more})


def weights_of(run: Path) -> dict[str, Tensor]:
    return load_model(run)[0].state_dict()


def log_of(run: Path) -> list[dict[str, str]]:
    """The rows of a run's log."""
    with open(run / "log.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
