"""Datasets that are cut into patches: the objects of a patch, that none is lost, and how often images are decoded."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from roialign.detection import (
    CocoDataset,
    DatasetError,
    PatchSettings,
    RotatedDataset,
    TrainSettings,
    Validation,
    cut_into_patches,
    load_model,
    new_detector,
    train,
)
from roialign.detection import patch_data as patch_module
from roialign.detection.average_precision import average_precision
from roialign.detection.rotated_boxes import hulls
from roialign.detection.training import Cut, Event, Measured
from roialign.detection.training.data import Stream
from roialign.files.problems import Problems
from tests.detection.small_training import small_settings, training_set, write_rotated_training_scenes

CUT = PatchSettings(100, 40)


def _written(folder: Path, rows: list[dict[str, Any]], size: tuple[int, int] = (160, 100), images: int = 1) -> Path:
    """A dataset with these annotations on the first of its images."""
    random = np.random.default_rng(0)
    for number in range(1, images + 1):
        pixels = random.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    content = {
        "categories": [{"id": 3, "name": "ship"}, {"id": 9, "name": "plane"}],
        "images": [
            {"id": number, "file_name": f"{number}.png", "width": size[0], "height": size[1]}
            for number in range(1, images + 1)
        ],
        "annotations": [{"id": n, "image_id": 1, "category_id": 9, **row} for n, row in enumerate(rows, start=1)],
    }
    (folder / "a.json").write_text(json.dumps(content))
    return folder / "a.json"


def test_an_object_belongs_to_a_patch_from_70_percent_on(tmp_path: Path) -> None:
    """The patches are x = 0 to 100 and x = 60 to 160."""
    rows = [{"bbox": [x, 10, width, 10]} for x, width in ((90, 10), (93, 10), (80, 20), (94, 10), (50, 10), (150, 10))]
    dataset = CocoDataset(_written(tmp_path, rows), tmp_path)
    patches = cut_into_patches(dataset, CUT)
    assert [row["id"] for row in patches.rows] == ["1__100__0___0", "1__100__60___0"]
    assert [(row["width"], row["height"]) for row in patches.rows] == [(100, 100)] * 2
    assert patches[0][1]["boxes"].tolist() == [
        [90, 10, 100, 20],
        [93, 10, 100, 20],
        [80, 10, 100, 20],
        [50, 10, 60, 20],
    ]
    assert patches[1][1]["boxes"].tolist() == [
        [30, 10, 40, 20],
        [33, 10, 43, 20],
        [20, 10, 40, 20],
        [34, 10, 44, 20],
        [90, 10, 100, 20],
    ]
    assert patches[0][1]["labels"].tolist() == [2] * 4
    (crowd,) = [found for found in patches.objects(patches.rows[0]) if found["iscrowd"]]
    assert crowd["bbox"] == [94, 10, 6, 10], "60 percent: ignored"


def test_rotated_boxes_are_moved_and_not_clipped(tmp_path: Path) -> None:
    rows = [{"bbox": [96, 50, 20, 8, angle]} for angle in (0, 45, 90)]  # detectron2's, counter-clockwise
    rows += [{"bbox": [159, 50, 20, 8, 0]}, {"bbox": [97.9, 80, 20, 8, 0]}]
    dataset = RotatedDataset(_written(tmp_path, rows), tmp_path)
    patches = cut_into_patches(dataset, CUT)
    assert isinstance(patches, RotatedDataset)
    whole = dataset[0][1]["rotated_boxes"]
    first, second = patches[0][1], patches[1][1]
    # In the first patch lie 14 of the 20 pixels of the length of the first box, 10 + 4 * sqrt(2) of the second, all of
    # the third, and 12.1 of the last.
    assert first["rotated_boxes"].tolist() == [whole[0].tolist(), pytest.approx(whole[1].tolist()), whole[2].tolist()]
    moved = whole - torch.tensor([60, 0, 0, 0, 0])
    torch.testing.assert_close(second["rotated_boxes"], moved, rtol=0, atol=1e-4)
    assert second["boxes"][3].tolist() == pytest.approx([89, 46, 100, 54]), "cut by the image only"
    clipped = hulls(moved).clamp(0, 100)
    torch.testing.assert_close(second["boxes"], clipped, rtol=0, atol=1e-4)
    assert second["difficult"].tolist() == [False] * 5


def test_a_patch_is_a_part_of_the_image_and_of_its_masks(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    mask = np.zeros((90, 150), dtype=np.uint8, order="F")
    mask[20:50, 50:80] = random.random((30, 30)) < 0.5
    from pycocotools import mask as coco_masks

    run_lengths = coco_masks.encode(mask)
    run_lengths["counts"] = run_lengths["counts"].decode()
    triangle = [[70.5, 10, 120, 30, 66, 80.0]]
    rows = [
        {"bbox": [50, 20, 30, 30], "segmentation": run_lengths},
        {"bbox": [66, 10, 54, 70], "segmentation": triangle},
        {"bbox": [61, 5, 30, 20], "segmentation": [[61, 5, 91, 5, 91, 25, 61, 25]]},
    ]
    dataset = CocoDataset(_written(tmp_path, rows, (150, 90)), tmp_path)
    image, target = dataset[0]
    patches = cut_into_patches(dataset, CUT)
    assert [row["id"] for row in patches.rows] == ["1__100__0___0", "1__100__50___0"]
    for (part, found), left, kept in zip(patches, (0, 50), ([0, 2], [0, 1, 2]), strict=True):
        torch.testing.assert_close(part[:, :90], image[:, :, left : left + 100], rtol=0, atol=0)
        assert torch.equal(found["masks"][:, :90], target["masks"][kept][:, :, left : left + 100])
        assert found["masks"].shape == (len(kept), 100, 100)
        assert not found["masks"][:, 90:].any(), "padding"
        assert torch.equal(found["boxes"], target["boxes"][kept] - torch.tensor([left, 0, left, 0]))


def test_patches_without_an_object_are_left_out(tmp_path: Path) -> None:
    rows = [{"bbox": [10, 10, 20, 20]}, {"bbox": [250, 40, 20, 20], "iscrowd": 1}]
    dataset = CocoDataset(_written(tmp_path, rows, (300, 300), images=2), tmp_path)
    assert [row["id"] for row in cut_into_patches(dataset, CUT).rows] == ["1__100__0___0"]
    every = cut_into_patches(dataset, CUT, keep_empty=True)
    assert len(every) == 2 * CUT.count(300, 300)
    assert [len(every[index][1]["boxes"]) for index in range(3)] == [1, 0, 0]
    none = cut_into_patches(CocoDataset(_written(tmp_path, rows[1:], (300, 300)), tmp_path), CUT)
    assert len(none) == 0


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_no_object_is_lost_that_lies_whole_in_a_patch(tmp_path: Path, seed: int, rotated: bool) -> None:
    random = np.random.default_rng(seed)
    width, height, size = (int(side) for side in random.integers(1, 200, 3))
    cut = PatchSettings(size, int(random.integers(0, size)))
    centres = random.uniform(0, 1, (20, 2)) * (width, height)
    rows = [
        {"bbox": [*centre, *random.uniform(1, 60, 2), *([random.uniform(-90, 90)] if rotated else [])]}
        for centre in centres
    ]
    kind = RotatedDataset if rotated else CocoDataset
    dataset = kind(_written(tmp_path, rows, (width, height)), tmp_path, Problems())
    patches = cut_into_patches(dataset, cut)
    kept = {found["id"] for row in patches.rows for found in patches.objects(row) if not found["iscrowd"]}
    for found in dataset.objects(dataset.rows[0]):
        x, y, w, h = found["bbox"]
        whole = any(
            patch.x <= x and patch.y <= y and x + w <= patch.x + size and y + h <= patch.y + size
            for patch in cut.patches(width, height)
        )
        # A rotated box may touch the image only with its hull.
        if whole and (not rotated or min(w, h) > 0.5):
            assert found["id"] in kept or (rotated and not _inside(found, width, height))


def _inside(found: dict[str, Any], width: int, height: int) -> bool:
    x, y = found["rotated_box"][:2]
    return bool(0 <= x <= width and 0 <= y <= height)


def test_evaluation_on_patches_ignores_what_they_cut(tmp_path: Path) -> None:
    rows = [{"bbox": [94, 10, 10, 10]}, {"bbox": [20, 20, 30, 30]}]
    patches = cut_into_patches(CocoDataset(_written(tmp_path, rows), tmp_path), CUT)
    found = [
        {"image_id": row["id"], "category_id": 9, "bbox": one["bbox"], "score": 0.9}
        for row in patches.rows
        for one in patches.objects(row)
    ]
    assert len(found) == 3
    assert average_precision(patches, found, "box")["AP"] == pytest.approx(1), "the part is no error"
    kept = [one for one in found if one["bbox"][2] != 6]
    assert average_precision(patches, kept, "box")["AP"] == pytest.approx(1), "and is not missed"


def test_an_image_is_decoded_once_in_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"bbox": [x, y, 20, 20]} for x in range(0, 280, 30) for y in range(0, 280, 30)]
    path = _written(tmp_path, rows, (300, 300), images=9)
    content = json.loads(path.read_text())
    content["annotations"] = [
        {**row, "id": 1000 * number + row["id"], "image_id": number}
        for number in range(1, 10)
        for row in content["annotations"]
    ]
    path.write_text(json.dumps(content))
    dataset, decoded = CocoDataset(path, tmp_path), []
    original = dataset.open_picture

    def counted(index: int, **more: Any) -> Any:
        decoded.append(index)
        return original(index, **more)

    monkeypatch.setattr(dataset, "open_picture", counted)
    monkeypatch.setattr(patch_module, "MOST_PIXELS", 3 * 300 * 300)
    patches = cut_into_patches(dataset, CUT)
    order = patches.shuffled(torch.Generator().manual_seed(0)).tolist()
    assert sorted(order) == list(range(9 * CUT.count(300, 300)))
    assert order != patches.shuffled(torch.Generator().manual_seed(1)).tolist()
    images = [patches._places[place][0] for place in order]
    assert len(set(images[: len(images) // 3])) == 3, "three images at a time"
    assert len({images[place] for place in range(10)}) > 1, "mixed"
    for place in order:
        patches._pixels(place)
    assert sorted(decoded) == list(range(9)), "each once"
    monkeypatch.setattr(dataset, "open_picture", original)
    other = pickle.loads(pickle.dumps(patches))  # as a worker process gets it, with its own images
    assert torch.equal(other[0][0], patches[0][0])


def test_an_unreadable_image_is_reported_once(tmp_path: Path) -> None:
    rows = [{"bbox": [10, 10, 20, 20]}, {"bbox": [120, 10, 20, 20]}]
    path = _written(tmp_path, rows)
    problems = Problems()
    dataset = CocoDataset(path, tmp_path, problems)
    detector = new_detector(dataset, model="faster-rcnn", patch_size=100)
    assert (detector.min_size, new_detector(dataset, model="faster-rcnn").min_size) == (100, 100)
    (tmp_path / "1.png").write_bytes(b"no image")
    stream = Stream(dataset, TrainSettings(detector, patch_size=100, patch_overlap=40))
    with pytest.raises(DatasetError, match="none of the 1 images can be read"):
        stream.reported(stream[0])
    (problem,) = problems
    assert problem.where == str(tmp_path / "1.png")


@pytest.mark.parametrize("rotated", [False, True])
def test_a_run_on_patches_is_resumed_with_the_same_bits(rotated: bool, tmp_path: Path) -> None:
    write_rotated_training_scenes(tmp_path)
    dataset = training_set(tmp_path, rotated=rotated)
    pooler = "rotated" if rotated else "align"
    wanted = small_settings(dataset, pooler, iterations=4, patch_size=64, vertical_flip=0.25, diagonal_flip=0.25)
    assert wanted.patches == PatchSettings(64, 12)
    events: list[Event] = []
    validation = Validation(dataset, 4)
    train(dataset, tmp_path / "whole", wanted, validation=validation, report=events.append)
    assert [type(event) for event in events].count(Measured) == 1
    count = len(dataset) * wanted.patches.count(96, 96)
    assert [event for event in events if isinstance(event, Cut)] == [Cut(done, count) for done in range(1, count + 1)]
    assert isinstance(events[count - 1], Cut), "before anything else"
    steps = iter([False, True])
    train(dataset, tmp_path / "stopped", wanted, validation=validation, stop=lambda: next(steps))
    train(dataset, tmp_path / "stopped", wanted, validation=validation, workers=1)
    one, other = (load_model(tmp_path / run)[0].state_dict() for run in ("whole", "stopped"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert TrainSettings.of(json.loads((tmp_path / "whole/settings.json").read_text())) == wanted


def test_objects_that_belong_to_no_patch_are_counted(tmp_path: Path) -> None:
    rows = [{"bbox": [10, 40, 145, 10]}, {"bbox": [10, 10, 20, 20]}, {"bbox": [5, 60, 150, 10], "iscrowd": 1}]
    problems = Problems()
    dataset = CocoDataset(_written(tmp_path, rows), tmp_path, problems)
    cut_into_patches(dataset, CUT)
    (told,) = [remark.what for remark in problems.remarks if remark.kind == "objects in no patch"]
    assert told == "1 object lies in no patch of 100 pixels by 70%: not trained on"
