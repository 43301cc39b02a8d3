"""Datasets with rotated boxes: scenes, COCO's format and DOTA's."""

from __future__ import annotations

import copy
import doctest
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO

from roialign.detection import CocoDataset, DatasetError, DataWarning, SceneSettings, draw_scene, rotated_data
from roialign.detection.average_precision import average_precision, dota_average_precision
from roialign.detection.rotated_boxes import corners, hulls, to_convention
from roialign.detection.rotated_data import RotatedDataset, find_rotated_split, open_split
from roialign.detection.training.data import mirrored
from roialign.files.problems import Problems
from roialign.files.run_lengths import encoded
from tests.commands.invoked import invoke

MASK = np.zeros((40, 60), dtype=bool)
MASK[10:14, 5:25] = True
MASK[30, 50] = False
#: A bar of 20 x 4 pixels along (4, 3), with its middle at (30, 20), in each form that a row may have.
BAR = [30, 20, 20, 4, math.atan2(3, 4)]
OUTLINE = [20.8, 15.6, 36.8, 27.6, 39.2, 24.4, 23.2, 12.4]
CONTENT: dict[str, Any] = {
    "categories": [{"id": 7, "name": "ship"}],
    "images": [{"id": 1, "file_name": "a.png", "width": 60, "height": 40}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 7, "bbox": [30, 20, 20, 4, -math.degrees(BAR[4])]},
        {"id": 2, "image_id": 1, "category_id": 7, "bbox": [30, 20, 4, 20, 450 - math.degrees(BAR[4])]},
        {"id": 3, "image_id": 1, "category_id": 7, "segmentation": [OUTLINE], "difficult": 1},
        {"id": 4, "image_id": 1, "category_id": 7, "segmentation": [OUTLINE[:6], OUTLINE[4:] + OUTLINE[:2]]},
        {"id": 5, "image_id": 1, "category_id": 7, "segmentation": encoded(MASK), "bbox": [0, 0, 1, 1]},
        {"id": 6, "image_id": 1, "category_id": 7, "segmentation": [OUTLINE], "iscrowd": 1},
    ],
}


def _written(folder: Path, content: Any) -> Path:
    path = folder / "annotations.json"
    path.write_text(json.dumps(content))
    Image.new("RGB", (60, 40)).save(folder / "a.png")
    return path


def test_every_form_of_a_row_gives_its_rotated_box(tmp_path: Path) -> None:
    problems = Problems()
    dataset = RotatedDataset(_written(tmp_path, CONTENT), tmp_path, problems)
    assert not problems
    assert not problems.remarks
    image, target = dataset[0]
    assert image.shape == (3, 40, 60)
    assert sorted(target) == ["boxes", "difficult", "image_id", "labels", "rotated_boxes"]
    expected = torch.tensor([BAR] * 4 + [[15, 12, 20, 4, 0]], dtype=torch.float32)
    assert target["rotated_boxes"].dtype == torch.float32
    assert torch.allclose(target["rotated_boxes"], expected, rtol=0, atol=1e-5)
    assert torch.allclose(target["boxes"], hulls(expected), rtol=0, atol=1e-5)
    assert target["labels"].tolist() == [1] * 5
    assert target["difficult"].tolist() == [False, False, True, False, False]


def test_upright_boxes_stand_for_missing_outlines(tmp_path: Path) -> None:
    content = {**CONTENT, "annotations": [{**CONTENT["annotations"][0], "bbox": [10, 5, 4, 20]}]}
    problems = Problems()
    _, target = RotatedDataset(_written(tmp_path, content), tmp_path, problems)[0]
    assert torch.allclose(target["rotated_boxes"], torch.tensor([[12, 15, 20, 4, -math.pi / 2]]))
    (remark,) = problems.remarks
    assert remark.what == "1 of 1 object has no outline: its upright box is used as a rotated box"


