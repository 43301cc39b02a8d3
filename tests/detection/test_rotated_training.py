"""Training of rotated boxes: it learns, it can be killed, two processes are as good as one, the data fit."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from roialign import rotated_iou
from roialign.detection import (
    DatasetError,
    TrainSettings,
    Validation,
    evaluate_model,
    new_detector,
    train,
)
from roialign.detection.rotated_boxes import corners, hulls
from roialign.detection.settings import model_for
from roialign.detection.training import Event, Measured
from roialign.detection.training.data import Stream, mirrored
from tests.detection.small_training import (
    ROTATED_RANDOM,
    SCRIPT,
    assert_same_run,
    assert_two_processes_are_as_good_as_one,
    log_of,
    small_settings,
    train_killed,
    training_set,
    write_rotated_training_scenes,
)
from tests.tables.paths import ROOT


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    write_rotated_training_scenes(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("pooler", ["rotated", "exact"])
def test_four_images_are_learnt_by_heart(pooler: str, data: Path, tmp_path: Path) -> None:
    dataset = training_set(data, rotated=True)
    sizes: dict[str, Any] = {"width": 16, "out_channels": 32, "hidden": 128}
    detector = new_detector(dataset, model="oriented-rcnn", pooler=pooler, backbone="resnet18-fpn", **sizes)
    settings = TrainSettings(detector, iterations=140, batch_size=4, learning_rate=2e-3, warmup=20)
    model = train(dataset, tmp_path / "run", settings)
    figures = evaluate_model(model, dataset)
    assert figures["rotated_box"]["AP50"] > 0.9
    assert figures["dota"]["AP50"] > 0.9
    with torch.no_grad():
        found = [model([image])[0]["rotated_boxes"] for image, _ in dataset]
    overlaps = [
        rotated_iou(dataset[index][1]["rotated_boxes"], boxes, clockwise=True).amax(dim=1)
        for index, boxes in enumerate(found)
    ]
    assert torch.cat(overlaps).mean() > 0.8


def test_a_stopped_run_ends_with_the_weights_of_one_that_was_not(data: Path, tmp_path: Path) -> None:
    dataset = training_set(data, rotated=True)
    settings = small_settings(dataset, ROTATED_RANDOM, iterations=4)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train(dataset, tmp_path / "whole", settings)
        train(dataset, tmp_path / "stopped", settings, stop=lambda: True)  # after the first step
        assert len(log_of(tmp_path / "stopped")) == 1
        train(dataset, tmp_path / "stopped", settings)
    finally:
        torch.set_num_threads(threads)
    assert_same_run(tmp_path / "stopped", tmp_path / "whole")


@pytest.mark.slow
def test_a_killed_run_ends_with_the_weights_of_one_that_was_not(data: Path, tmp_path: Path) -> None:
    whole, run = tmp_path / "whole", tmp_path / "run"
    subprocess.run([sys.executable, *SCRIPT, data, whole, ROTATED_RANDOM], check=True, cwd=ROOT)
    assert train_killed(data, run, ROTATED_RANDOM, after=5) == 4, "the last checkpoint is after step 3"
    assert_same_run(run, whole)


@pytest.mark.slow
def test_two_processes_are_as_good_as_one(data: Path, tmp_path: Path) -> None:
    assert_two_processes_are_as_good_as_one(data, tmp_path, "rotated")


def test_average_precision_of_rotated_boxes_is_measured_and_logged(data: Path, tmp_path: Path) -> None:
    dataset, events = training_set(data, rotated=True), list[Event]()
    settings = small_settings(dataset, "rotated", iterations=2)
    train(dataset, tmp_path, settings, validation=Validation(dataset, 2), report=events.append)
    (measured,) = [event for event in events if isinstance(event, Measured)]
    assert set(measured.figures) == {"images", "rotated_box", "dota"}
    assert [row["rotated_box_AP50"] for row in log_of(tmp_path)] == ["", repr(measured.figures["rotated_box"]["AP50"])]


@pytest.mark.parametrize("vertically", [False, True])
def test_a_mirrored_image_keeps_its_rotated_boxes(data: Path, vertically: bool) -> None:
    image, target = training_set(data, rotated=True)[0]
    other, moved = mirrored(image, target, vertically=vertically)
    assert torch.equal(other, image.flip(-2 if vertically else -1))
    points, axis = corners(target["rotated_boxes"]), int(vertically)
    points[..., axis] = image.shape[-1 - axis] - points[..., axis]
    distances = (corners(moved["rotated_boxes"])[:, :, None] - points[:, None]).norm(dim=-1)
    assert distances.amin(dim=2).max() < 1e-3
    assert torch.equal(moved["labels"], target["labels"])
    assert torch.allclose(moved["boxes"], hulls(moved["rotated_boxes"]).clamp(0, 96), atol=1e-3)


def test_an_upright_detector_learns_the_hulls(data: Path, tmp_path: Path) -> None:
    dataset = training_set(data, rotated=True)
    settings = small_settings(dataset, "exact", iterations=1, batch_size=1)
    settings = replace(settings, detector=replace(settings.detector, model="faster-rcnn"))
    model = train(dataset, tmp_path, settings)
    assert set(model([dataset[0][0]])[0]) == {"boxes", "scores", "labels"}


def test_a_detector_and_data_that_do_not_fit_are_named(data: Path) -> None:
    upright, rotated = training_set(data), training_set(data, rotated=True)
    with pytest.raises(
        DatasetError, match=r"annotations\.json: expected rotated boxes, which oriented-rcnn is trained on, got"
    ):
        Stream(upright, small_settings(rotated, "rotated"))
    with pytest.raises(DatasetError, match=r"annotations_rotated\.json: expected masks, which mask-rcnn is trained on"):
        Stream(rotated, small_settings(upright))


def test_the_model_follows_from_the_data_and_the_data_from_the_model() -> None:
    assert model_for(None, rotated=False) == ("mask-rcnn", False)
    assert model_for(None, rotated=True) == ("oriented-rcnn", True)
    assert model_for("oriented-rcnn", rotated=False) == ("oriented-rcnn", True)
    assert model_for("faster-rcnn", rotated=True) == ("faster-rcnn", True)
    message = "model: expected one of faster-rcnn, cascade-rcnn, oriented-rcnn for rotated boxes, .* got mask-rcnn"
    with pytest.raises(ValueError, match=message):
        model_for("mask-rcnn", rotated=True)
