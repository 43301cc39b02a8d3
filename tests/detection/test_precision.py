"""Average precision of detections that are the truth is 1, whatever COCO's code makes of numbers and names."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roialign.detection import CocoDataset, DatasetError
from roialign.detection.average_precision import average_precision
from roialign.detection.evaluation import match_categories
from roialign.files.problems import Problems
from roialign.files.run_lengths import encoded, mask_of, run_lengths_of
from tests.files.sets import Content, changed, content_of, everywhere, write_set


def _set(folder: Path, content: Content) -> CocoDataset:
    return CocoDataset(write_set(folder, content), folder / "val/images", Problems())


def the_truth(dataset: CocoDataset) -> list[dict[str, Any]]:
    """Results that are the targets: as a perfect model would find them."""
    rows = []
    for index in range(len(dataset)):
        target = dataset[index][1]
        for box, label, mask in zip(target["boxes"].tolist(), target["labels"], target["masks"], strict=True):
            x1, y1, x2, y2 = box
            found = {"image_id": target["image_id"], "category_id": dataset.category_ids[int(label) - 1]}
            rows.append({**found, "bbox": [x1, y1, x2 - x1, y2 - y1], "score": 0.9, "segmentation": encoded(mask)})
    return rows


def _numbered(*numbers: Any) -> Content:
    content = content_of()
    for row, number in zip(content["annotations"], numbers, strict=True):
        row["id"] = number
    return content


PERFECT = {
    "ids from 1": content_of(),
    "ids from 0": _numbered(0, 1, 2, 3),
    "ids from -1": _numbered(-1, 0, 1, 2),
    "ids of text": _numbered("0", "b", "1", "a"),
    "huge ids": _numbered(2**63, 2**63 + 1, 2**64, -(2**63)),
    "no ids": _numbered(None, None, None, None),
    "images from 0": {
        **everywhere("images", "id", lambda n: n - 1),
        "annotations": everywhere("annotations", "image_id", lambda n: n - 1)["annotations"],
    },
    "huge images": {
        **everywhere("images", "id", lambda n: 2**63 + n if n == 1 else -1),
        "annotations": everywhere("annotations", "image_id", lambda n: 2**63 + n if n == 1 else -1)["annotations"],
    },
    "images called by their names": {
        **everywhere("images", "id", lambda n: f"{n}.png"),
        "annotations": everywhere("annotations", "image_id", lambda n: f"{n}.png")["annotations"],
    },
    "categories from 0": {
        **everywhere("categories", "id", lambda n: n - 1),
        "annotations": everywhere("annotations", "category_id", lambda n: n - 1)["annotations"],
    },
    "one name twice": everywhere("categories", "name", lambda _: "cat"),
    "area of null": everywhere("annotations", "area", lambda _: None),
    "area of text": everywhere("annotations", "area", lambda _: "large"),
    "area of NaN": everywhere("annotations", "area", lambda _: float("nan")),
    "negative area": everywhere("annotations", "area", lambda _: -1),
}


@pytest.mark.parametrize("kind", ["box", "mask"])
@pytest.mark.parametrize("case", PERFECT)
def test_the_truth_has_an_average_precision_of_one(tmp_path: Path, case: str, kind: str) -> None:
    dataset = _set(tmp_path, PERFECT[case])
    figures = average_precision(dataset, the_truth(dataset), kind)
    assert figures["AP"] == pytest.approx(1)
    assert figures["AR"] == pytest.approx(1)
    assert not dataset.problems


def test_areas_are_computed_from_masks_where_there_are_any(tmp_path: Path) -> None:
    """A mask of 30 x 30 pixels in a box of 40 x 40: a small object, as COCO has it."""
    outline = [[5, 5, 35, 5, 35, 35, 5, 35]]
    content = content_of(1)
    content["annotations"] = [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 40, 40], "segmentation": outline, "area": None}
    ]
    dataset = _set(tmp_path, content)
    for kind in ("box", "mask"):
        figures = average_precision(dataset, the_truth(dataset), kind)
        assert (figures["AP_small"], figures["AP_medium"]) == (pytest.approx(1), None)


@settings(max_examples=60, deadline=None)
@given(st.permutations([0, 1, 2, 3]), st.lists(st.booleans(), min_size=4, max_size=4))
def test_numbers_and_order_change_nothing(tmp_path_factory: pytest.TempPathFactory, order: Any, found: Any) -> None:
    folder = tmp_path_factory.mktemp("set")
    plain = _set(folder / "plain", content_of())
    content = _numbered(*order)
    content["annotations"] = [content["annotations"][index] for index in order]
    other = _set(folder / "other", content)
    rows = [row for row, kept in zip(the_truth(plain), found, strict=True) if kept]
    assert average_precision(other, rows, "box") == average_precision(plain, rows, "box")


def test_classes_of_one_name_are_told_apart(tmp_path: Path) -> None:
    dataset = _set(tmp_path, PERFECT["one name twice"])
    assert match_categories(["cat", "cat"], dataset, [1, 2]) == [1, 2]
    assert match_categories(["cat", "cat"], dataset, [2, 1]) == [2, 1]
    assert match_categories(["cat", "cat"], dataset) == [1, 2]
    assert match_categories(["cat"], dataset, [2]) == [2]
    assert match_categories(["cat", "cat", "cat"], dataset, [7, 8, 9]) == [1, 2, None]
    by_class = average_precision(dataset, the_truth(dataset)[::2], "box")["AP_by_class"]
    assert by_class == {"cat (category 1)": pytest.approx(1), "cat (category 2)": 0}


MASK = {"size": [48, 64], "counts": [3072]}
RESULTS: dict[str, tuple[dict[str, Any] | None, str]] = {
    "an unknown image": ({"image_id": 9}, "image_id: 9 is not among the images"),
    "an unknown category": ({"category_id": 9}, "category_id: 9 is not among the categories"),
    "no box": ({"bbox": None}, "bbox: expected"),
    "a box of NaN": ({"bbox": [0, 0, float("nan"), 1]}, "bbox: expected"),
    "a negative box": ({"bbox": [0, 0, -1, 1]}, "a box without negative sides"),
    "no score": ({"score": None}, "expected a score"),
    "a score of NaN": ({"score": float("nan")}, "expected a score"),
    "a score of text": ({"score": "0.9"}, "expected a score"),
    "no row": (None, "expected an object, got None"),
    "garbage": (
        {"segmentation": {"size": [48, 64], "counts": "zzzz\u00e9~~"}},
        "character 4 is not valid in COCO's compressed",
    ),
    "counts of less": ({"segmentation": {"size": [48, 64], "counts": [10, 20]}}, "add up to 3072 pixels, got 30"),
    "a mask of another image": ({"segmentation": {**MASK, "size": [64, 48]}}, "expected size [48, 64]"),
    "no mask": ({"segmentation": None}, "expected polygons"),
}


@pytest.mark.parametrize("case", RESULTS)
def test_a_wrong_detection_is_named_and_the_others_count(tmp_path: Path, case: str) -> None:
    values, message = RESULTS[case]
    dataset = _set(tmp_path, content_of())
    rows = the_truth(dataset)
    wrong = None if values is None else {**rows[0], **values}
    problems = Problems()
    figures = average_precision(dataset, [*rows, wrong], "mask", problems=problems)  # type: ignore[list-item]
    assert figures["AP"] == pytest.approx(1)
    (problem,) = problems
    assert problem.where == "detections[4]"
    assert message in problem.what
    refusing = CocoDataset(dataset.annotations, dataset.images, strict=True)
    with pytest.raises(DatasetError) as raised:
        average_precision(refusing, [*rows, wrong], "mask")  # type: ignore[list-item]
    assert message in str(raised.value)


def test_masks_in_any_form_are_the_same(tmp_path: Path) -> None:
    dataset = _set(tmp_path, content_of())
    rows = the_truth(dataset)
    forms = [[[4, 6, 24, 6, 24, 22, 4, 22]], run_lengths_of(rows[1]["segmentation"], 48, 64), rows[2]["segmentation"]]
    for row, form in zip(rows, forms, strict=False):
        assert mask_of(run_lengths_of(form, 48, 64)).sum() in (320, 720)
        row["segmentation"] = form
    assert average_precision(dataset, rows, "mask")["AP"] == pytest.approx(1)


def _by_pycocotools(annotations: Path, rows: list[dict[str, Any]], kind: str) -> list[float]:
    """AP, AP50 and AP75 of pycocotools from the files themselves."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        evaluation = COCOeval(truth, truth.loadRes(rows), {"box": "bbox", "mask": "segm"}[kind])
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [float(value) for value in evaluation.stats[:3]]