def test_boxes_are_clipped_to_the_image_but_rotated_boxes_are_not(tmp_path: Path) -> None:
    beyond = [{**CONTENT["annotations"][0], "id": n, "bbox": [x, 20, 20, 4, 45]} for n, x in ((1, 2), (2, -9))]
    _, target = RotatedDataset(_written(tmp_path, {**CONTENT, "annotations": beyond}), tmp_path)[0]
    assert target["rotated_boxes"].tolist() == [pytest.approx([2, 20, 20, 4, -math.pi / 4], abs=1e-6)]
    assert target["boxes"][0].tolist() == pytest.approx([0, 20 - 6 * math.sqrt(2), 2 + 6 * math.sqrt(2), 28.485281])


@pytest.mark.parametrize("form", ["coco", "dota"])
def test_an_object_outside_is_named_in_training_and_missed_in_evaluation(tmp_path: Path, form: str) -> None:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (60, 40)).save(tmp_path / "images/a.png")
    inside, outside = [5, 5, 25, 5, 25, 15, 5, 15], [105, 5, 125, 5, 125, 15, 105, 15]
    if form == "dota":
        path = tmp_path / "labelTxt"
        path.mkdir()
        lines = [" ".join(map(str, corners)) + " ship 0" for corners in (inside, outside)]
        (path / "a.txt").write_text("\n".join(["gsd:1", *lines]))
        place = f"{path / 'a.txt'}: line 3"
    else:
        rows = [{"image_id": 1, "category_id": 7, "segmentation": [corners]} for corners in (inside, outside)]
        images = [{"id": 1, "file_name": "a.png", "width": 60, "height": 40}]
        path = _written(tmp_path, {**CONTENT, "images": images, "annotations": rows})
        place = f"{path}: annotations[1]"
    problems = Problems()
    dataset = RotatedDataset(path, tmp_path / "images", problems)
    found = {"image_id": dataset.rows[0]["id"], "category_id": dataset.category_ids[0], "score": 0.9}
    rows = [{**found, "segmentation": [inside]}]
    figures = average_precision(dataset, rows, "rotated_box")
    assert [remark.kind for remark in problems.remarks] == ["objects outside"]
    assert figures["AR"] == pytest.approx(0.5)
    assert dota_average_precision(dataset, rows)["AP50"] == pytest.approx(0.5)
    assert not problems
    dataset.report_outside()
    assert [problem.where for problem in problems] == [place]
    assert len(dataset[0][1]["labels"]) == 1


def test_an_image_without_objects_has_empty_tensors(tmp_path: Path) -> None:
    _, target = RotatedDataset(_written(tmp_path, {**CONTENT, "annotations": []}), tmp_path)[0]
    shapes = [tuple(target[name].shape) for name in ("boxes", "labels", "rotated_boxes", "difficult")]
    assert shapes == [(0, 4), (0,), (0, 5), (0,)]


WRONG_ROWS = {
    "no degrees": ({"bbox": [1, 2, 3, 4, None]}, "bbox: expected [centre x, centre y, width, height, degrees], finite"),
    "a negative side": ({"bbox": [1, 2, 3, -4, 5]}, "with positive sides, got [1, 2, 3, -4, 5]"),
    "no side": ({"bbox": [1, 2, 0, 4, 5]}, "with positive sides, got [1, 2, 0, 4, 5]"),
    "six numbers": ({"bbox": [1, 2, 3, 4, 5, 6]}, "bbox: expected [x, y, width, height]"),
    "a line": ({"segmentation": [[1, 1, 2, 2, 3, 3]]}, "segmentation: expected an outline with an area"),
    "an empty mask": ({"segmentation": encoded(MASK & False)}, "segmentation: expected an outline with an area"),
    "two points": ({"segmentation": [[1, 1, 2, 2]]}, "segmentation: expected polygons"),
    "nothing": ({}, "bbox: expected [x, y, width, height], finite, with positive sides, got nothing"),
    "very difficult": ({"bbox": [1, 2, 3, 4, 5], "difficult": "yes"}, "difficult: expected 0 or 1, got 'yes'"),
    "far away": ({"bbox": [1e9, 2, 3, 4, 5]}, "segmentation: polygon 0: expected finite numbers within 1000000 pixels"),
}


