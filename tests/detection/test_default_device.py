"""torch's default device, which a script may set for its own tensors. The meta device stands for a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from roialign.detection import (
    CocoDataset,
    PatchSettings,
    PyramidBackbone,
    TwoStageDetector,
    cascade_rcnn,
    evaluate_model,
    mask_rcnn,
    oriented_rcnn,
    train,
)
from roialign.detection.training.data import Stream, batches
from tests.detection.detectors import SETTINGS, validation_set, write_small_scenes
from tests.detection.small_training import small_settings, training_set

ELSEWHERE = torch.device("meta")
MODELS = {"mask": mask_rcnn, "cascade": cascade_rcnn, "oriented": oriented_rcnn}


def _model(name: str) -> TwoStageDetector:
    torch.manual_seed(0)
    backbone = PyramidBackbone(18, width=4, out_channels=8)
    options = {"masks": True} if name == "cascade" else {}
    return MODELS[name](3, backbone=backbone, min_size=64, hidden=16, mask_hidden=4, **options)


def _targets(name: str) -> list[dict[str, torch.Tensor]]:
    boxes = torch.tensor([[10.0, 12, 50, 40]])
    rotated = torch.tensor([[30.0, 26, 40, 28, 0.3]])
    masks = torch.zeros(1, 64, 80, dtype=torch.uint8)
    masks[0, 12:40, 10:50] = 1
    shape = {"rotated_boxes": rotated} if name == "oriented" else {"boxes": boxes, "masks": masks}
    return [{**shape, "labels": torch.tensor([1])}]


@pytest.mark.parametrize("name", MODELS)
def test_a_detector_computes_where_its_weights_are(name: str) -> None:
    model, images, targets = _model(name), [torch.rand(3, 64, 80)], _targets(name)

    def losses() -> dict[str, float]:
        found = model.train()(images, targets, [torch.Generator().manual_seed(1)])
        return {name: loss.item() for name, loss in found.items()}

    found = model.eval()(images)[0]
    with ELSEWHERE:
        again = model(images)[0]
    assert all(torch.equal(again[name], found[name]) for name in found)
    expected = losses()
    with ELSEWHERE:
        assert losses() == expected


@pytest.mark.parametrize("options", [{}, {"patch_size": 64, "patch_overlap": 16}], ids=["images", "patches"])
def test_images_are_drawn_in_the_same_order(data: Path, options: dict[str, Any]) -> None:
    settings = small_settings(training_set(data), iterations=2, batch_size=2, flip=0.5, **options)

    def drawn() -> list[tuple[torch.Tensor, torch.Tensor]]:
        stream = Stream(training_set(data), settings)
        return [(image, target["boxes"]) for batch in batches(stream, 0, workers=0) for image, target in batch]

    expected = drawn()
    with ELSEWHERE:
        got = drawn()
    for (image, boxes), (its_image, its_boxes) in zip(expected, got, strict=True):
        assert torch.equal(image, its_image)
        assert torch.equal(boxes, its_boxes)


def test_a_run_trains_the_same_weights(data: Path, tmp_path: Path) -> None:
    settings = small_settings(training_set(data), iterations=2, batch_size=2)
    expected = train(training_set(data), tmp_path / "one", settings).state_dict()
    with ELSEWHERE:
        got = train(training_set(data), tmp_path / "other", settings).state_dict()
    assert all(torch.equal(got[name], weights) for name, weights in expected.items())


@pytest.mark.parametrize("patches", [None, PatchSettings(64, 16)])
def test_evaluation_gives_the_same_figures(tmp_path: Path, patches: PatchSettings | None) -> None:
    pytest.importorskip("pycocotools")
    write_small_scenes(tmp_path, 2)
    torch.manual_seed(0)
    model = SETTINGS.build().eval()

    def figures() -> dict[str, Any]:
        dataset: CocoDataset = validation_set(tmp_path)
        return evaluate_model(model, dataset, patches=patches)

    expected = figures()
    with ELSEWHERE:
        assert figures() == expected
