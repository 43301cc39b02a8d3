"""`roialign train`, `evaluate` and `detect` with images that are cut into patches."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from roialign.commands.app import app
from roialign.detection import PatchSettings, load_model, save_model
from roialign.detection.coco import open_image
from roialign.detection.model_files import MODEL_FILE
from roialign.detection.patch_detection import detect_in_patches
from roialign.files.run_lengths import mask_of
from tests.detection.colour_detector import settings_of
from tests.detection.detectors import write_small_scenes

PATCHES = ("--patch-size", 64, "--patch-overlap", 20)


def _run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def _weights(folder: Path, model: str) -> Path:
    torch.manual_seed(0)
    settings = settings_of(model)
    save_model(folder / MODEL_FILE, settings.build(), settings)
    return folder / MODEL_FILE


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    write_small_scenes(folder, 2)
    return folder


@pytest.mark.parametrize("model", ["faster-rcnn", "mask-rcnn", "oriented-rcnn"])
def test_the_commands_find_what_the_function_finds(model: str, data: Path, tmp_path: Path) -> None:
    weights = _weights(tmp_path, model)
    options = ("--weights", weights, *PATCHES)
    result = _run("evaluate", "--data", data, "--out", tmp_path / "r.json", *options)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    rows = json.loads((tmp_path / "r.json").read_text())
    image = data / "val/images/000001.png"
    detector, _ = load_model(weights)
    with torch.no_grad():
        found, masks = detect_in_patches(detector, open_image(image), PatchSettings(64, 20))
    of_first = [row for row in rows if row["image_id"] == 1]
    assert [row["score"] for row in of_first] == found["scores"].tolist()
    assert of_first, "there is something to compare"
    result = _run("detect", image, "--out", tmp_path / "o", "--score-threshold", 0, *options)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    drawn = json.loads((tmp_path / "o/detections.json").read_text())["annotations"]
    assert [(row["bbox"], row.get("segmentation")) for row in drawn] == [
        (row["bbox"], row.get("segmentation")) for row in of_first
    ]
    for row, mask in zip(of_first, masks, strict=model == "mask-rcnn"):
        part, x, y = mask.pixels()
        pixels = mask_of(row["segmentation"])
        assert pixels.shape == (96, 96)
        np.testing.assert_array_equal(pixels[y : y + part.shape[0], x : x + part.shape[1]], part)


def test_the_picture_of_a_large_image_is_reduced(tmp_path: Path) -> None:
    weights = _weights(tmp_path, "mask-rcnn")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (800, 9000, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    options = ("--weights", weights, "--patch-size", 1000, "--score-threshold", 0)
    result = _run("detect", tmp_path / "a.png", "--out", tmp_path / "o", *options)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    with Image.open(tmp_path / "o/a-detections.png") as picture:
        assert picture.size[0] == 3000
    content = json.loads((tmp_path / "o/detections.json").read_text())
    assert (content["images"][0]["width"], content["images"][0]["height"]) == (9000, 800)
    assert max(row["bbox"][0] for row in content["annotations"]) > 4000, "in pixels of the image"


def test_a_broken_image_is_named_and_the_others_are_cut(data: Path, tmp_path: Path) -> None:
    weights = _weights(tmp_path, "faster-rcnn")
    (tmp_path / "broken.png").write_bytes(b"no image")
    images = (tmp_path / "broken.png", data / "val/images/000001.png")
    result = _run("detect", *images, "--weights", weights, "--out", tmp_path / "o", *PATCHES)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {tmp_path / 'broken.png'}: cannot be read as an image")
    assert (tmp_path / "o/000001-detections.png").is_file()


WRONG = {
    "an overlap without a size": (("--patch-overlap", 20), "expected --patch-size as well"),
    "too much overlap": (
        ("--patch-size", 64, "--patch-overlap", 64),
        "expected less than 64, the --patch-size, got 64",
    ),
    "no size": (("--patch-size", 0), "Invalid value for '--patch-size'"),
    "a negative overlap": (("--patch-size", 64, "--patch-overlap", -1), "Invalid value for '--patch-overlap'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_impossible_patches_are_named(case: str, data: Path, tmp_path: Path) -> None:
    options, message = WRONG[case]
    weights = _weights(tmp_path, "faster-rcnn")
    commands = (
        ("evaluate", "--data", data, "--weights", weights),
        ("detect", data / "val/images", "--weights", weights, "--out", tmp_path / "o"),
    )
    for command in commands:
        result = _run(*command, *options)
        assert result.exit_code == 2
        assert message in " ".join(result.stderr.replace("│", " ").split()), result.stderr
    assert not (tmp_path / "o").exists()