@pytest.mark.parametrize("case", WRONG_ROWS)
def test_a_wrong_row_is_named_and_the_others_are_kept(tmp_path: Path, case: str) -> None:
    row, message = WRONG_ROWS[case]
    content = copy.deepcopy(CONTENT)
    content["annotations"][1] = {"id": 2, "image_id": 1, "category_id": 7, **row}
    path = _written(tmp_path, content)
    problems = Problems()
    dataset = RotatedDataset(path, tmp_path, problems)
    (problem,) = problems
    assert problem.where == f"{path}: annotations[1]"
    assert message in problem.what
    assert len(dataset[0][1]["labels"]) == 4
    with pytest.raises(DatasetError, match=r"annotations\[1\]"):
        RotatedDataset(path, tmp_path, strict=True)
    with pytest.warns(DataWarning, match=r"annotations\[1\]"):
        RotatedDataset(path, tmp_path)


def test_a_mirrored_image_has_mirrored_boxes(tmp_path: Path) -> None:
    image, target = RotatedDataset(_written(tmp_path, CONTENT), tmp_path)[0]
    _, moved = mirrored(image, target)
    bar = moved["rotated_boxes"][0].tolist()
    assert bar == pytest.approx([30, 20, 20, 4, -BAR[4]])
    assert torch.allclose(moved["boxes"], hulls(moved["rotated_boxes"]), rtol=0, atol=1e-4)
    assert moved["difficult"] is target["difficult"]


@pytest.mark.parametrize("elongated", [False, True])
def test_scenes_have_rotated_boxes_that_fit_their_objects(elongated: bool) -> None:
    settings = SceneSettings(overlap=0.0).with_cases(rotated=True, elongated=elongated)
    outside, reach, ratios = [], [], []
    for index in range(12):
        scene = draw_scene(settings, "train", index)
        assert scene.rotated_boxes.shape == (len(scene.labels), 5)
        for mask, box in zip(scene.masks, scene.rotated_boxes, strict=True):
            rows, columns = np.nonzero(mask)
            points = np.stack([columns + 0.5, rows + 0.5], axis=1) - box[:2]
            axes = np.array([[math.cos(box[4]), math.sin(box[4])], [-math.sin(box[4]), math.cos(box[4])]])
            inside = np.abs(points @ axes.T) - box[2:4] / 2
            outside.append((inside > 0.75).any(axis=1).mean())
            reach.append(inside.max(axis=0))
            ratios.append(box[2] / box[3])
    assert max(outside) < 0.03
    assert np.min(reach) > -4  # a digit has thin ends
    assert np.mean(reach) > -0.75
    if elongated:
        assert min(ratios) > 2.5
        assert max(ratios) < 8
    else:
        assert np.median(ratios) < 2


def test_scenes_of_rotated_boxes_are_read_by_pycocotools(tmp_path: Path) -> None:
    arguments = ("--rotated", "--elongated", "--train", 3, "--val", 1, "--image-size", 96)
    done = invoke("scenes", tmp_path / "set", *arguments)
    assert done.exit_code == 0, done.output
    folder = tmp_path / "set" / "train"
    settings = SceneSettings(image_size=96).with_cases(rotated=True, elongated=True)
    rotated, upright = (open_split(tmp_path / "set", "train", rotated=choice) for choice in (True, False))
    coco = COCO(str(folder / "annotations_rotated.json"))
    for index in range(3):
        expected = torch.from_numpy(draw_scene(settings, "train", index).rotated_boxes)
        _, target = rotated[index]
        assert torch.allclose(corners(target["rotated_boxes"].double()), corners(expected), rtol=0, atol=1e-3)
        assert torch.equal(target["labels"], upright[index][1]["labels"])
        found = coco.loadAnns(coco.getAnnIds(imgIds=[index + 1]))
        assert [row["area"] for row in found] == pytest.approx(expected[:, 2:4].prod(dim=1).tolist(), abs=1e-3)
        masks = [coco.annToMask(row).sum() for row in found]
        assert masks == pytest.approx([row["area"] for row in found], rel=0.1)
    assert type(upright) is CocoDataset


