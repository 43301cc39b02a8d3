"""`roialign train`, `evaluate` and `detect` with images that are cut into patches."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from roialign.detection import PatchSettings, load_model, save_model
from roialign.detection.coco import open_image
from roialign.detection.model_files import MODEL_FILE
from roialign.detection.patch_detection import detect_in_patches
from roialign.detection.training.settings import read_settings
from roialign.files.run_lengths import mask_of
from tests.commands.invoked import invoke
from tests.detection.colour_detector import settings_of
from tests.detection.detectors import write_small_scenes
from tests.detection.small_training import write_rotated_training_scenes

PATCHES = ("--patch-size", 64, "--patch-overlap", 20)


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
    result = invoke("evaluate", "--data", data, "--out", tmp_path / "r.json", *options)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    rows = json.loads((tmp_path / "r.json").read_text())
    image = data / "val/images/000001.png"
    detector, _ = load_model(weights)
    found, masks = detect_in_patches(detector, open_image(image), PatchSettings(64, 20))
    of_first = [row for row in rows if row["image_id"] == 1]
    assert [row["score"] for row in of_first] == found["scores"].tolist()
    assert of_first, "there is something to compare"
    result = invoke("detect", image, "--out", tmp_path / "o", "--score-threshold", 0, *options)
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
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (500, 4500, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    options = ("--weights", weights, "--patch-size", 500, "--score-threshold", 0)
    result = invoke("detect", tmp_path / "a.png", "--out", tmp_path / "o", *options)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    with Image.open(tmp_path / "o/a-detections.png") as picture:
        assert picture.size[0] == 2250
    content = json.loads((tmp_path / "o/detections.json").read_text())
    assert (content["images"][0]["width"], content["images"][0]["height"]) == (4500, 500)
    assert max(row["bbox"][0] for row in content["annotations"]) > 2250, "in pixels of the image"


def test_a_broken_image_is_named_and_the_others_are_cut(data: Path, tmp_path: Path) -> None:
    weights = _weights(tmp_path, "faster-rcnn")
    (tmp_path / "broken.png").write_bytes(b"no image")
    images = (tmp_path / "broken.png", data / "val/images/000001.png")
    result = invoke("detect", *images, "--weights", weights, "--out", tmp_path / "o", *PATCHES)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {tmp_path / 'broken.png'}: cannot be read as an image")
    assert (tmp_path / "o/000001-detections.png").is_file()


def test_a_detector_is_trained_on_patches(tmp_path: Path) -> None:
    write_rotated_training_scenes(tmp_path)
    run = tmp_path / "run"
    options = ("--rotated", "--val-split", "train", "--batch-size", 2, "--iterations", 2, "--warmup", 1)
    train = ("train", "--data", tmp_path, "--out", run, *options, "--flip", 0.25, "--vertical-flip", 0.25)
    result = invoke(*train, "--patch-size", 64)
    assert result.exit_code == 0, result.output
    evaluate = f"roialign evaluate --weights {run} --data {tmp_path} --split train --patch-size 64 --patch-overlap 12"
    assert result.stdout == f"wrote {run}: evaluate it with `{evaluate}`\n"
    assert "average precision on 4 images" in result.stderr, "not on patches"
    wanted = read_settings(run)
    assert wanted is not None
    assert (wanted.patches, wanted.detector.min_size) == (PatchSettings(64, 12), 64)
    assert (wanted.flip, wanted.vertical_flip, wanted.diagonal_flip) == (0.25, 0.25, 0)
    result = invoke(*evaluate.split()[1:])
    assert (result.exit_code, result.stderr) == (0, "")
    _check_notes(tmp_path, run)
    assert "all 2 steps are done already" in invoke(*train, "--patch-size", 64).stderr
    for other, text in (
        ((), "other settings: --patch-size was 64, and is not given now. To"),
        (("--patch-size", 48), "other settings: --patch-size was 64, not 48. To"),
        (("--patch-size", 64, "--patch-overlap", 20), "other settings: --patch-overlap was 12, not 20. To"),
        (("--patch-size", 64, "--diagonal-flip", 0.5), "other settings: --diagonal-flip was 0.0, not 0.5. To"),
    ):
        result = invoke(*train, *other)
        assert (result.exit_code, text in result.stderr) == (1, True), result.stderr
    result = invoke(*train, "--patch-size", 64, "--diagonal-flip", 0.9)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: --flip, --vertical-flip, --diagonal-flip: expected probabilities of at mos")


@pytest.mark.parametrize("command", ["evaluate", "detect", "train"])
def test_more_patches_than_can_be_meant_are_named(
    command: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roialign.detection.patches.MOST_PATCHES", 81**2)  # one image has as many
    weights = ("--weights", _weights(tmp_path, "faster-rcnn"))
    words = {
        "evaluate": ("--data", data, *weights),
        "detect": (data / "val/images", "--out", tmp_path / "o", *weights),
        "train": ("--data", data, "--split", "val", "--out", tmp_path / "o", "--evaluate-every", 0),
    }
    result = invoke(command, *words[command], "--patch-size", 16, "--patch-overlap", 15)
    assert (result.exit_code, result.stderr) == (
        1,
        f"error: --patch-size, --patch-overlap: expected at most {81**2} patches in all, got {2 * 81**2}: patches of "
        "16 pixels that share 15; use larger patches or less overlap\n",
    )
    assert not (tmp_path / "o").exists()


def test_a_patch_of_padding_is_named(data: Path, tmp_path: Path) -> None:
    weights, image = _weights(tmp_path, "faster-rcnn"), data / "val/images/000001.png"
    result = invoke("detect", image, "--out", tmp_path / "o", "--weights", weights, "--patch-size", 2**15)
    assert result.exit_code == 1
    assert result.stderr.startswith(
        f"error: {image}: expected patches of at most 8192 pixels per side for an image of 96 x 96 pixels"
    )


def test_without_a_terminal_patches_are_counted_now_and_then(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roialign.commands.terminal.SECONDS_PER_LINE", 0.0)
    weights = ("--weights", _weights(tmp_path, "faster-rcnn"))
    detect = ("detect", data / "val/images", "--out", tmp_path / "o", *weights)
    for words, count, unit in (
        ((*detect, *PATCHES), 8, "patches"),
        (detect, 2, "images"),
        (("evaluate", "--data", data, *weights, *PATCHES), 8, "patches"),
    ):
        lines = invoke(*words).stderr.splitlines()
        assert len(lines) == count
        assert lines[-1].startswith(f"{count} of {count} {unit}, ")


def _check_notes(data: Path, run: Path) -> None:
    """Patches of another size than in training are named, whether the run or its file is given."""
    detect = ("detect", data / "train/images/000001.png", "--out", data / "o")
    evaluate = ("evaluate", "--data", data, "--split", "train")
    lone = data / "lone.pt"
    lone.write_bytes((run / MODEL_FILE).read_bytes())
    for command, weights, options, note in (
        (detect, run, (), "is not given: images are not cut"),
        (detect, run / MODEL_FILE, ("--patch-size", 48), "is 48"),
        (evaluate, run, ("--patch-size", 48), "is 48"),
        (detect, run, ("--patch-size", 64), None),
        (detect, lone, ("--patch-size", 48), None),
    ):
        result = invoke(*command, "--weights", weights, *options)
        wanted = "" if note is None else f"note: {weights}: trained on patches of 64 pixels, and --patch-size {note}\n"
        assert (result.exit_code, result.stderr) == (0, wanted)


WRONG = {
    "an overlap without a size": (("--patch-overlap", 20), "expected --patch-size as well"),
    "too much overlap": (
        ("--patch-size", 64, "--patch-overlap", 64),
        "expected less than 64, the --patch-size, got 64",
    ),
    "no size": (("--patch-size", 0), "Invalid value for '--patch-size'"),
    "no patch that fits into memory": (("--patch-size", 1_000_000), "Invalid value for '--patch-size'"),
    "a negative overlap": (("--patch-size", 64, "--patch-overlap", -1), "Invalid value for '--patch-overlap'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_impossible_patches_are_named(case: str, data: Path, tmp_path: Path) -> None:
    options, message = WRONG[case]
    weights = _weights(tmp_path, "faster-rcnn")
    commands = (
        ("evaluate", "--data", data, "--weights", weights),
        ("detect", data / "val/images", "--weights", weights, "--out", tmp_path / "o"),
        ("train", "--data", data, "--out", tmp_path / "o"),
    )
    for command in commands:
        result = invoke(*command, *options)
        assert result.exit_code == 2
        assert message in " ".join(result.stderr.replace("│", " ").split()), result.stderr
    assert not (tmp_path / "o").exists()
