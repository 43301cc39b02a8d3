"""Average precision of rotated boxes, worked out by hand; detections as files."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from roialign import rotated_iou
from roialign.detection import CocoDataset, DatasetError
from roialign.detection.average_precision import average_precision, dota_average_precision, precisions
from roialign.detection.dota_results import write_dota_results
from roialign.detection.drawing import Drawn, colour_of, draw_detections
from roialign.detection.evaluation import coco_rows
from roialign.detection.rotated_boxes import corners, from_polygons, to_convention, to_detectron2
from roialign.detection.rotated_data import RotatedDataset
from roialign.files.dota import read_label
from roialign.files.problems import Problems

SIDE, ANGLE = 200, 0.6
LENGTH, BREADTH = 40.0, 10.0


def bar(x: float, y: float, shift: float = 0.0, *, angle: float = ANGLE) -> list[float]:
    """A bar, moved by a share of its length along itself: its overlap with the bar is (1 - shift) / (1 + shift)."""
    along = shift * LENGTH
    return [x + along * math.cos(angle), y + along * math.sin(angle), LENGTH, BREADTH, angle]


def _tensor(boxes: Sequence[Sequence[float]]) -> Tensor:
    return torch.tensor(boxes, dtype=torch.float64).reshape(-1, 5)


def dataset_of(folder: Path, objects: Sequence[tuple[int, int, list[float], dict[str, int]]]) -> RotatedDataset:
    """Objects, each with its image, its class, its rotated box and more of its row."""
    folder.mkdir(exist_ok=True)
    for number in (1, 2):
        Image.new("RGB", (SIDE, SIDE)).save(folder / f"P{number}.png")
    content = {
        "categories": [{"id": 1, "name": "ship"}, {"id": 2, "name": "storage tank"}],
        "images": [{"id": n, "file_name": f"P{n}.png", "width": SIDE, "height": SIDE} for n in (1, 2)],
        "annotations": [
            {"image_id": image, "category_id": label, "segmentation": [_outline(box)], "id": number, **more}
            for number, (image, label, box, more) in enumerate(objects, start=1)
        ],
    }
    (folder / "annotations.json").write_text(json.dumps(content))
    return RotatedDataset(folder / "annotations.json", folder, Problems())


def _outline(box: list[float]) -> list[float]:
    values: list[float] = corners(_tensor([box]))[0].flatten().tolist()
    return values


def found(image: int, score: float, box: list[float], label: int = 1) -> dict[str, Any]:
    return {"image_id": image, "category_id": label, "score": score, "segmentation": [_outline(box)]}


#: Three objects to find, and a difficult one.
OBJECTS: list[tuple[int, int, list[float], dict[str, int]]] = [
    (1, 1, bar(50, 50), {}),
    (1, 1, bar(50, 120), {}),
    (1, 1, bar(150, 50), {"difficult": 1}),
    (2, 1, bar(50, 50), {}),
]
#: Of the detections that count, the second and the fourth are wrong: two of three objects are found.
FOUND = [
    found(1, 0.95, bar(150, 50)),  # the difficult object
    found(1, 0.9, bar(50, 50)),
    found(2, 0.8, bar(120, 120)),  # nothing
    found(1, 0.7, bar(50, 120, 0.1)),
    found(1, 0.6, bar(50, 50, 0.1)),  # once more
    found(1, 0.5, bar(150, 50, 0.05)),  # the difficult object once more
]


def test_dotas_average_precision_by_hand(tmp_path: Path) -> None:
    """Precisions 1, 1/2, 2/3, 1/2 at recalls 1/3, 1/3, 2/3, 2/3."""
    dataset = dataset_of(tmp_path, OBJECTS)
    figures = dota_average_precision(dataset, FOUND)
    assert figures["AP50"] == pytest.approx((1 / 3) * 1 + (1 / 3) * (2 / 3))
    assert figures["AP50_11_points"] == pytest.approx((4 * 1 + 3 * (2 / 3)) / 11)
    assert figures["AP50_by_class"] == {"ship": figures["AP50"], "storage tank": None}
    assert figures["AP50_11_points_by_class"] == {"ship": figures["AP50_11_points"], "storage tank": None}
    assert not dataset.problems


def _as_in_the_development_kit(
    objects: Sequence[tuple[int, int, list[float], dict[str, int]]], rows: Sequence[dict[str, Any]], label: int
) -> tuple[float, float]:
    """Both average precisions, by one loop over the detections of all images, as in DOTA's `dota_evaluation_task1`."""
    taken: set[int] = set()
    right, wrong = [0.0], [0.0]
    count = sum(its == label and not more for _, its, _, more in objects)
    for row in sorted((row for row in rows if row["category_id"] == label), key=lambda row: -row["score"]):
        of_image = [n for n, (image, its, _, _) in enumerate(objects) if (image, its) == (row["image_id"], label)]
        box = from_polygons(torch.tensor(row["segmentation"][0], dtype=torch.float64).reshape(1, 4, 2))
        overlaps = rotated_iou(box, _tensor([objects[n][2] for n in of_image]), clockwise=True)[0].tolist()
        best = max(zip(overlaps, of_image, strict=True), key=lambda pair: pair[0], default=(0.0, -1))
        found = best[0] >= 0.5
        if found and objects[best[1]][3]:
            continue
        is_right = found and best[1] not in taken
        taken |= {best[1]} if found else set()
        right.append(right[-1] + is_right)
        wrong.append(wrong[-1] + (not is_right))
    recall = np.array(right[1:]) / count
    precision = np.array(right[1:]) / (np.array(right[1:]) + np.array(wrong[1:]))
    eleven = sum(max(precision[recall >= least], default=0.0) for least in np.arange(0.0, 1.1, 0.1)) / 11
    ends = np.concatenate([[0.0], recall, [1.0]]), np.concatenate([[0.0], precision, [0.0]])
    for at in range(len(ends[1]) - 1, 0, -1):
        ends[1][at - 1] = max(ends[1][at - 1 : at + 1])
    steps = np.flatnonzero(ends[0][1:] != ends[0][:-1])
    return float(((ends[0][steps + 1] - ends[0][steps]) * ends[1][steps + 1]).sum()), float(eleven)


