"""Training: it learns, two processes are as good as one, and what happens is said."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from roialign.detection import (
    CocoDataset,
    DetectorSettings,
    RunError,
    TrainSettings,
    Validation,
    evaluate_model,
    new_detector,
    train,
)
from roialign.detection.coco import find_split
from roialign.detection.training import Event, Measured, Saved, Started, Stepped
from roialign.detection.training.optimisation import learning_rate, make_optimiser, set_learning_rate
from roialign.files.problems import Problems
from tests.detection.small_training import (
    assert_two_processes_are_as_good_as_one,
    log_of,
    small_settings,
    training_set,
    weights_of,
)


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
def test_two_processes_are_as_good_as_one(data: Path, tmp_path: Path) -> None:
    """With points that are not drawn: those of an image would depend on the images beside it."""
    assert_two_processes_are_as_good_as_one(data, tmp_path, "exact")


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_learns_much_the_same(precision: str, data: Path, tmp_path: Path) -> None:
    dataset, losses = training_set(data), {}
    for name in ("off", precision):
        settings = small_settings(dataset, iterations=2, batch_size=1, precision=name)
        train(dataset, tmp_path / name, settings)
        losses[name] = [float(row["loss"]) for row in log_of(tmp_path / name)]
    assert losses[precision] != losses["off"]
    assert losses[precision] == pytest.approx(losses["off"], rel=0.1)


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
    assert [row["iteration"] for row in log_of(tmp_path)] == ["1", "2", "3", "4", "5", "6"]


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
    rows = log_of(tmp_path / "measured")
    names = [f"{kind}_{name}" for kind in ("box", "mask") for name in ("AP", "AP50", "AP75")]
    assert list(rows[0])[-6:] == names
    for row in rows:
        figures = next((event.figures for event in measured if str(event.iteration) == row["iteration"]), None)
        for name in names:
            kind, figure = name.split("_")
            assert row[name] == ("" if figures is None else repr(figures[kind][figure]))
    assert [{name: row[name] for name in row if name not in names} for row in rows] == log_of(tmp_path / "plain")
    expected, got = weights_of(tmp_path / "plain"), weights_of(tmp_path / "measured")
    assert all(torch.equal(got[name], expected[name]) for name in expected)


def test_measuring_begins_in_the_middle_of_a_run(data: Path, tmp_path: Path) -> None:
    dataset = training_set(data)
    train(dataset, tmp_path, small_settings(dataset, iterations=2))
    before = log_of(tmp_path)
    train(dataset, tmp_path, small_settings(dataset, iterations=3), validation=Validation(dataset))
    rows = log_of(tmp_path)
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


def test_a_loss_that_is_not_finite_stops_the_run(data: Path, tmp_path: Path) -> None:
    dataset = training_set(data)
    settings = small_settings(dataset, learning_rate=1e30, clip=1e30, warmup=0, optimiser="sgd")
    with pytest.raises(RunError, match=r"iteration \d+: a loss is not finite: .*try a lower learning rate"):
        train(dataset, tmp_path / "run", settings)


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
