"""The experiment on rotated boxes: its scenes, its heads, and the training settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from roialign.detection import CocoDataset, DetectorSettings, RotatedDataset, SceneSettings
from roialign.detection.rotated_data import find_rotated_split
from roialign.detection.scene_objects import Digits, Drawn, SceneObjects
from roialign.files.problems import Problems, Remark
from roialign.files.run_lengths import mask_of

from .plan import BACKBONES, IMAGE_SIZE, Plan

POOL, ALIGN, ROTATED, UPRIGHT = "RoIPool of the hull", "RoIAlign of the hull", "rotated RoIAlign", "upright boxes"
#: The model and the pooler of each head. The first one is also what the backbones are trained with.
HEADS = {
    POOL: ("oriented-rcnn", "pool"),
    ALIGN: ("oriented-rcnn", "align"),
    ROTATED: ("oriented-rcnn", "rotated"),
    UPRIGHT: ("faster-rcnn", "align"),
}
#: Objects are turned by up to 75 degrees.
SETS = {
    "rotated": SceneSettings(IMAGE_SIZE, objects=(2, 5), object_size=(48, 96), max_angle=75.0, rotated_boxes=True),
    "elongated": SceneSettings(
        IMAGE_SIZE,
        objects=(2, 5),
        object_size=(72, 144),
        max_angle=75.0,
        aspect_ratios=(3.0, 7.0),
        rotated_boxes=True,
    ),
}


class AnyDigit(Digits):
    """Digits of one class. Thin digits are hard to read, and the experiment is about where objects are."""

    names: tuple[str, ...] = ("digit",)

    def draw(self, *arguments: Any, **options: Any) -> Drawn:
        return super().draw(*arguments, **options)._replace(label=0)


class RotatedScenes(RotatedDataset):
    """Rotated boxes, with the masks that the training of the backbone needs."""

    def __init__(self, scenes: Path, split: str) -> None:
        super().__init__(*find_rotated_split(scenes, split), Problems())
        self._upright = CocoDataset(scenes / split / "annotations.json", self.images, Problems())

    def read(self, index: int) -> tuple[Tensor, dict[str, Any], list[Remark]]:
        image, target, remarks = super().read(index)
        row = self._upright.rows[index]
        masks = [mask_of(self._upright.run_lengths(found, row)) for found in self._upright.objects(row)]
        stacked = np.array(masks, dtype=np.uint8).reshape(-1, row["height"], row["width"])
        return image, {**target, "masks": torch.from_numpy(stacked)}, remarks


@dataclass(frozen=True, slots=True)
class RotatedPlan(Plan):
    """A complete experiment on rotated boxes."""

    scenes: ClassVar[dict[str, SceneSettings]] = SETS
    objects: ClassVar[SceneObjects] = AnyDigit()

    sets: tuple[str, ...] = tuple(SETS)
    strides: tuple[int, ...] = (16,)
    poolers: tuple[str, ...] = tuple(HEADS)
    backbone_iterations: int = 500
    head_iterations: int = 250
    detector: dict[str, Any] = field(
        default_factory=lambda: {
            "width": 16,
            "hidden": 256,
            "norm_groups": 8,
            "anchor_sizes": ((24.0, 48.0, 80.0, 128.0),),
            "proposals": {"before_nms": (200, 200), "after_nms": (64, 64), "sample_size": 64},
        }
    )

    def detector_settings(self, stride: int, pooler: str) -> DetectorSettings:
        """Return the settings of a detector on one map of this stride, with one of the heads."""
        model, name = HEADS[pooler]
        return DetectorSettings(
            model,
            BACKBONES[stride],
            name,
            classes=AnyDigit.names,
            min_size=IMAGE_SIZE,
            max_size=IMAGE_SIZE,
            regions={"sample_size": self.head_sample_size, "detections": 50},
            **self.detector,
        )

    def dataset(self, scenes: Path, split: str) -> CocoDataset:
        return RotatedScenes(scenes, split)


#: The experiment of the page.
FULL = RotatedPlan()
#: A smaller version that takes a few minutes.
SMALL = RotatedPlan(sets=("elongated",), train_images=160, test_images=60, backbone_iterations=250, head_iterations=100)
