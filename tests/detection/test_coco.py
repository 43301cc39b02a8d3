"""COCO-format sets: what is wrong is named and the rest is kept."""

from __future__ import annotations

import copy
import doctest
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from roialign.detection import CocoDataset, DatasetError, DataWarning
from roialign.detection.average_precision import average_precision
from roialign.detection.coco import find_split, open_image, read_part
from roialign.detection.rotated_data import RotatedDataset
from roialign.files.coco import empty_outlines_used
from roialign.files.problems import Problems
from roialign.files.run_lengths import encoded

GOOD: dict[str, Any] = {
    "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}],
    "images": [{"id": 1, "file_name": "a.png", "width": 20, "height": 10}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 7, "bbox": [2, 3, 4, 5], "iscrowd": 0},
        {"id": 2, "image_id": 1, "category_id": 3, "bbox": [10, 0, 40, 4], "segmentation": [[10, 0, 14, 0, 14, 4]]},
        {"id": 3, "image_id": 1, "category_id": 3, "bbox": [0, 0, 9, 9], "iscrowd": 1},
        {"id": 4, "image_id": 1, "category_id": 3, "bbox": [30, 0, 4, 4]},
        {
            "id": 5,
            "image_id": 1,
            "category_id": 3,
            "bbox": [0, 0, 1, 2],
            "segmentation": {"size": [10, 20], "counts": [0, 2, 198]},
        },
    ],
}


def _written(folder: Path, content: Any, *, image_size: tuple[int, int] = (20, 10)) -> Path:
    path = folder / "annotations.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    Image.new("RGB", image_size, (255, 0, 51)).save(folder / "a.png")
    return path


def test_a_set_is_read_as_tensors(tmp_path: Path) -> None:
    with pytest.warns(DataWarning, match="annotations: 3 of 5 objects have no outline: their boxes are used as masks"):
        dataset = CocoDataset(_written(tmp_path, GOOD), tmp_path)
    image, target = dataset[0]
    assert dataset.class_names == ["dog", "cat"]
    assert image.shape == (3, 10, 20)
    assert torch.equal(image[:, 0, 0], torch.tensor([1.0, 0.0, 0.2]))
    assert target["boxes"].tolist() == [[2, 3, 6, 8], [10, 0, 20, 4], [0, 0, 1, 2]]
    assert target["labels"].tolist() == [2, 1, 1]
    assert target["masks"][0].sum() == 20
    assert target["masks"][0, 3:8, 2:6].all()
    assert 0 < target["masks"][1].sum() < 16
    assert target["masks"][2].nonzero().tolist() == [[0, 0], [1, 0]]


def test_the_example_in_the_docstring_runs() -> None:
    report: list[str] = []
    for test in doctest.DocTestFinder(recurse=False).find(CocoDataset, "CocoDataset", globs={}):
        assert test.examples
        doctest.DocTestRunner(verbose=False).run(test, out=report.append)
    assert not report, "".join(report)


@pytest.mark.parametrize(
    "box", [[19.9999999, 2, 5, 3], [-5, 2, 5.0000001, 3], [1, 9.9999999, 5, 3], [1, -3, 5, 3.0000001]]
)
def test_an_object_whose_rest_in_the_image_float32_loses_is_outside(tmp_path: Path, box: list[float]) -> None:
    content = copy.deepcopy(GOOD)
    content["annotations"][0]["bbox"] = box
    problems = Problems()
    dataset = CocoDataset(_written(tmp_path, content), tmp_path, problems)
    _, target = dataset[0]
    assert [found["id"] for found in dataset.objects(dataset.rows[0])] == [2, 3, 5]
    assert target["boxes"].tolist() == [[10, 0, 20, 4], [0, 0, 1, 2]]
    assert not problems
    dataset.report_outside()
    assert [problem.where for problem in problems] == [f"{dataset.annotations}: annotations[{row}]" for row in (0, 3)]
    got = f"got {list(map(float, box))}: not trained on"
    assert problems.found[0].what == f"bbox: expected a box in the image of 20x10 pixels, {got}"


