"""The images of training: their order, mirrored ones, and those that cannot be used."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from roialign.detection import CocoDataset, DatasetError, Validation, train
from roialign.detection.coco import find_split
from roialign.detection.training.checkpoint import CHECKPOINT_FILE
from roialign.detection.training.data import Stream, batches, mirrored
from roialign.files.problems import Problems
from tests.detection.small_training import (
    log_of,
    small_settings,
    training_set,
)


def _drawn(stream: Stream, place: int) -> tuple[torch.Tensor, dict[str, Any]]:
    return stream.reported(stream[place])


def test_every_epoch_sees_every_image_once_in_an_order_of_its_own(data: Path) -> None:
    stream = Stream(training_set(data), small_settings(training_set(data), seed=3))
    epochs = [[_drawn(stream, 4 * epoch + index)[1]["image_id"] for index in range(4)] for epoch in range(6)]
    assert {tuple(sorted(epoch)) for epoch in epochs} == {tuple(sorted(epochs[0]))}
    assert len(set(map(tuple, epochs))) > 1
    again = Stream(training_set(data), small_settings(training_set(data), seed=3))
    assert torch.equal(_drawn(stream, 5)[0], _drawn(again, 5)[0])


def test_a_run_of_any_length_begins_at_once(data: Path) -> None:
    stream = Stream(training_set(data), small_settings(training_set(data), iterations=10**12, batch_size=1))
    assert len(next(batches(stream, 5, workers=0))) == 1


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
    assert len(log_of(tmp_path / "run")) == 10
    assert {_drawn(Stream(dataset, settings), place)[1]["image_id"] for place in range(8)} == {
        row["id"] for index, row in enumerate(dataset.rows) if dataset.path(index) != broken
    }


def test_a_strict_set_is_refused_for_one_image_and_what_was_learnt_is_kept(data: Path, tmp_path: Path) -> None:
    folder, broken = _with_a_broken_image(data, tmp_path / "scenes")
    dataset = CocoDataset(*find_split(folder, "train"), strict=True)
    with pytest.raises(DatasetError, match=broken.name):
        train(dataset, tmp_path / "run", small_settings(dataset, batch_size=1), save_every=2)
    assert torch.load(tmp_path / "run" / CHECKPOINT_FILE, weights_only=True)["iteration"] == 3
    assert len(log_of(tmp_path / "run")) == 3


def test_a_strict_set_that_is_refused_at_once_leaves_no_checkpoint(data: Path, tmp_path: Path) -> None:
    folder, broken = _with_a_broken_image(data, tmp_path / "scenes")
    dataset = CocoDataset(*find_split(folder, "train"), strict=True)
    with pytest.raises(DatasetError, match=broken.name):
        train(dataset, tmp_path / "run", small_settings(dataset, batch_size=4))
    assert not (tmp_path / "run" / CHECKPOINT_FILE).exists()


def test_a_strict_set_that_is_refused_when_it_is_measured_on_keeps_the_step(data: Path, tmp_path: Path) -> None:
    folder, broken = _with_a_broken_image(data, tmp_path / "scenes")
    dataset, measured = training_set(data), CocoDataset(*find_split(folder, "train"), strict=True)
    with pytest.raises(DatasetError, match=broken.name):
        train(dataset, tmp_path / "run", small_settings(dataset, batch_size=1), validation=Validation(measured, 2))
    assert torch.load(tmp_path / "run" / CHECKPOINT_FILE, weights_only=True)["iteration"] == 2
    assert [row["iteration"] for row in log_of(tmp_path / "run")] == ["1", "2"]


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
