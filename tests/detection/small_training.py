"""Scenes to learn from and settings that learn quickly, which several tests share."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from roialign.detection import CocoDataset, SceneSettings, TrainSettings, load_model, new_detector, write_scenes
from roialign.detection.rotated_data import RotatedDataset, open_split
from roialign.detection.training.checkpoint import CHECKPOINT_FILE
from tests.tables.paths import ROOT

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


def assert_same_run(run: Path, expected: Path) -> None:
    """The weights and the logs of two runs have the same bits."""
    found, wanted = weights_of(run), weights_of(expected)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert log_of(run) == log_of(expected)


def train_killed(data: Path, run: Path, *pooler: str, after: int) -> int:
    """Train in a process that is killed after a step, and in another to the end. Returns the first step of that one."""
    command = [sys.executable, *SCRIPT, str(data), str(run), *pooler]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) == after:
                process.send_signal(signal.SIGKILL)
                break
        process.stdout.read()
    assert process.returncode == -signal.SIGKILL
    assert (run / CHECKPOINT_FILE).exists() == (after > 3)
    resumed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    return int(resumed.stdout.split()[0])


def assert_two_processes_are_as_good_as_one(data: Path, folder: Path, pooler: str) -> None:
    """Train alone and as two processes, and compare the logs."""
    runs = [folder / "alone", folder / "together"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for run, launcher in zip(runs, ([], LAUNCHER), strict=True):
        command = [sys.executable, *launcher, *SCRIPT, str(data), str(run), pooler]
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, cwd=ROOT)
    alone, together = map(log_of, runs)
    assert len(alone) == len(together) == 10
    for index, (one, other) in enumerate(zip(alone, together, strict=True)):
        # Where rounding makes another proposal win, what follows differs by more than rounding.
        largest = 1e-5 if index == 0 else 1e-2
        for name, value in one.items():
            assert (other[name] == "") == (value == "")
            assert float(other[name] or 0) == pytest.approx(float(value or 0), rel=largest), (one["iteration"], name)
