"""Training: it learns, it can be killed, two processes are as good as one, and what is wrong is named."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from typer.testing import CliRunner, Result

from roialign.commands.detection import add_commands
from roialign.detection import DatasetError, RunError, TrainSettings, evaluate_model, load_model, new_detector, train
from roialign.detection.training.checkpoint import CHECKPOINT_FILE
from roialign.detection.training.data import Stream, mirrored
from roialign.detection.training.optimisation import learning_rate
from tests.detection.small_training import small_settings, training_set, write_training_scenes
from tests.tables.paths import ROOT

#: Runs a script as two processes.
LAUNCHER = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
SCRIPT = ("-m", "tests.detection.training_run")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    write_training_scenes(folder)
    return folder


@pytest.fixture(scope="module")
def uninterrupted(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of ten steps on one thread."""
    run = tmp_path_factory.mktemp("runs") / "uninterrupted"
    subprocess.run([sys.executable, *SCRIPT, data, run], check=True, cwd=ROOT)
    return run


def _weights(run: Path) -> dict[str, torch.Tensor]:
    return load_model(run)[0].state_dict()


def _invoke(*arguments: str) -> Result:
    app = typer.Typer()
    add_commands(app)
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})


def _log(run: Path) -> list[dict[str, str]]:
    with open(run / "log.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    "model",
    [
        pytest.param("faster-rcnn", marks=pytest.mark.slow),
        "mask-rcnn",
        pytest.param("cascade-rcnn", marks=pytest.mark.slow),
    ],
)
def test_four_images_are_learnt_by_heart(model: str, data: Path, tmp_path: Path) -> None:
    dataset = training_set(data)
    sizes: dict[str, Any] = {"width": 16, "out_channels": 32, "hidden": 128, "mask_hidden": 32}
    detector = new_detector(dataset, model=model, backbone="resnet18-fpn", **sizes)
    settings = TrainSettings(detector, iterations=140, batch_size=4, learning_rate=2e-3, warmup=20)
    figures = evaluate_model(train(dataset, tmp_path / "run", settings), dataset)
    assert figures["box"]["AP"] > 0.9
    if model == "mask-rcnn":
        assert figures["mask"]["AP50"] > 0.9


@pytest.mark.parametrize("killed_after", [2, 5])
def test_a_killed_run_ends_with_the_weights_of_one_that_was_not(
    killed_after: int, data: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    """Killed before the first checkpoint, and between two."""
    run = tmp_path / "run"
    command: Sequence[Any] = [sys.executable, *SCRIPT, data, run]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) == killed_after:
                process.send_signal(signal.SIGKILL)
                break
        process.stdout.read()
    assert process.returncode == -signal.SIGKILL
    assert (run / CHECKPOINT_FILE).exists() == (killed_after > 3)
    went_on = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout.split()
    assert int(went_on[0]) == (4 if killed_after > 3 else 1)
    expected, got = _weights(uninterrupted), _weights(run)
    assert all(torch.equal(got[name], expected[name]) for name in expected)
    assert _log(run) == _log(uninterrupted)
    assert [row["iteration"] for row in _log(run)] == [str(number) for number in range(1, 11)]


