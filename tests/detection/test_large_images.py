"""A detector that is trained on patches, on an image of 6000 x 4000 pixels: each object is found once, as in crops."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from roialign import rotated_iou
from roialign.detection import (
    PatchSettings,
    RotatedDataset,
    SceneSettings,
    TrainSettings,
    TwoStageDetector,
    draw_scene,
    new_detector,
    train,
)
from roialign.detection.coco import open_image, read_part
from roialign.detection.patch_detection import detect_in_patches, shares_of
from roialign.detection.rotated_boxes import corners

Array = np.ndarray[Any, np.dtype[Any]]

#: The side of a scene, and the scenes that are learnt by heart.
SIDE, SCENES = 96, 4
SIZE = (6000, 4000)
PATCHES = PatchSettings(512, 100)
SCENE = SceneSettings(image_size=SIDE, objects=(2, 3), object_size=(20, 40)).with_cases(rotated=True)


def _composed(path: Path, size: tuple[int, int]) -> tuple[Array, Array]:
    """Write an image of scenes side by side, in random order. Returns its rotated boxes and their labels."""
    random = np.random.default_rng(0)
    scenes = [draw_scene(SCENE, "train", index) for index in range(SCENES)]
    image = np.full((size[1], size[0], 3), 124, dtype=np.uint8)
    boxes, labels = [], []
    for row, column in np.ndindex(size[1] // SIDE, size[0] // SIDE):
        scene = scenes[random.integers(SCENES)]
        x, y = column * SIDE, row * SIDE
        image[y : y + SIDE, x : x + SIDE] = scene.image
        boxes.append(scene.rotated_boxes + np.array([x, y, 0, 0, 0]))
        labels.append(np.array(scene.labels) + 1)
    Image.fromarray(image).save(path, compress_level=1)
    return np.concatenate(boxes), np.concatenate(labels)


def _trained(folder: Path) -> TwoStageDetector:
    """An Oriented R-CNN that is trained on patches of an image of scenes, for larger patches."""
    boxes, labels = _composed(folder / "train.png", (960, 768))
    polygons = corners(torch.tensor(boxes)).flatten(1).tolist()
    content = {
        "categories": [{"id": number, "name": str(number - 1)} for number in range(1, 11)],
        "images": [{"id": 1, "file_name": "train.png", "width": 960, "height": 768}],
        "annotations": [
            {"id": number, "image_id": 1, "category_id": int(label), "segmentation": [polygon]}
            for number, (polygon, label) in enumerate(zip(polygons, labels, strict=True), start=1)
        ],
    }
    (folder / "train.json").write_text(json.dumps(content))
    dataset = RotatedDataset(folder / "train.json", folder)
    sizes = {"width": 16, "out_channels": 32, "hidden": 128}
    detector = new_detector(dataset, model="oriented-rcnn", backbone="resnet18-fpn", patch_size=192, **sizes)
    steps = {"iterations": 160, "batch_size": 3, "learning_rate": 2e-3, "warmup": 20}
    known = train(dataset, folder / "run", TrainSettings(detector, patch_size=192, patch_overlap=48, **steps))
    proposals = {"before_nms": (2000, 2000), "after_nms": (2000, 500)}
    model = replace(detector, min_size=PATCHES.size, max_size=PATCHES.size, proposals=proposals).build()
    model.load_state_dict(known.state_dict())
    return model.eval()


@pytest.mark.slow
def test_a_large_image_in_patches(tmp_path: Path) -> None:
    model = _trained(tmp_path)
    truth, labels = _composed(tmp_path / "large.png", SIZE)
    picture = open_image(tmp_path / "large.png")
    found, _ = detect_in_patches(model, picture, PATCHES)
    sure = found["scores"] > 0.5
    boxes, names = found["rotated_boxes"][sure].double(), found["labels"][sure]
    right = np.asarray(rotated_iou(boxes.numpy(), truth, clockwise=True)) > 0.5
    right &= names.numpy()[:, None] == labels
    inside = shares_of(boxes, boxes) * (names[:, None] == names)
    inside.fill_diagonal_(0)
    assert len(truth) > 6000
    assert right.any(axis=0).mean() > 0.85, "found"
    assert right.any(axis=1).mean() > 0.95, "and nothing else"
    assert (right.sum(axis=0) > 1).mean() < 0.002, "once"
    assert (inside > 0.5).any(dim=1).float().mean() < 0.005, "without parts of objects that are found whole"
    same = []
    random = np.random.default_rng(1)
    for index in random.choice(len(truth), 40, replace=False):
        corner = (truth[index, :2] - PATCHES.size / 2).round().clip(0, np.array(SIZE) - PATCHES.size).astype(int)
        x, y = corner.tolist()
        with torch.no_grad():
            crop = model([read_part(picture, (x, y, PATCHES.size, PATCHES.size))])[0]
        chosen = (crop["scores"] > 0.5) & (crop["labels"] == int(labels[index]))
        moved = crop["rotated_boxes"][chosen].double().numpy() + np.array([x, y, 0, 0, 0])
        in_crop = np.asarray(rotated_iou(moved, truth[index : index + 1], clockwise=True)) > 0.5
        same.append(bool(in_crop.any()) == bool(right[:, index].any()))
    assert np.mean(same) >= 0.9, "what is found in a crop around the object"
