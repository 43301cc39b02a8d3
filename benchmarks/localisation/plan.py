"""The experiment: datasets, strides, seeds and poolers, and the training settings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from roialign.detection import CocoDataset, DetectorSettings, SceneSettings
from roialign.detection.scene_objects import Digits, SceneObjects

DIGITS = tuple(str(digit) for digit in range(10))

#: Poolers by their names on the page.
POOLERS = {
    "RoIPool": "pool",
    "RoIAlign, unaligned": "align-unshifted",
    "RoIAlign, 2 x 2": "align",
    "RoIAlign, adaptive": "align-adaptive",
    "exact": "exact",
    "exact maximum": "max",
    "deformable": "deformable:deform_fc_channels=64",
}
#: The last stage of ResNet-18 with a stride, or with dilation instead; the layers and weights are the same.
BACKBONES = {32: "resnet18-c5", 16: "resnet18-c5-dilated"}
IMAGE_SIZE = 192
SETS = {
    "plain": SceneSettings(IMAGE_SIZE, objects=(2, 5), object_size=(48, 96)),
    "small": SceneSettings(IMAGE_SIZE, objects=(3, 7), object_size=(32, 56)),
    "rotated": SceneSettings(IMAGE_SIZE, objects=(2, 5), object_size=(48, 96), max_angle=75.0),
    "dense": SceneSettings(IMAGE_SIZE, objects=(7, 12), object_size=(32, 64), overlap=0.4),
}


@dataclass(frozen=True, slots=True)
class Cell:
    """A dataset, stride and seed for which one backbone is trained. The heads of all poolers use its maps."""

    set: str
    stride: int
    seed: int

    @property
    def name(self) -> str:
        return f"{self.set}-stride{self.stride}-seed{self.seed}"


@dataclass(frozen=True, slots=True)
class Plan:
    """A complete experiment. The same plan gives the same figures on the same machine."""

    scenes: ClassVar[dict[str, SceneSettings]] = SETS
    objects: ClassVar[SceneObjects] = Digits()

    sets: tuple[str, ...] = tuple(SETS)
    strides: tuple[int, ...] = (32, 16)
    seeds: tuple[int, ...] = (0, 1, 2)
    poolers: tuple[str, ...] = tuple(POOLERS)
    train_images: int = 320
    test_images: int = 120
    backbone_iterations: int = 400
    head_iterations: int = 200
    batch_size: int = 8
    head_sample_size: int = 32
    """Number of boxes per image in the losses of the heads."""
    detector: dict[str, Any] = field(
        default_factory=lambda: {
            "width": 16,
            "hidden": 256,
            "mask_hidden": 32,
            "norm_groups": 8,
            "anchor_sizes": ((16.0, 32.0, 64.0, 96.0),),
            "proposals": {"before_nms": (200, 200), "after_nms": (64, 64), "sample_size": 64},
        }
    )

    def cells(self) -> Iterator[Cell]:
        """Iterate over the cells. The seed changes last, so an interrupted run has complete seeds."""
        for seed in self.seeds:
            for name in self.sets:
                for stride in self.strides:
                    yield Cell(name, stride, seed)

    def detector_settings(self, stride: int, pooler: str) -> DetectorSettings:
        """Return the settings of a Mask R-CNN on one map of this stride."""
        return DetectorSettings(
            "mask-rcnn",
            BACKBONES[stride],
            POOLERS[pooler],
            classes=DIGITS,
            min_size=IMAGE_SIZE,
            max_size=IMAGE_SIZE,
            regions={"sample_size": self.head_sample_size, "detections": 50},
            **self.detector,
        )

    def dataset(self, scenes: Path, split: str) -> CocoDataset:
        """Open a split of scenes that are drawn."""
        return CocoDataset(scenes / split / "annotations.json", scenes / split / "images")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


#: The experiment of the page.
FULL = Plan()
#: A smaller version that takes a few minutes.
SMALL = Plan(
    sets=("plain",),
    strides=(32,),
    seeds=(0, 1, 2),
    train_images=160,
    test_images=60,
    backbone_iterations=250,
    head_iterations=100,
)