@pytest.mark.parametrize(("box", "size"), [([12, 1, 7, 8], (20, 10)), ([1, 12, 8, 7], (10, 20))])
def test_a_size_that_is_read_from_the_image_is_no_statement(
    tmp_path: Path, box: list[int], size: tuple[int, int]
) -> None:
    """A box on the stored pixels of an image that its EXIF orientation turns is found there."""
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "labelTxt").mkdir()
    x, y, width, height = box
    corners = [x, y, x + width, y, x + width, y + height, x, y + height]
    (tmp_path / "labelTxt/a.txt").write_text(" ".join(map(str, corners)) + " cat 0")
    rows = [{"image_id": 1, "category_id": 7, "bbox": box}]
    content = {**GOOD, "images": [{"id": 1, "file_name": "a.png"}], "annotations": rows}
    path = _written(tmp_path, content)
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png", exif=exif)
    for kind, source in ((CocoDataset, path), (RotatedDataset, path), (RotatedDataset, tmp_path / "labelTxt")):
        problems = Problems()
        dataset = kind(source, tmp_path, problems)
        image, target = dataset[0]
        assert image.shape == (3, *size[::-1])
        assert (dataset.rows[0]["width"], dataset.rows[0]["height"]) == size
        assert target["boxes"].tolist() == [[x, y, x + width, y + height]]
        said = [remark.what for remark in problems.remarks if remark.kind == "EXIF orientation"]
        assert said == (
            [
                "EXIF orientation 6: the boxes fit the image as stored, 20x10, but not upright, 10x20: "
                "it is read as stored"
            ]
            if size == (20, 10)
            else []
        )


def test_many_wrong_rows_are_one_warning_and_counted(tmp_path: Path) -> None:
    content = copy.deepcopy(GOOD)
    content["annotations"] = [{"image_id": 1, "category_id": 7, "bbox": [30, 0, 4, 4]}] * 1500
    path = _written(tmp_path, content)
    dataset = CocoDataset(path, tmp_path)
    with pytest.warns(DataWarning, match=r"annotations\[9\]: .*\nand 1490 more$") as warned:
        dataset.report_outside()
    assert [warning.filename for warning in warned] == [__file__]
    dataset.report_outside()  # they are known
    with pytest.raises(DatasetError, match=r"\nand 1490 more\n1500 objects cannot be trained on$"):
        CocoDataset(path, tmp_path, strict=True).report_outside()
    content["annotations"] = [{"image_id": 1, "category_id": 7, "bbox": [30, 0, 4, -4]}] * 1500
    _written(tmp_path, content)
    with pytest.raises(DatasetError, match=rf"\nand 1490 more\n1500 rows of {re.escape(str(path))} cannot be used$"):
        CocoDataset(path, tmp_path, strict=True)


def test_an_image_without_objects_has_empty_tensors(tmp_path: Path) -> None:
    _, target = CocoDataset(_written(tmp_path, {**GOOD, "annotations": []}), tmp_path)[0]
    shapes = [tuple(target[name].shape) for name in ("boxes", "labels", "masks")]
    assert shapes == [(0, 4), (0,), (0, 10, 20)]


WRONG_ROWS = {
    "no id": ("images", 0, "id", None, "id: expected a whole number, got None"),
    "a second id": ("annotations", 1, "id", 1, "id: 1 occurs twice"),
    "no name": ("categories", 0, "name", 3, "name: expected text, got 3"),
    "no file": ("images", 0, "file_name", "", "file_name: expected text, got ''"),
    "no width": ("images", 0, "width", 0, "width: expected a whole number of at least 1, got 0"),
    "an unknown image": ("annotations", 0, "image_id", 9, "image_id: 9 is not among the images"),
    "an unknown category": ("annotations", 0, "category_id", 9, "category_id: 9 is not among the categories"),
    "three numbers": ("annotations", 0, "bbox", [1, 2, 3], "got [1, 2, 3]"),
    "not finite": ("annotations", 0, "bbox", [1, 2, 3, float("nan")], "got [1, 2, 3, nan]"),
    "a side that float32 loses": (
        "annotations",
        0,
        "bbox",
        [1, 2, 1e-9, 3],
        "with positive sides, got [1, 2, 1e-09, 3]",
    ),
    "an empty box": ("annotations", 0, "bbox", [1, 2, 0, 3], "with positive sides, got [1, 2, 0, 3]"),
    "a crowd of two": ("annotations", 0, "iscrowd", 2, "iscrowd: expected 0 or 1, got 2"),
    "a line": ("annotations", 0, "segmentation", [[1, 2, 3, 4]], "segmentation: expected polygons"),
    "no counts": ("annotations", 0, "segmentation", {"size": [1, 2]}, "segmentation: expected run lengths"),
}


