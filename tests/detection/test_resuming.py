"""Training that was killed, stopped or finished is resumed or extended; other settings are named."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from roialign.detection import (
    CocoDataset,
    OtherSettingsError,
    RunError,
    train,
)
from roialign.detection.coco import find_split
from roialign.detection.training import Event, Saved, Started
from roialign.detection.training.checkpoint import CHECKPOINT_FILE
from roialign.detection.training.optimisation import learning_rate
from roialign.files.problems import Problems
from tests.detection.small_training import (
    RANDOM,
    SCRIPT,
    assert_same_run,
    log_of,
    small_settings,
    train_killed,
    training_set,
)
from tests.tables.paths import ROOT


@pytest.fixture(scope="module")
def uninterrupted(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of ten steps on one thread."""
    run = tmp_path_factory.mktemp("runs") / "uninterrupted"
    subprocess.run([sys.executable, *SCRIPT, data, run], check=True, cwd=ROOT)
    return run


@pytest.mark.slow
@pytest.mark.parametrize("killed_after", [2, 5])
def test_a_killed_run_ends_with_the_weights_of_one_that_was_not(
    killed_after: int, data: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    """Killed before the first checkpoint, and between two."""
    run = tmp_path / "run"
    assert train_killed(data, run, after=killed_after) == (4 if killed_after > 3 else 1)
    assert_same_run(run, uninterrupted)
    assert [row["iteration"] for row in log_of(run)] == [str(number) for number in range(1, 11)]


def test_a_finished_run_has_nothing_to_do(data: Path, uninterrupted: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(uninterrupted, run)
    (run / "model.pt").unlink()  # as if killed just before
    events = list[Event]()
    settings = small_settings(training_set(data))
    train(training_set(data), run, settings, report=events.append)
    assert events == [Started(10, 10), Saved(10)]
    assert_same_run(run, uninterrupted)


def test_a_run_with_other_settings_is_named(data: Path, uninterrupted: Path) -> None:
    dataset = training_set(data)
    with pytest.raises(
        OtherSettingsError, match=r"was started with other settings: seed was 0, not 7; .*; use"
    ) as raised:
        train(dataset, uninterrupted, small_settings(dataset, "align", seed=7))
    assert raised.value.differences == {"seed": (0, 7), "detector.pooler": (RANDOM, "align")}
    with pytest.raises(OtherSettingsError, match=r"iterations was 10, not 9"):
        train(dataset, uninterrupted, small_settings(dataset, iterations=9))


def test_a_run_without_a_checkpoint_takes_any_settings(data: Path, tmp_path: Path) -> None:
    dataset = training_set(data)
    with pytest.raises(RunError, match="not finite"):
        train(dataset, tmp_path, small_settings(dataset, learning_rate=1e30, clip=1e30, warmup=0, optimiser="sgd"))
    assert (tmp_path / "settings.json").exists()
    train(dataset, tmp_path, small_settings(dataset, iterations=1))
    assert [row["iteration"] for row in log_of(tmp_path)] == ["1"]


def test_a_finished_run_is_extended(data: Path, uninterrupted: Path, tmp_path: Path) -> None:
    """From where it ended, along the schedule of the larger number of iterations."""
    run, dataset = tmp_path / "run", training_set(data)
    shutil.copytree(uninterrupted, run)
    settings = small_settings(dataset, iterations=12)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train(dataset, run, settings)
    finally:
        torch.set_num_threads(threads)
    rows = log_of(run)
    assert rows[:10] == log_of(uninterrupted)
    assert [float(row["learning_rate"]) for row in rows[10:]] == [learning_rate(settings, step) for step in (10, 11)]
    with pytest.raises(OtherSettingsError, match=r"iterations was 12, not 10"):
        train(dataset, run, replace(settings, iterations=10))


def test_only_a_finished_run_is_extended(data: Path, tmp_path: Path) -> None:
    dataset = training_set(data)
    settings = small_settings(dataset, iterations=3)
    train(dataset, tmp_path, settings, stop=lambda: True)
    with pytest.raises(OtherSettingsError, match=r"iterations was 3, not 4"):
        train(dataset, tmp_path, replace(settings, iterations=4))


def test_a_checkpoint_that_cannot_be_read_is_named(data: Path, uninterrupted: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(uninterrupted, run)
    (run / CHECKPOINT_FILE).write_bytes((run / CHECKPOINT_FILE).read_bytes()[:1000])
    dataset = training_set(data)
    with pytest.raises(RunError, match=r"checkpoint\.pt: cannot be read as a checkpoint"):
        train(dataset, run, small_settings(dataset))


def test_other_annotations_of_a_resumed_run_are_a_note(data: Path, tmp_path: Path) -> None:
    annotations, images = find_split(data, "train")
    other = tmp_path / "other.json"
    content = json.loads(annotations.read_text())
    other.write_text(json.dumps({**content, "annotations": content["annotations"][:-1]}))
    told = []
    kept = []
    for iterations, path in ((1, annotations), (2, annotations), (2, other), (3, other), (4, other)):
        dataset = CocoDataset(path, images, Problems())
        train(dataset, tmp_path / "run", small_settings(dataset, batch_size=1, iterations=iterations))
        told.append([str(remark) for remark in dataset.problems.remarks])
        kept.append(torch.load(tmp_path / "run" / CHECKPOINT_FILE, weights_only=True)["annotations"]["path"])
    said = f"{other}: not the annotations that this run has been trained on: those were {annotations}"
    assert told == [[], [], [said], [f"{said}; training continues with the new ones"], []]
    assert kept == [*[str(annotations)] * 3, *[str(other)] * 2], "those of the last step"


def test_the_annotations_are_read_once(data: Path, tmp_path: Path) -> None:
    annotations, images = find_split(data, "train")
    copy = tmp_path / "copy.json"
    shutil.copy(annotations, copy)
    dataset = CocoDataset(copy, images)
    copy.unlink()
    settings, sha256 = small_settings(dataset, iterations=2), hashlib.sha256(annotations.read_bytes()).hexdigest()
    checkpoint = tmp_path / "run" / CHECKPOINT_FILE
    train(dataset, tmp_path / "run", settings, stop=lambda: True)
    assert torch.load(checkpoint, weights_only=True)["annotations"] == {"path": str(copy), "sha256": sha256}
    dataset.annotations_hash = None  # as for a dataset that is not read from a file
    train(dataset, tmp_path / "run", settings)
    assert torch.load(checkpoint, weights_only=True)["annotations"] is None