def test_a_finished_run_has_nothing_to_do(data: Path, uninterrupted: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(uninterrupted, run)
    (run / "model.pt").unlink()  # as if killed just before
    before, iterations = _log(run), []
    settings = small_settings(training_set(data))
    train(training_set(data), run, settings, report=lambda number, _: iterations.append(number))
    assert (iterations, _log(run)) == ([], before)
    expected, got = _weights(uninterrupted), _weights(run)
    assert all(torch.equal(got[name], expected[name]) for name in expected)


def test_two_processes_are_as_good_as_one(data: Path, tmp_path: Path) -> None:
    """With points that are not drawn: those of an image would depend on the images beside it."""
    runs = [tmp_path / "alone", tmp_path / "together"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for run, launcher in zip(runs, ([], LAUNCHER), strict=True):
        command = [sys.executable, *launcher, *SCRIPT, data, run, "exact"]
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, cwd=ROOT)
    alone, together = map(_log, runs)
    assert len(alone) == len(together) == 10
    for index, (one, other) in enumerate(zip(alone, together, strict=True)):
        # Where rounding makes another proposal win, what follows differs by more than rounding.
        largest = 1e-5 if index == 0 else 1e-2
        for name, value in one.items():
            assert float(other[name]) == pytest.approx(float(value), rel=largest), (one["iteration"], name)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_learns_much_the_same(precision: str, data: Path, tmp_path: Path) -> None:
    dataset, losses = training_set(data), {}
    for name in ("off", precision):
        settings = small_settings(dataset, iterations=2, batch_size=1, precision=name)
        train(dataset, tmp_path / name, settings)
        losses[name] = [float(row["loss"]) for row in _log(tmp_path / name)]
    assert losses[precision] != losses["off"]
    assert losses[precision] == pytest.approx(losses["off"], rel=0.1)


def test_every_epoch_sees_every_image_once_in_an_order_of_its_own(data: Path) -> None:
    stream = Stream(training_set(data), small_settings(training_set(data), seed=3))
    epochs = [[stream[4 * epoch + index][1]["image_id"] for index in range(4)] for epoch in range(6)]
    assert {tuple(sorted(epoch)) for epoch in epochs} == {tuple(sorted(epochs[0]))}
    assert len(set(map(tuple, epochs))) > 1
    assert torch.equal(stream[5][0], Stream(training_set(data), small_settings(training_set(data), seed=3))[5][0])


def test_a_mirrored_image_keeps_its_objects(data: Path) -> None:
    image, target = training_set(data)[0]
    other, moved = mirrored(image, target)
    for box, mask in zip(moved["boxes"], moved["masks"], strict=True):
        columns = torch.where(mask.any(dim=0))[0]
        assert box[0] - 1 <= columns.min() <= columns.max() <= box[2] + 1
    back, same = mirrored(other, moved)
    assert torch.equal(back, image)
    assert torch.equal(same["boxes"], target["boxes"])


def test_the_learning_rate_rises_and_falls(data: Path) -> None:
    settings = small_settings(training_set(data), iterations=90, warmup=9, learning_rate=1.0, schedule="step")
    rates = [learning_rate(settings, iteration) for iteration in range(90)]
    assert rates[0] == pytest.approx(0.1)
    assert [rates[9], rates[59], rates[60], rates[80]] == pytest.approx([1, 1, 0.1, 0.01])
    cosine = replace(settings, schedule="cosine")
    assert learning_rate(cosine, 45) == pytest.approx(0.5)
    assert 0 < learning_rate(cosine, 89) < 0.001


def test_a_run_with_other_settings_is_named(data: Path, uninterrupted: Path) -> None:
    dataset = training_set(data)
    with pytest.raises(RunError, match=r"began with other settings: seed was 0, not 7"):
        train(dataset, uninterrupted, small_settings(dataset, seed=7))


def test_a_checkpoint_that_cannot_be_read_is_named(data: Path, uninterrupted: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(uninterrupted, run)
    (run / CHECKPOINT_FILE).write_bytes((run / CHECKPOINT_FILE).read_bytes()[:1000])
    dataset = training_set(data)
    with pytest.raises(RunError, match=r"checkpoint\.pt: cannot be read as a checkpoint"):
        train(dataset, run, small_settings(dataset))


def test_a_loss_that_is_not_finite_stops_the_run(data: Path, tmp_path: Path) -> None:
    dataset = training_set(data)
    settings = small_settings(dataset, learning_rate=1e30, clip=1e30, warmup=0, optimiser="sgd")
    with pytest.raises(RunError, match=r"iteration \d+: a loss is not finite: .*try a lower learning rate"):
        train(dataset, tmp_path / "run", settings)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_cannot_be_read_is_named_and_what_was_learnt_is_kept(
    workers: int, data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "scenes"
    shutil.copytree(data, folder)
    dataset = training_set(folder)
    settings = small_settings(dataset, batch_size=1)
    last = Stream(dataset, settings)[3][1]["image_id"]
    broken = next(dataset.path(index) for index, row in enumerate(dataset.rows) if row["id"] == last)
    broken.write_bytes(b"no image")
    with pytest.raises(DatasetError, match=broken.name):
        train(dataset, tmp_path / "run", settings, save_every=2, workers=workers)
    assert torch.load(tmp_path / "run" / CHECKPOINT_FILE, weights_only=True)["iteration"] == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [("iterations", 0), ("learning_rate", 0.0), ("flip", 2.0), ("optimiser", "adam"), ("precision", "half")],
)
def test_a_setting_that_makes_no_sense_is_named(name: str, value: Any, data: Path) -> None:
    with pytest.raises(ValueError, match=rf"^{name}: expected"):
        small_settings(training_set(data), **{name: value})


def test_the_command_trains_and_goes_on(data: Path, tmp_path: Path) -> None:
    arguments = ["train", "--data", str(data), "--out", str(tmp_path / "run"), "--batch-size", "2", "--warmup", "1"]
    for _ in range(2):
        result = _invoke(*arguments, "--iterations", "2")
        assert result.exit_code == 0, result.output
    assert [row["iteration"] for row in _log(tmp_path / "run")] == ["1", "2"]
    assert load_model(tmp_path / "run")[1].classes == tuple(training_set(data).class_names)
    result = _invoke(*arguments, "--iterations", "3")
    assert result.exit_code == 1
    assert "iterations was 2, not 3" in " ".join(result.output.split())


def test_the_command_names_a_missing_set(tmp_path: Path) -> None:
    result = _invoke("train", "--data", str(tmp_path), "--out", str(tmp_path / "run"))
    assert result.exit_code == 1
    assert "train/annotations.json" in result.output
    assert not (tmp_path / "run").exists()
