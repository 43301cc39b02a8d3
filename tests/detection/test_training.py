"""Training: it learns, it can be killed, two processes are as good as one, and what is wrong is named."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
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

from roialign.detection import (
    CocoDataset,
    DatasetError,
    DetectorSettings,
    OtherSettingsError,
    RunError,
    TrainSettings,
    Validation,
    evaluate_model,
    load_model,
    new_detector,
    train,
)
from roialign.detection.coco import find_split
from roialign.detection.training import Event, Measured, Saved, Started, Stepped
from roialign.detection.training.checkpoint import CHECKPOINT_FILE
from roialign.detection.training.data import Stream, mirrored
from roialign.detection.training.optimisation import learning_rate, make_optimiser, set_learning_rate
from roialign.files.problems import Problems
from tests.detection.small_training import LAUNCHER, RANDOM, SCRIPT, small_settings, training_set, write_training_scenes
from tests.tables.paths import ROOT


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


def _drawn(stream: Stream, place: int) -> tuple[torch.Tensor, dict[str, Any]]:
    return stream.reported(stream[place])


def _log(run: Path) -> list[dict[str, str]]:
    with open(run / "log.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
@pytest.mark.parametrize("model", ["faster-rcnn", "mask-rcnn", "cascade-rcnn"])
def test_four_images_are_learnt_by_heart(model: str, data: Path, tmp_path: Path) -> None:
    dataset = training_set(data)
    sizes: dict[str, Any] = {"width": 16, "out_channels": 32, "hidden": 128, "mask_hidden": 32}
    detector = new_detector(dataset, model=model, backbone="resnet18-fpn", **sizes)
    settings = TrainSettings(detector, iterations=140, batch_size=4, learning_rate=2e-3, warmup=20)
    figures = evaluate_model(train(dataset, tmp_path / "run", settings), dataset)
    assert figures["box"]["AP"] > 0.9
    if model == "mask-rcnn":
        assert figures["mask"]["AP50"] > 0.9


@pytest.mark.slow
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
    before, events = _log(run), list[Event]()
    settings = small_settings(training_set(data))
    train(training_set(data), run, settings, report=events.append)
    assert (events, _log(run)) == ([Started(10, 10), Saved(10)], before)
    expected, got = _weights(uninterrupted), _weights(run)
    assert all(torch.equal(got[name], expected[name]) for name in expected)


@pytest.mark.slow
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
            assert (other[name] == "") == (value == "")
            assert float(other[name] or 0) == pytest.approx(float(value or 0), rel=largest), (one["iteration"], name)


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
    epochs = [[_drawn(stream, 4 * epoch + index)[1]["image_id"] for index in range(4)] for epoch in range(6)]
    assert {tuple(sorted(epoch)) for epoch in epochs} == {tuple(sorted(epochs[0]))}
    assert len(set(map(tuple, epochs))) > 1
    again = Stream(training_set(data), small_settings(training_set(data), seed=3))
    assert torch.equal(_drawn(stream, 5)[0], _drawn(again, 5)[0])


def test_a_mirrored_image_keeps_its_objects(data: Path) -> None:
    image, target = training_set(data)[0]
    other, moved = mirrored(image, target)
    for box, mask in zip(moved["boxes"], moved["masks"], strict=True):
        columns = torch.where(mask.any(dim=0))[0]
        assert box[0] - 1 <= columns.min() <= columns.max() <= box[2] + 1
    back, same = mirrored(other, moved)
    assert torch.equal(back, image)
    assert torch.equal(same["boxes"], target["boxes"])
    other, moved = mirrored(image, target, vertically=True)
    assert torch.equal(other, image.flip(-2))
    for box, mask in zip(moved["boxes"], moved["masks"], strict=True):
        rows = torch.where(mask.any(dim=1))[0]
        assert box[1] - 1 <= rows.min() <= rows.max() <= box[3] + 1


def test_an_image_is_mirrored_one_way_or_not_at_all(data: Path) -> None:
    dataset = training_set(data)
    wanted = small_settings(dataset, flip=0.2, vertical_flip=0.3, diagonal_flip=0.4)
    stream, counts = Stream(dataset, wanted), dict.fromkeys([(), (-1,), (-2,), (-1, -2)], 0)
    images = {dataset.rows[index]["id"]: dataset[index][0] for index in range(len(dataset))}
    ways = []
    for place in range(200):
        image, target = _drawn(stream, place)
        (way,) = [way for way in counts if torch.equal(image, images[target["image_id"]].flip(way))]
        counts[way] += 1
        ways.append(way)
    shares = [count / 200 for count in counts.values()]
    assert shares == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=0.08)
    before = Stream(dataset, small_settings(dataset, flip=0.2))
    for place in range(20):
        image, target = _drawn(before, place)
        assert torch.equal(image, images[target["image_id"]].flip(-1)) == (ways[place] == (-1,)), (
            "as without the others"
        )
    with pytest.raises(ValueError, match="flip, vertical_flip, diagonal_flip: expected probabilities of at most 1 tog"):
        small_settings(dataset, flip=0.5, vertical_flip=0.5, diagonal_flip=0.1)


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_offsets_are_learned_at_a_part_of_the_learning_rate(optimiser: Any) -> None:
    detector = DetectorSettings(
        "mask-rcnn", "resnet18-fpn", "deformable", classes=("a",), width=8, hidden=16, mask_hidden=8
    )
    model = detector.build()
    settings = TrainSettings(detector, iterations=10, learning_rate=0.5, optimiser=optimiser)
    made = make_optimiser(settings, model)
    set_learning_rate(made, 0.25)
    rates = {id(each): group["lr"] for group in made.param_groups for each in group["params"]}
    decays = {id(each): group["weight_decay"] for group in made.param_groups for each in group["params"]}
    assert len(rates) == sum(1 for _ in model.parameters())
    for name, parameter in model.named_parameters():
        assert rates[id(parameter)] == pytest.approx(0.025 if "offset_fc" in name else 0.25), name
        assert (decays[id(parameter)] > 0) == (parameter.ndim > 1), name
    assert sum("offset_fc" in name for name, _ in model.named_parameters()) == 12  # two poolers of three layers
    without = {group.pop("factor") for group in made.param_groups}  # as in a checkpoint of an earlier version
    assert without == {1.0, 0.1}
    set_learning_rate(made, 0.125)
    assert {group["lr"] for group in made.param_groups} == {0.125}


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
    assert [row["iteration"] for row in _log(tmp_path)] == ["1"]


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
    rows = _log(run)
    assert rows[:10] == _log(uninterrupted)
    assert [float(row["learning_rate"]) for row in rows[10:]] == [learning_rate(settings, step) for step in (10, 11)]
    with pytest.raises(OtherSettingsError, match=r"iterations was 12, not 10"):
        train(dataset, run, replace(settings, iterations=10))


def test_only_a_finished_run_is_extended(data: Path, tmp_path: Path) -> None:
    dataset = training_set(data)
    settings = small_settings(dataset, iterations=3)
    train(dataset, tmp_path, settings, stop=lambda: True)
    with pytest.raises(OtherSettingsError, match=r"iterations was 3, not 4"):
        train(dataset, tmp_path, replace(settings, iterations=4))


def test_a_run_says_what_happens_and_stops_when_it_is_asked_to(data: Path, tmp_path: Path) -> None:
    dataset, events = training_set(data), list[Event]()
    settings = small_settings(dataset, iterations=6)

    def stop() -> bool:
        return isinstance(events[-1], Stepped) and events[-1].iteration == 3

    for _ in range(2):
        train(dataset, tmp_path, settings, save_every=2, report=events.append, stop=stop)
    seen = [(type(event), event.iteration) for event in events]
    assert seen == [
        *[(Started, 0), (Stepped, 1), (Stepped, 2), (Saved, 2), (Stepped, 3), (Saved, 3)],
        *[(Started, 3), (Stepped, 4), (Saved, 4), (Stepped, 5), (Stepped, 6), (Saved, 6)],
    ]
    assert [row["iteration"] for row in _log(tmp_path)] == ["1", "2", "3", "4", "5", "6"]


def test_a_run_that_is_asked_to_stop_does_not_measure_first(data: Path, tmp_path: Path) -> None:
    dataset, events = training_set(data), list[Event]()
    answers = iter([False, True])
    settings, validation = small_settings(dataset, iterations=4), Validation(dataset, 2)
    train(dataset, tmp_path, settings, validation=validation, report=events.append, stop=lambda: next(answers))
    assert [type(event) for event in events] == [Started, Stepped, Stepped, Saved]


def test_average_precision_is_measured_and_changes_nothing(data: Path, tmp_path: Path) -> None:
    dataset, events = training_set(data), list[Event]()
    settings = small_settings(dataset, iterations=5)
    train(dataset, tmp_path / "plain", settings)
    train(dataset, tmp_path / "measured", settings, validation=Validation(dataset, 2), report=events.append)
    measured = [event for event in events if isinstance(event, Measured)]
    assert [event.iteration for event in measured] == [2, 4, 5]
    assert all(set(event.figures) == {"images", "box", "mask"} and event.figures["images"] == 4 for event in measured)
    rows = _log(tmp_path / "measured")
    names = [f"{kind}_{name}" for kind in ("box", "mask") for name in ("AP", "AP50", "AP75")]
    assert list(rows[0])[-6:] == names
    for row in rows:
        figures = next((event.figures for event in measured if str(event.iteration) == row["iteration"]), None)
        for name in names:
            kind, figure = name.split("_")
            assert row[name] == ("" if figures is None else repr(figures[kind][figure]))
    assert [{name: row[name] for name in row if name not in names} for row in rows] == _log(tmp_path / "plain")
    expected, got = _weights(tmp_path / "plain"), _weights(tmp_path / "measured")
    assert all(torch.equal(got[name], expected[name]) for name in expected)


def test_measuring_begins_in_the_middle_of_a_run(data: Path, tmp_path: Path) -> None:
    dataset = training_set(data)
    train(dataset, tmp_path, small_settings(dataset, iterations=2))
    before = _log(tmp_path)
    train(dataset, tmp_path, small_settings(dataset, iterations=3), validation=Validation(dataset))
    rows = _log(tmp_path)
    assert [{name: row[name] for name in before[0]} for row in rows[:2]] == before
    assert [row["box_AP"] for row in rows[:2]] == ["", ""]
    assert 0 <= float(rows[2]["box_AP"]) <= 1


def test_an_image_to_measure_on_that_cannot_be_read_is_named_once(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "scenes")
    problems, events = Problems(), list[Event]()
    dataset = CocoDataset(*find_split(tmp_path / "scenes", "train"), problems)
    dataset.path(0).write_bytes(b"no image")
    settings = small_settings(training_set(data), iterations=2)
    validation = Validation(dataset, 1)
    train(training_set(data), tmp_path / "run", settings, validation=validation, report=events.append)
    assert [event.figures["images"] for event in events if isinstance(event, Measured)] == [3, 3]
    assert [problem.where for problem in problems] == [str(dataset.path(0))]


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


def _with_a_broken_image(data: Path, folder: Path) -> tuple[Path, Path]:
    """A copy of the set, and its image that comes fourth, which is broken."""
    shutil.copytree(data, folder)
    dataset = training_set(folder)
    last = _drawn(Stream(dataset, small_settings(dataset, batch_size=1)), 3)[1]["image_id"]
    broken = next(dataset.path(index) for index, row in enumerate(dataset.rows) if row["id"] == last)
    broken.write_bytes(b"no image")
    return folder, broken


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_cannot_be_read_is_named_once_and_another_is_taken(
    workers: int, data: Path, tmp_path: Path
) -> None:
    folder, broken = _with_a_broken_image(data, tmp_path / "scenes")
    problems = Problems()
    dataset = CocoDataset(*find_split(folder, "train"), problems)
    settings = small_settings(dataset, batch_size=1)
    train(dataset, tmp_path / "run", settings, workers=workers)
    assert [problem.where for problem in problems] == [str(broken)]
    assert len(_log(tmp_path / "run")) == 10
    assert {_drawn(Stream(dataset, settings), place)[1]["image_id"] for place in range(8)} == {
        row["id"] for index, row in enumerate(dataset.rows) if dataset.path(index) != broken
    }


def test_a_strict_set_is_refused_for_one_image_and_what_was_learnt_is_kept(data: Path, tmp_path: Path) -> None:
    folder, broken = _with_a_broken_image(data, tmp_path / "scenes")
    dataset = CocoDataset(*find_split(folder, "train"), strict=True)
    with pytest.raises(DatasetError, match=broken.name):
        train(dataset, tmp_path / "run", small_settings(dataset, batch_size=1), save_every=2)
    assert torch.load(tmp_path / "run" / CHECKPOINT_FILE, weights_only=True)["iteration"] == 2


def test_an_object_outside_its_image_is_named_once_and_not_trained_on(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "scenes")
    annotations, images = find_split(tmp_path / "scenes", "train")
    content = json.loads(annotations.read_text())
    content["annotations"][1]["bbox"] = [500, 5, 10, 10]
    annotations.write_text(json.dumps(content))
    place = f"{annotations}: annotations[1]"
    dataset = CocoDataset(annotations, images, Problems())
    stream = Stream(dataset, small_settings(dataset))
    assert [problem.where for problem in dataset.problems] == [place]
    assert sum(len(_drawn(stream, number)[1]["labels"]) for number in range(4)) == len(content["annotations"]) - 1
    with pytest.raises(DatasetError, match=re.escape(place)):
        Stream(CocoDataset(annotations, images, strict=True), small_settings(dataset))


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


def test_a_set_without_a_readable_image_or_an_object_is_refused(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "scenes")
    dataset = CocoDataset(*find_split(tmp_path / "scenes", "train"), Problems())
    settings = small_settings(dataset)
    for index in range(len(dataset)):
        dataset.path(index).unlink()
    with pytest.raises(DatasetError, match="none of the 4 images can be read"):
        train(dataset, tmp_path / "run", settings)
    assert len(dataset.problems) == 4
    content = json.loads(dataset.annotations.read_text())
    dataset.annotations.write_text(json.dumps({**content, "annotations": []}))
    with pytest.raises(DatasetError, match=r"annotations\.json: expected at least one object in an image, got none"):
        train(training_set(tmp_path / "scenes"), tmp_path / "run", settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("iterations", 0),
        ("learning_rate", 0.0),
        ("flip", 2.0),
        ("optimiser", "adam"),
        ("precision", "half"),
        ("vertical_flip", -0.1),
        ("patch_size", 0),
        ("patch_overlap", 20),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(name: str, value: Any, data: Path) -> None:
    with pytest.raises(ValueError, match=rf"^{name}: expected"):
        small_settings(training_set(data), **{name: value})