@pytest.mark.parametrize("case", WRONG_ROWS)
def test_a_wrong_row_is_named_and_the_others_are_kept(tmp_path: Path, case: str) -> None:
    section, row, name, value, message = WRONG_ROWS[case]
    content = copy.deepcopy(GOOD)
    content[section][row][name] = value
    path = _written(tmp_path, content)
    with pytest.raises(DatasetError) as raised:
        CocoDataset(path, tmp_path, strict=True)
    with pytest.warns(DataWarning) as warned:
        CocoDataset(path, tmp_path)
    for told in (str(raised.value), str(warned[0].message)):
        assert f"{path}: {section}[{row}]: " in told
        assert message in told
    problems = Problems()
    kept = CocoDataset(path, tmp_path, problems)
    assert message in str(next(iter(problems)))
    assert len(kept.records[section]) == len(GOOD[section]) - 1


WRONG_FILES = {
    "cut": ('{"images": [', "not JSON: line 1, column 13"),
    "a list": ("[]", "expected an object with categories, images, annotations, got list"),
    "no images": ('{"categories": []}', "expected a list under 'images', got nothing"),
}


@pytest.mark.parametrize("case", WRONG_FILES)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, case: str) -> None:
    content, message = WRONG_FILES[case]
    path = _written(tmp_path, content)
    with pytest.raises(DatasetError) as raised:
        CocoDataset(path, tmp_path, Problems())
    assert str(raised.value).startswith(f"{path}: {message}")


def test_a_missing_file_and_one_that_is_not_text_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"none\.json: No such file"):
        CocoDataset(tmp_path / "none.json", tmp_path)
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe")
    with pytest.raises(DatasetError, match=r"bytes\.json: not UTF-8 text: it is UTF-16 text: save it as UTF-8"):
        CocoDataset(tmp_path / "bytes.json", tmp_path)


