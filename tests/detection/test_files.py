"""Files of weights: what was saved comes back, torchvision's files do, and anything else is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from roialign.detection import DetectorSettings, ModelFileError, load_model, save_model
from roialign.detection.coco_classes import COCO_CLASSES
from tests.detection.detectors import SETTINGS, validation_set
from tests.tables.paths import DATA


def test_a_saved_detector_finds_the_same(scenes: Path, tmp_path: Path) -> None:
    model, settings = load_model(scenes)
    assert settings == SETTINGS
    assert not model.training
    image = validation_set(scenes)[0][0]
    save_model(tmp_path / "copy.pt", model, settings)
    again, _ = load_model(tmp_path / "copy.pt")
    with torch.no_grad():
        expected, got = model([image])[0], again([image])[0]
    assert len(expected["boxes"]) == 5
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    other, settings = load_model(scenes, pooler="pool")
    assert settings.pooler == "pool"
    assert type(other.roi_heads.box_pooler).__name__ == "MultiScaleRoIPool"


SETTINGS_OF = {
    "cascade": {"model": "cascade-mask-rcnn", "backbone": "resnet18-c4", "anchor_sizes": [[16, 32]]},
    "dilated": {"model": "cascade-rcnn", "backbone": "resnet18-c5-dilated", "frozen_norm": True},
    "deformable": {"model": "faster-rcnn", "pooler": "deformable:deform_fc_channels=4"},
    "oriented": {"model": "oriented-rcnn", "pooler": "rotated:sampling_ratio=3"},
    "oriented, by hulls": {"model": "oriented-rcnn", "pooler": "deformable:deform_fc_channels=4"},
}


@pytest.mark.parametrize("case", SETTINGS_OF)
def test_every_kind_of_detector_comes_back(tmp_path: Path, case: str) -> None:
    settings = DetectorSettings.of({**SETTINGS.to_dict(), **SETTINGS_OF[case]})
    model = settings.build()
    save_model(tmp_path / "m.pt", model, settings)
    again, same = load_model(tmp_path / "m.pt")
    assert same == settings
    assert same == DetectorSettings.of(json.loads(json.dumps(settings.to_dict())))
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


WRONG_SETTINGS = {
    "model": ("yolo", "model: expected one of faster-rcnn, .* got 'yolo'"),
    "backbone": ("vgg", "backbone: expected one of resnet18-fpn, .* or timm:NAME, got 'vgg'"),
    "pooler": ("none", "pooler: expected one of exact, .* got 'none'"),
    "classes": ((), "classes: expected at least one name, got none"),
    "category_ids": ((1, 2), "category_ids: expected 10, one per class, got 2"),
    "colour": ("red", "settings: expected names among .* got colour"),
}


@pytest.mark.parametrize("name", WRONG_SETTINGS)
def test_wrong_settings_are_named(name: str) -> None:
    value, message = WRONG_SETTINGS[name]
    with pytest.raises(ValueError, match=message):
        DetectorSettings.of({**SETTINGS.to_dict(), name: value})


class Malicious:
    """What a file could hold to be run when it is read."""

    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('run')",)


WRONG_FILES: dict[str, tuple[Any, str]] = {
    "empty": (b"", "cannot be read as a weight file: an empty file"),
    "text": (b"weights", "cannot be read as a weight file: a text file that torch.save did not write: write "),
    "code": (
        {"model": Malicious()},
        "cannot be read as a weight file: it contains (builtins.)?exec besides",
    ),
    "a number": (3, "expected weights by name, found 3: write "),
    "no weights": ({"model": {}}, "expected weights by name, but there are none"),
    "unknown": ({"a": torch.zeros(1)}, "got weights without roi_heads.box_predictor"),
    "no settings": ({"settings": 3, "model": {"a": torch.zeros(1)}}, "settings: expected a dict, got 3"),
    "too few": (
        {"settings": SETTINGS.to_dict(), "model": {"a": torch.zeros(1)}},
        r"the weights do not fit mask-rcnn on resnet18-fpn: \d+ weights missing \(backbone.body.conv1.weight\), "
        r"1 weight unknown \(a\)",
    ),
}


@pytest.mark.parametrize("case", WRONG_FILES)
def test_a_file_that_is_no_detector_is_named(tmp_path: Path, case: str) -> None:
    content, message = WRONG_FILES[case]
    path = tmp_path / "w.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(ModelFileError, match=message) as raised:
        load_model(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert len(str(raised.value)) < 600


def test_a_missing_file_and_another_model_are_named(scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"model\.pt: no such file"):
        load_model(tmp_path)
    with pytest.raises(ModelFileError, match="model: expected mask-rcnn, the model in the file, got faster-rcnn"):
        load_model(scenes, model="faster-rcnn")


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("which", ["faster", "mask"])
def test_torchvision_files_need_no_settings(tmp_path: Path, which: str, counted: bool) -> None:
    data = json.loads((DATA / "torchvision_detectors.json").read_text())
    rows = data["faster"] + (data["mask"] if which == "mask" else [])
    weights = {name: torch.tensor(float(n)).expand(shape) for n, (name, shape) in enumerate(rows)}
    if not counted:
        weights = {name: value for name, value in weights.items() if "num_batches" not in name}
    torch.save(weights, tmp_path / "w.pth")
    model, settings = load_model(tmp_path / "w.pth")
    assert (settings.model, settings.pooler) == (f"{which}-rcnn", "align-unshifted")
    assert model.roi_heads.num_classes == 91
    assert [settings.classes[number - 1] for number in (1, 18, 90)] == ["person", "dog", "toothbrush"]
    assert len(COCO_CLASSES) == 80
    assert (settings.frozen_norm, settings.norm_epsilon) == ((False, 1e-5) if counted else (True, 0.0))
    assert torch.equal(model.backbone.body.conv1.weight, weights["backbone.body.conv1.weight"])
    if which == "faster" and counted:
        with pytest.raises(ModelFileError, match=r"\d+ weights missing \(roi_heads.mask_branch"):
            load_model(tmp_path / "w.pth", model="mask-rcnn")