@pytest.mark.parametrize("seed", range(5))
def test_dotas_average_precision_is_that_of_its_development_kit(tmp_path: Path, seed: int) -> None:
    generator = np.random.default_rng(seed)

    def draw(count: int) -> list[list[float]]:
        boxes = generator.uniform([40, 40, 20, 6, -2], [160, 160, 60, 20, 2], (count, 5))
        found: list[list[float]] = boxes.tolist()
        return found

    objects = [
        (1 + n % 2, 1 + n % 3 // 2, box, {"difficult": 1} if n % 5 == 0 else {}) for n, box in enumerate(draw(40))
    ]
    rows = [found(1 + n % 2, generator.random(), box, 1 + n % 3 // 2) for n, box in enumerate(draw(30))]
    for image, label, box, _ in objects * 2:
        moved = (np.array(box) + generator.normal(0, [2, 2, 3, 1, 0.05])).tolist()
        rows.append(found(image, generator.random(), moved, label))
    figures = dota_average_precision(dataset_of(tmp_path, objects), rows)
    for label, name in ((1, "ship"), (2, "storage tank")):
        area, eleven = _as_in_the_development_kit(objects, rows, label)
        assert 0.1 < area < 0.95
        assert figures["AP50_by_class"][name] == pytest.approx(area)
        assert figures["AP50_11_points_by_class"][name] == pytest.approx(eleven)


def test_cocos_average_precision_by_hand(tmp_path: Path) -> None:
    """At the recalls 0.00 to 0.33 the precision is 1, from 0.34 to 0.66 it is 2/3. The shifted one overlaps by 0.82."""
    figures = average_precision(dataset_of(tmp_path, OBJECTS), FOUND, "rotated_box")
    assert figures["AP50"] == pytest.approx((34 + 33 * 2 / 3) / 101)
    assert figures["AP75"] == figures["AP50"]
    assert figures["AP_by_iou"]["0.80"] == figures["AP50"]
    assert figures["AP_by_iou"]["0.85"] == pytest.approx(34 / 101)
    assert figures["AR"] == pytest.approx((7 * 2 / 3 + 3 / 3) / 10)


def test_objects_that_are_not_difficult_count(tmp_path: Path) -> None:
    """The same without the flag: precisions 1, 1, 2/3, 3/4, ... at recalls 1/4, 2/4, 2/4, 3/4."""
    plain = [(image, label, box, {}) for image, label, box, _ in OBJECTS]
    figures = dota_average_precision(dataset_of(tmp_path, plain), FOUND)
    assert figures["AP50"] == pytest.approx(0.25 + 0.25 + 0.25 * 0.75)


def test_a_box_counts_up_to_its_overlap(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, OBJECTS[:1])
    figures = average_precision(dataset, [found(1, 0.9, bar(50, 50, 0.28 / 1.72))], "rotated_box")
    assert figures["AP_by_iou"] == pytest.approx({f"0.{o:02}": float(o <= 70) for o in range(50, 100, 5)})
    for overlap, right in ((0.501, 1.0), (0.499, 0.0)):
        shift = (1 - overlap) / (1 + overlap)
        assert dota_average_precision(dataset, [found(1, 0.9, bar(50, 50, shift))])["AP50"] == right


def test_the_angle_counts(tmp_path: Path) -> None:
    """A bar across another one has the same upright hull, if both lie along diagonals."""
    dataset = dataset_of(tmp_path, [(1, 1, bar(50, 50, angle=math.pi / 4), {})])
    across = [{**found(1, 0.9, bar(50, 50, angle=-math.pi / 4))}]
    hull = LENGTH / math.sqrt(2) + BREADTH / math.sqrt(2)
    across[0]["bbox"] = [50 - hull / 2, 50 - hull / 2, hull, hull]
    assert average_precision(dataset, across, "box")["AP"] == pytest.approx(1)
    assert average_precision(dataset, across, "rotated_box")["AP"] == 0
    assert dota_average_precision(dataset, across)["AP50"] == 0


@pytest.mark.parametrize("convention", ["le90", "oc", "le135", "detectron2"])
def test_the_truth_in_any_convention_is_perfect(tmp_path: Path, convention: str) -> None:
    generator = np.random.default_rng(3)
    boxes = np.concatenate([generator.uniform(40, 160, (60, 2)), generator.uniform(4, 40, (60, 2))], axis=1)
    boxes = np.concatenate([boxes, generator.uniform(-4, 4, (60, 1))], axis=1)
    dataset = dataset_of(tmp_path, [(1 + n % 2, 1 + n % 3 // 2, box, {}) for n, box in enumerate(boxes.tolist())])
    rows = []
    for image in (0, 1):
        target = dataset[image][1]
        for box, label in zip(target["rotated_boxes"].double(), target["labels"].tolist(), strict=True):
            row = found(target["image_id"], 0.5, box.tolist(), label)
            if convention == "detectron2":
                row |= {"bbox": to_detectron2(box).tolist(), "segmentation": None}
            else:
                row["segmentation"] = [corners(to_convention(box, convention)).flatten().tolist()]
            rows.append(row)
    figures = precisions(dataset, rows, ["rotated_box"])
    assert figures["rotated_box"]["AP"] == pytest.approx(1)
    assert figures["dota"]["AP50"] == figures["dota"]["AP50_11_points"] == pytest.approx(1)
    assert not dataset.problems


def test_the_size_of_an_object_is_that_of_its_rotated_box(tmp_path: Path) -> None:
    """A bar of 110 x 8 along the diagonal is small, and its hull is not."""
    thin, wide = [70.0, 70, 110, 8, math.pi / 4], [70.0, 70, 60, 40, 0.1]
    dataset = dataset_of(tmp_path, [(1, 1, thin, {}), (2, 1, wide, {})])
    figures = average_precision(dataset, [found(1, 0.9, thin)], "rotated_box")
    assert (figures["AP_small"], figures["AP_medium"], figures["AP_large"]) == (pytest.approx(1), 0, None)


def test_detections_in_a_crowd_are_ignored(tmp_path: Path) -> None:
    """Half of the area of a detection is in the crowd, which is a small part of their union."""
    crowd = [50.0, 50, 90, 60, ANGLE]
    dataset = dataset_of(tmp_path, [(1, 1, crowd, {"iscrowd": 1}), (1, 1, bar(150, 150), {})])
    edge = bar(50 + 45 * math.cos(ANGLE), 50 + 45 * math.sin(ANGLE), -0.01)
    rows = [found(1, 0.95, edge), found(1, 0.9, bar(50, 50)), found(1, 0.85, bar(150, 150))]
    assert average_precision(dataset, rows, "rotated_box")["AP50"] == pytest.approx(1)
    assert average_precision(dataset, rows, "rotated_box")["AP75"] == pytest.approx(0.5)


def test_there_is_no_limit_on_detections_in_dotas_precision(tmp_path: Path) -> None:
    """100 wrong ones come before the right one."""
    dataset = dataset_of(tmp_path, OBJECTS[:1])
    rows = [found(1, 0.9, bar(150, 150)) for _ in range(100)] + [found(1, 0.5, bar(50, 50))]
    assert dota_average_precision(dataset, rows)["AP50"] == pytest.approx(1 / 101)
    assert average_precision(dataset, rows, "rotated_box")["AP"] == 0


def test_no_detection_and_no_object(tmp_path: Path) -> None:
    assert dota_average_precision(dataset_of(tmp_path, OBJECTS), [])["AP50"] == 0
    empty = dataset_of(tmp_path, [])
    assert dota_average_precision(empty, FOUND)["AP50"] is None
    assert average_precision(empty, FOUND, "rotated_box")["AP"] is None


WRONG = {
    "a score of text": ({"score": "0.9"}, "expected a score"),
    "no box": ({"segmentation": None}, "bbox: expected [x, y, width, height]"),
    "a negative side": ({"bbox": [9, 9, -1, 1, 0], "segmentation": None}, "bbox: expected [centre x"),
    "an unknown class": ({"category_id": 9}, "category_id: 9 is not among the categories"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_detection_is_named_and_the_others_count(tmp_path: Path, case: str) -> None:
    more, message = WRONG[case]
    dataset = dataset_of(tmp_path, OBJECTS[:1])
    rows = [{**FOUND[1], **more}, FOUND[1]]
    assert precisions(dataset, rows, ["rotated_box"])["dota"]["AP50"] == pytest.approx(1)
    (problem,) = dataset.problems
    assert problem.where == "detections[0]"
    assert message in problem.what
    strict = RotatedDataset(tmp_path / "annotations.json", tmp_path, strict=True)
    with pytest.raises(DatasetError, match=r"detections\[0\]"):
        dota_average_precision(strict, rows)


def test_a_set_without_rotated_boxes_is_refused(tmp_path: Path) -> None:
    dataset_of(tmp_path, OBJECTS)
    upright = CocoDataset(tmp_path / "annotations.json", tmp_path, Problems())
    for measure in (lambda: average_precision(upright, [], "rotated_box"), lambda: dota_average_precision(upright, [])):
        with pytest.raises(TypeError, match="dataset: expected a RotatedDataset for rotated boxes, got a CocoDataset"):
            measure()


def _detections() -> dict[str, Tensor]:
    boxes = _tensor([bar(50, 50), bar(120, 60), [20, 20, 8, 0, 0.1]]).float()
    return {
        "rotated_boxes": boxes,
        "boxes": torch.zeros(3, 4),
        "scores": torch.tensor([0.9, 0.25, 0.5]),
        "labels": torch.tensor([1, 2, 1]),
    }


def test_detections_are_written_as_results_that_are_read_again(tmp_path: Path) -> None:
    rows = json.loads(json.dumps(coco_rows(_detections(), 1, [1, 2])))
    assert rows[0]["segmentation"] == [pytest.approx(_outline(bar(50, 50)), abs=1e-4)]
    assert rows[0]["area"] == pytest.approx(LENGTH * BREADTH)
    dataset = dataset_of(tmp_path, [(1, 1, bar(50, 50), {}), (1, 2, bar(120, 60), {})])
    assert precisions(dataset, rows, ["rotated_box"])["rotated_box"]["AP"] == pytest.approx(1)
    assert not dataset.problems, "a box without a height is not wrong"


def test_detections_are_written_in_dotas_format(tmp_path: Path) -> None:
    rows = coco_rows(_detections(), 1, [1, 2]) + coco_rows(_detections(), 2, [1, 2])
    problems = Problems()
    names = {1: "folder/P1.png", 2: "a b.png"}
    written = write_dota_results(tmp_path / "out", rows, {1: "ship", 2: "a/b", 3: "a_b"}, names, problems)
    assert [path.name for path in written] == ["Task1_ship.txt", "Task1_a_b_2.txt", "Task1_a_b_3.txt"]
    first, second = written[0].read_text().splitlines()
    image, score, *values = first.split()
    assert (image, score) == ("P1", "0.900000")
    assert read_label(" ".join([*values, "ship", "0"])).corners == pytest.approx(_outline(bar(50, 50)), abs=0.006)
    assert second.startswith("P1 0.500000 ")
    assert written[1].read_text().split()[:2] == ["P1", "0.250000"]
    assert written[2].read_text() == ""
    (problem,) = problems
    assert str(problem) == "a b.png: expected a name without spaces in DOTA's format, got 'a b'"


def test_rotated_boxes_are_drawn_along_their_sides(tmp_path: Path) -> None:
    box = [100.0, 100, 120, 40, 0.5]
    polygon = corners(_tensor([box]))[0].numpy()
    one = Drawn((30, 50, 170, 150), "ship", 0.9, 1, None, polygon)
    draw_detections(tmp_path / "drawn.png", np.full((3, SIDE, SIDE), 0.5, dtype=np.float32), [one])
    with Image.open(tmp_path / "drawn.png") as opened:
        pixels = np.asarray(opened.convert("RGB")).astype(int)
    factor = pixels.shape[0] / SIDE
    colour = np.array([int(colour_of(1)[at : at + 2], 16) for at in (1, 3, 5)])

    def is_line(x: float, y: float) -> bool:
        return bool((np.abs(pixels[int(y * factor), int(x * factor)] - colour) < 40).all())

    middles = (polygon + np.roll(polygon, -1, axis=0)) / 2
    assert all(is_line(x, y) for x, y in middles)
    assert not any(is_line(x, y) for x, y in ((100, 100), (30, 100), (170, 100), (100, 150)))


@pytest.mark.parametrize("real", [np.float64, np.float32])
def test_detections_may_have_numbers_of_numpy(tmp_path: Path, real: Any) -> None:
    dataset = dataset_of(tmp_path, OBJECTS)
    expected = average_precision(dataset, FOUND, "rotated_box")["AP50"]
    rows = [
        {
            "image_id": np.int64(row["image_id"]),
            "category_id": np.int32(row["category_id"]),
            "score": real(row["score"]),
            "segmentation": [[real(value) for value in row["segmentation"][0]]],
        }
        for row in FOUND
    ]
    assert average_precision(dataset, rows, "rotated_box")["AP50"] == expected > 0
    boxes = [
        {
            **row,
            "bbox": [
                real(value)
                for value in to_detectron2(from_polygons(torch.tensor(row["segmentation"]).double().reshape(1, 4, 2)))[
                    0
                ].tolist()
            ],
        }
        for row in rows
    ]
    for row in boxes:
        del row["segmentation"]
    assert average_precision(dataset, boxes, "rotated_box")["AP50"] == expected
    assert not dataset.problems