def test_unreadable_images_are_named(tmp_path: Path) -> None:
    dataset = CocoDataset(_written(tmp_path, GOOD, image_size=(8, 8)), tmp_path, Problems())
    with pytest.raises(DatasetError, match=r"a\.png: expected 20x10 pixels, as in .*, got 8x8"):
        dataset[0]
    whole = (tmp_path / "a.png").read_bytes()
    for content in (b"", b"no image", whole[: len(whole) // 2]):
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(DatasetError, match=r"a\.png: cannot be read as an image"):
            dataset[0]
    (tmp_path / "a.png").unlink()
    with pytest.raises(DatasetError, match=r"a\.png: cannot be read as an image"):
        read_part(open_image(tmp_path / "a.png"))


def test_run_lengths_of_another_size_are_named(tmp_path: Path) -> None:
    content = copy.deepcopy(GOOD)
    content["annotations"][4]["segmentation"]["size"] = [20, 10]
    problems = Problems()
    dataset = CocoDataset(_written(tmp_path, content), tmp_path, problems)
    message = r"annotations\[4\]: segmentation: expected size \[10, 20\], the size of the image, got \[20, 10\]"
    assert re.search(message, str(next(iter(problems))))
    assert len(dataset[0][1]["boxes"]) == 2


def test_splits_are_found_in_both_layouts(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"expected val/annotations\.json or .* found none"):
        find_split(tmp_path, "val")
    (tmp_path / "annotations").mkdir()
    coco = tmp_path / "annotations" / "instances_val2017.json"
    coco.touch()
    assert find_split(tmp_path, "val") == (coco, tmp_path / "val2017")
    (tmp_path / "images/val2017").mkdir(parents=True)
    assert find_split(tmp_path, "val") == (coco, tmp_path / "images/val2017")
    (tmp_path / "val").mkdir()
    own = tmp_path / "val" / "annotations.json"
    own.touch()
    assert find_split(tmp_path, "val") == (own, tmp_path / "val" / "images")


def test_the_exact_name_of_a_split_wins_and_several_are_listed(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    for name in ("dims", "dims2", "val2014", "val2017", "a[1]"):
        (tmp_path / f"annotations/instances_{name}.json").touch()
    for name in ("dims", "dims2", "val2017", "a[1]"):
        assert find_split(tmp_path, name)[0].name == f"instances_{name}.json"
    for name, several in (("val", "val2014, val2017"), ("d", "dims, dims2")):
        with pytest.raises(DatasetError, match=f"split: expected one of {several}, got '{name}'"):
            find_split(tmp_path, name)


def test_an_object_without_a_pixel_has_its_box_for_a_mask(tmp_path: Path) -> None:
    content = copy.deepcopy(GOOD)
    content["annotations"] = [
        {"id": 1, "image_id": 1, "category_id": 7, "bbox": [2, 3, 4, 5], "segmentation": []},
        {"id": 2, "image_id": 1, "category_id": 3, "bbox": [10, 0, 4, 4], "segmentation": [[10, 0, 14, 0, 14, 4]]},
        {"id": 3, "image_id": 1, "category_id": 7, "bbox": [0, 0, 2, 3], "segmentation": [[5, 5, 5, 5, 5, 5]]},
        {"id": 4, "image_id": 1, "category_id": 3, "bbox": [15, 5, 2, 3],
         "segmentation": {"size": [10, 20], "counts": [200]}},
        {"id": 5, "image_id": 1, "category_id": 7, "bbox": [18.1, 8.1, 0.2, 0.2]},
    ]  # fmt: skip
    problems = Problems()
    dataset = CocoDataset(_written(tmp_path, content), tmp_path, problems)
    target = dataset[0][1]
    assert target["masks"].sum(dim=(1, 2)).tolist() == [20, 6, 6, 6, 1]
    rows = [
        {"image_id": 1, "category_id": dataset.category_ids[label - 1], "score": 0.9, "segmentation": encoded(mask),
         "bbox": [x1, y1, x2 - x1, y2 - y1]}
        for label, mask, (x1, y1, x2, y2) in zip(
            target["labels"].tolist(), target["masks"].numpy(), target["boxes"].tolist(), strict=True
        )
    ]  # fmt: skip
    by_class = [average_precision(dataset, rows, kind)["AP_by_class"] for kind in ("box", "mask")]
    assert by_class[0] == {"dog": 1.0, "cat": 1.0}
    # 3 and 4 have empty masks, which nothing matches, as in pycocotools: half of the dogs and a third of the cats.
    assert all(0 < value < 1 for value in by_class[1].values())
    of_set, of_image = map(str, problems.remarks)
    assert of_set.endswith("annotations: 2 of 5 objects have no outline: their boxes are used as masks")
    assert of_image == f"{dataset.path(0)}: 2 objects have outlines without a pixel: {empty_outlines_used(2)}"
    assert not problems


@pytest.mark.parametrize("size", [{}, {"width": None, "height": None}, {"width": "20", "height": "10"}])
def test_a_size_that_is_no_number_is_read_from_the_image(tmp_path: Path, size: dict[str, Any]) -> None:
    content = copy.deepcopy(GOOD)
    content["images"] = [{"id": 1, "file_name": "a.png", **size}, {"id": 2, "file_name": "b.png", **size}]
    problems = Problems()
    dataset = CocoDataset(_written(tmp_path, content), tmp_path, problems)
    assert [(row["width"], row["height"]) for row in dataset.rows] == [(20, 10)]
    assert len(dataset[0][1]["boxes"]) == 3
    (remark,) = [remark for remark in problems.remarks if remark.kind == "image size"]
    assert remark.where == f"{dataset.annotations}: images[0]"
    assert remark.what.endswith(": read from its file")
    (problem,) = problems
    assert problem.where == f"{dataset.annotations}: images[1]"
    assert problem.what.endswith("; its file cannot be read as an image: No such file or directory")