def test_scenes_that_are_not_rotated_have_no_such_file(tmp_path: Path) -> None:
    assert invoke("scenes", tmp_path / "set", "--train", 1, "--val", 1, "--image-size", 96).exit_code == 0
    assert sorted(path.name for path in (tmp_path / "set" / "train").iterdir()) == ["annotations.json", "images"]
    rotated = open_split(tmp_path / "set", "train", rotated=True)  # the smallest rectangles around the masks
    assert isinstance(rotated, RotatedDataset)
    assert len(rotated[0][1]["rotated_boxes"]) == len(rotated[0][1]["labels"]) > 0


def _dota(folder: Path, name: str) -> None:
    (folder / name).mkdir(parents=True)
    (folder / "images").mkdir(exist_ok=True)
    Image.new("RGB", (60, 40)).save(folder / "images" / "P1.png")
    (folder / name / "P1.txt").write_text(" ".join(map(str, OUTLINE)) + " ship 1\n")


@pytest.mark.parametrize("name", ["labelTxt", "labelTxt-v1.5", "annfiles"])
def test_a_split_of_dota_is_found_and_read(tmp_path: Path, name: str) -> None:
    _dota(tmp_path / "train", name)
    dataset = open_split(tmp_path, "train", rotated=True)
    assert dataset.class_names == ["ship"]
    image, target = dataset[0]
    assert image.shape == (3, 40, 60)
    assert target["image_id"] == "P1"
    assert target["rotated_boxes"].tolist() == [pytest.approx(BAR)]
    assert target["difficult"].tolist() == [True]


def test_a_split_that_cannot_be_found_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"; for rotated boxes also val/annotations_rotated.json or val/labelTxt/"):
        find_rotated_split(tmp_path, "val")
    for name in ("labelTxt-v1.0", "labelTxt-v1.5"):
        _dota(tmp_path / "val", name)
    with pytest.raises(DatasetError, match=r"expected one folder of labels, got labelTxt-v1.0, labelTxt-v1.5"):
        find_rotated_split(tmp_path, "val")


def test_rotated_boxes_that_are_read_as_upright_ones_are_said_to_be(tmp_path: Path) -> None:
    problems = Problems()
    CocoDataset(_written(tmp_path, CONTENT), tmp_path, problems)
    told = [str(problem) for problem in problems]
    assert all(line.endswith(": five numbers are a rotated box, read with --rotated") for line in told[:2])
    _dota(tmp_path / "train", "labelTxt")
    with pytest.raises(DatasetError, match=r"labels in DOTA's format in .*labelTxt, use --rotated"):
        open_split(tmp_path, "train")


def test_the_example_runs() -> None:
    result = doctest.testmod(rotated_data)
    assert result.attempted > 0
    assert result.failed == 0


def test_boxes_are_in_the_convention(tmp_path: Path) -> None:
    rows = [{**CONTENT["annotations"][0], "id": n, "bbox": [30, 20, 20, 4, 7.5 * n]} for n in range(-50, 50)]
    rows.append({**rows[0], "id": 99, "bbox": [30, 20, 20, 4, 1e-12 - 90]})  # rounded to a quarter turn in float32
    boxes = RotatedDataset(_written(tmp_path, {**CONTENT, "annotations": rows}), tmp_path)[0][1]["rotated_boxes"]
    assert torch.equal(to_convention(boxes), boxes)