HARD = {
    "an object outside": changed("annotations", 0, bbox=[70, 5, 10, 10], area=100),
    "an object that reaches beyond the image": changed("annotations", 0, bbox=[-30, 5, 60, 30], area=1800),
    "an outline without a pixel": changed("annotations", 0, segmentation=[[1, 1, 2, 1, 2, 2]]),
    "an outline outside": changed("annotations", 1, segmentation=[[70, 1, 80, 1, 80, 9]]),
}


@pytest.mark.parametrize("kind", ["box", "mask"])
@pytest.mark.parametrize("case", HARD)
def test_objects_that_are_hard_to_match_count_as_in_pycocotools(tmp_path: Path, case: str, kind: str) -> None:
    content = HARD[case]
    for row in content["annotations"]:
        x, y, width, height = row["bbox"]
        right, bottom = x + width, y + height
        row.setdefault("segmentation", None)
        row["segmentation"] = row["segmentation"] or [[x, y, right, y, right, bottom, x, bottom]]
        row.setdefault("iscrowd", 0)
    dataset = _set(tmp_path, content)
    rows = the_truth(dataset)
    figures = average_precision(dataset, rows, kind)
    expected = _by_pycocotools(dataset.annotations, rows, kind)
    assert [figures[name] for name in ("AP", "AP50", "AP75")] == pytest.approx(expected)
    if case == "an object outside":
        assert expected[0] < 1
        assert [remark.what for remark in dataset.problems.remarks] == [
            "1 object lies outside its image: no detection can match"
        ]
