"""The rows of COCO files: what has one meaning is read, what is wrong is named by row, and the others are kept."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from roialign.detection import CocoDataset, DatasetError
from roialign.files.boxes import read_boxes
from roialign.files.coco import read_records
from roialign.files.problems import MOST_NAMED, FileError, Problems
from tests.files.sets import Content, changed, content_of, everywhere, with_segmentation, write_set


def _read(folder: Path, content: object, **more: Any) -> tuple[CocoDataset, Problems]:
    problems = Problems()
    return CocoDataset(write_set(folder, content, **more), folder / "val/images", problems), problems


#: What is written otherwise than usual, and means what the good set says.
SAME = {
    "ids of text": everywhere("images", "id", str),
    "ids of text in annotations": everywhere("annotations", "image_id", str),
    "category ids of text": everywhere("categories", "id", str),
    "ids of floats": everywhere("annotations", "image_id", float),
    "category ids of floats": everywhere("annotations", "category_id", float),
    "sizes of floats": everywhere("images", "width", float),
    "huge ids": {
        **everywhere("images", "id", lambda n: 2**63 + n),
        "annotations": everywhere("annotations", "image_id", lambda n: 2**63 + n)["annotations"],
    },
    "names of images as ids": {
        **everywhere("images", "id", lambda n: f"img-{n}"),
        "annotations": everywhere("annotations", "image_id", lambda n: f"img-{n}")["annotations"],
    },
    "no iscrowd": content_of(),
    "iscrowd of null": changed("annotations", 0, iscrowd=None),
    "iscrowd of false": changed("annotations", 0, iscrowd=False),
    "no id": changed("annotations", 0, id=...),
    "an id of 0": changed("annotations", 0, id=0),
    "no outline": with_segmentation([]),
    "an outline of null": with_segmentation(None),
    "an empty outline": with_segmentation([[]]),
    "an empty object": with_segmentation({}),
    "area of null": changed("annotations", 0, area=None),
    "no area": changed("annotations", 0, area=...),
    "more than is needed": {**content_of(), "info": None, "licenses": 3, "type": "instances"},
}


@pytest.mark.parametrize("case", SAME)
def test_what_has_one_meaning_is_read(tmp_path: Path, case: str) -> None:
    dataset, problems = _read(tmp_path, SAME[case])
    assert (list(map(str, problems)), problems.remarks) == ([], [])
    assert dataset.class_names == ["cat", "dog"]
    for _, target in (dataset[0], dataset[1]):
        assert target["boxes"].tolist() == [[4, 6, 24, 22], [30, 10, 54, 40]]
        assert target["labels"].tolist() == [1, 2]
        assert target["masks"].sum(dim=(1, 2)).tolist() == [320, 720]


def test_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    dataset, problems = _read(tmp_path, content_of(), bom=True)
    assert (len(dataset), len(problems)) == (2, 0)


def test_a_number_and_its_text_may_be_two_images(tmp_path: Path) -> None:
    content = content_of()
    content["images"][1]["id"] = "1"
    for row in content["annotations"][2:]:
        row["image_id"] = "1"
    dataset, problems = _read(tmp_path, content)
    assert not problems
    assert [len(dataset[index][1]["boxes"]) for index in range(2)] == [2, 2]


ROWS: dict[str, tuple[Content, str]] = {
    "a box of no height": (changed("annotations", 0, bbox=[1, 2, 3, 0]), "annotations[0]: bbox: expected [x, y, width"),
    "a box of text": (changed("annotations", 1, bbox=["1", "2", "3", "4"]), "annotations[1]: bbox: expected"),
    "a box of null": (changed("annotations", 1, bbox=None), "annotations[1]: bbox: expected"),
    "no box": (changed("annotations", 1, bbox=...), "positive sides, got nothing"),
    "a box of NaN": (changed("annotations", 1, bbox=[float("nan"), 0, 1, 1]), "got [nan, 0, 1, 1]"),
    "a box of infinity": (changed("annotations", 1, bbox=[0, 0, float("inf"), 1]), "got [0, 0, inf, 1]"),
    "a box of a huge number": (changed("annotations", 1, bbox=[0, 0, 10**400, 1]), "annotations[1]: bbox: expected"),
    "truth in a box": (changed("annotations", 1, bbox=[0, 0, True, 1]), "got [0, 0, True, 1]"),
    "an id twice": (changed("annotations", 1, id=1), "annotations[1]: id: 1 occurs twice"),
    "an id of a list": (changed("annotations", 1, id=[1]), "annotations[1]: id: expected a whole number, got [1]"),
    "an id of NaN": (changed("annotations", 1, image_id=float("nan")), "image_id: expected a whole number, got nan"),
    "an id of null": (changed("annotations", 1, image_id=None), "image_id: expected a whole number, got None"),
    "no id of an image": (changed("annotations", 1, image_id=...), "image_id: expected a whole number, got nothing"),
    "no category": (changed("annotations", 1, category_id=...), "category_id: expected a whole number, got nothing"),
    "an unknown image": (changed("annotations", 1, image_id=2**63), "image_id: 9223372036854775808 is not among the"),
    "an unknown category": (changed("annotations", 1, category_id=3), "category_id: 3 is not among the categories"),
    "iscrowd of text": (changed("annotations", 1, iscrowd="no"), "annotations[1]: iscrowd: expected 0 or 1, got 'no'"),
    "counts of less": (
        with_segmentation({"size": [48, 64], "counts": [10, 20]}),
        "annotations[0]: segmentation: expected counts that add up to 3072 pixels, got 30",
    ),
    "a mask of another image": (
        with_segmentation({"size": [64, 48], "counts": [3072]}),
        "annotations[0]: segmentation: expected size [48, 64], the size of the image, got [64, 48]",
    ),
    "two points": (with_segmentation([[1, 2, 3, 4]]), "got 4 numbers as polygon 0"),
    "no row": (
        {**content_of(), "annotations": [None, *content_of()["annotations"][1:]]},
        "expected an object, got None",
    ),
}


@pytest.mark.parametrize("case", ROWS)
def test_a_wrong_annotation_is_named_once_and_the_others_are_kept(tmp_path: Path, case: str) -> None:
    content, message = ROWS[case]
    dataset, problems = _read(tmp_path, content)
    (problem,) = problems
    assert str(problem).startswith(f"{dataset.annotations}: annotations[")
    assert message in str(problem)
    assert len(dataset.records["annotations"]) == 3
    assert sum(len(dataset[index][1]["boxes"]) for index in range(2)) == 3
    with pytest.raises(DatasetError) as raised:
        CocoDataset(dataset.annotations, dataset.images, strict=True)
    assert message in str(raised.value)


IMAGES: dict[str, tuple[Content, str]] = {
    "no width": (
        changed("images", 0, width=..., file_name="\0"),
        "images[0]: width, height: expected whole numbers, got nothing, 48; its file cannot be read",
    ),
    "a negative width": (changed("images", 0, width=-1), "images[0]: width: expected a whole number of at least 1"),
    "no height": (changed("images", 0, height=0), "images[0]: height: expected a whole number of at least 1, got 0"),
    "a huge size": (changed("images", 0, width=10**9, height=10**9), "images[0]: width, height: expected at most"),
    "no name": (changed("images", 0, file_name=...), "images[0]: file_name: expected text, got nothing"),
    "a name of null": (changed("images", 0, file_name=None), "images[0]: file_name: expected text, got None"),
    "an id twice": (changed("images", 1, id=1), "images[1]: id: 1 occurs twice"),
}


@pytest.mark.parametrize("case", IMAGES)
def test_a_wrong_image_is_named_and_its_objects_are_counted(tmp_path: Path, case: str) -> None:
    content, message = IMAGES[case]
    dataset, problems = _read(tmp_path, content)
    first, *others = map(str, problems)
    assert message in first
    if case == "an id twice":
        assert [other.partition(": annotations")[2] for other in others] == [
            f"[{row}]: image_id: 2 is not among the images" for row in (2, 3)
        ]
    else:
        assert others == [
            f"{dataset.annotations}: annotations: 2 rows refer to images or categories that cannot be used"
        ]
    assert len(dataset) == 1


def test_what_is_to_be_looked_at_is_said_and_is_no_problem(tmp_path: Path) -> None:
    content = content_of()
    content["annotations"][0]["area"] = "large"
    content["annotations"][1]["area"] = -4
    content["categories"][1]["name"] = "cat"
    content["images"][1]["file_name"] = "1.png"
    dataset, problems = _read(tmp_path, content)
    assert len(problems) == 0
    assert [str(remark).removeprefix(f"{dataset.annotations}: ") for remark in problems.remarks] == [
        "categories: name: 'cat' occurs twice, with ids 1 and 2",
        "images: file_name: '1.png' occurs twice, with ids 1 and 2",
        "annotations[0]: area: expected a number, got 'large': it is computed",
        "annotations[1]: area: expected a number, got -4: it is computed",
    ]


FILES: dict[str, tuple[object, str]] = {
    "nothing": ("", "not JSON: it is an empty file"),
    "a page": ("<!doctype html><html>", "not JSON: it is an HTML page"),
    "a pointer": ("version https://git-lfs.github.com/spec/v1\n", "not JSON: it is a Git LFS pointer"),
    "cut": ('{"images": [', "not JSON: line 1, column 13"),
    "brackets": ("[" * 200_000, "not usable JSON: brackets nested too deeply"),
    "a number of 5000 digits": ("1" * 5000, "not usable JSON: a number with thousands of digits"),
    "a list": ([], "expected an object with categories, images, annotations, got list"),
    "results": ([{"image_id": 1}], "expected an object with categories, images, annotations, got list; it looks like"),
    "null": (None, "expected an object with categories, images, annotations, got NoneType"),
    "annotations of null": ({**content_of(), "annotations": None}, "expected a list under 'annotations', got None"),
    "no images": ({"categories": []}, "expected a list under 'images', got nothing"),
    "no category": (
        {**content_of(), "categories": [], "annotations": []},
        "categories: expected at least one, got",
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, case: str) -> None:
    content, message = FILES[case]
    path = write_set(tmp_path, content)
    with pytest.raises(DatasetError) as raised:
        CocoDataset(path, tmp_path, Problems())
    assert str(raised.value).startswith(f"{path}: {message}")
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_text_of_another_encoding_says_so(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes('{"name": "Bär"}'.encode(encoding))
    why = "it is UTF-16 text: save it as UTF-8" if encoding == "utf-16" else r"byte \d+: save it as UTF-8"
    for read in (read_records, read_boxes):
        with pytest.raises(FileError, match=rf"not UTF-8 text: {why}$"):
            read(path, Problems())


def test_endless_wrong_rows_are_counted(tmp_path: Path) -> None:
    content = content_of()
    content["annotations"] += [7] * (MOST_NAMED + 5)
    _, problems = _read(tmp_path, content)
    assert len(problems) == MOST_NAMED + 1
    assert str(list(problems)[-1]).endswith("annotations: 5 more rows cannot be used")


def _corners(row: dict[str, Any]) -> dict[str, Any]:
    x, y, width, height = row["bbox"]
    return {**row, "bbox": [x, y, x + width, y + height]}


def _relative(row: dict[str, Any]) -> dict[str, Any]:
    x, y, width, height = row["bbox"]
    return {**row, "bbox": [x / 64, y / 48, width / 64, height / 48]}


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    """A relative box that reaches beyond the image by a rounding error."""
    return {**row, "bbox": [0.5, -1e-9, 0.5000001, 1.0000001]}


CORNERS = (
    "bbox: 2 of 4 boxes reach beyond the image, and as [x1, y1, x2, y2] every one fits: is it [x, y, width, height]?"
)
RELATIVE = "bbox: every box lies within one pixel: are its numbers relative to the size of the image?"


@pytest.mark.parametrize(
    ("change", "remark"),
    [(_corners, CORNERS), (_relative, RELATIVE), (_rounded, RELATIVE), (lambda row: row, None)],
    ids=["xyxy", "0-1", "0-1, rounded", "xywh"],
)
def test_boxes_of_another_format_are_doubted(tmp_path: Path, change: Any, remark: str | None) -> None:
    content = {**content_of(), "annotations": [change(row) for row in content_of()["annotations"]]}
    dataset, problems = _read(tmp_path, content)
    said = [] if remark is None else [f"{dataset.annotations}: annotations: {remark}"]
    assert list(map(str, problems.remarks)) == said
    assert not problems
    of_table = Problems()
    read_boxes(dataset.annotations, of_table)
    assert list(map(str, of_table.remarks)) == (said if remark == CORNERS else [])  # others are told box by box


@pytest.mark.parametrize("box", [[50, 40, 10, 8], [-6.5, 5, 20, 10], [3, -4, 20, 10]])
def test_one_box_that_is_no_corner_ends_the_doubt(tmp_path: Path, box: list[float]) -> None:
    """The hulls of rotated boxes may begin outside the image, corners do not."""
    content = {**content_of(), "annotations": [_corners(row) for row in content_of()["annotations"]]}
    content["annotations"][3]["bbox"] = box
    assert not _read(tmp_path, content)[1].remarks


@pytest.mark.parametrize("width", [10**9, 10**400], ids=["10^9", "10^400"])
def test_a_size_that_no_image_has(tmp_path: Path, width: int) -> None:
    """Boxes are read with it, to be compared with the image that is found; a data set names the row."""
    content = content_of()
    for row in content["images"]:
        row["width"] = width
    path = write_set(tmp_path, content)
    boxes = read_boxes(path, Problems())
    assert len(boxes) == len(content["annotations"])
    assert {box.image_size for box in boxes} == {(width, row["height"]) for row in content["images"]}
    assert "width, height: expected at most" in str(next(iter(_read(tmp_path, content)[1])))


@pytest.mark.parametrize(("name", "kind"), [("segments_info", "panoptic segments"), ("caption", "captions")])
def test_annotations_of_another_kind_are_called_what_they_are(tmp_path: Path, name: str, kind: str) -> None:
    content = {"images": content_of()["images"], "annotations": [{"image_id": 1, name: []}]}
    path = write_set(tmp_path, content)
    said = f"annotations: {kind}, not objects: use the instances file of the same images"
    with pytest.raises(DatasetError, match=f"^{re.escape(f'{path}: {said}')}$"):
        CocoDataset(path, tmp_path, Problems())
    with pytest.raises(FileError, match=f"^{re.escape(said)}$"):
        read_boxes(path, Problems())


def test_lvis_names_its_images_by_address(tmp_path: Path) -> None:
    content = content_of()
    for row in content["images"]:
        row["coco_url"] = f"http://images.cocodataset.org/val2017/{row.pop('file_name')}"
    write_set(tmp_path, content_of())
    dataset, problems = _read(tmp_path, content)
    assert [dataset[index][0].shape for index in range(2)] == [(3, 48, 64)] * 2
    assert [box.image for box in read_boxes(dataset.annotations, problems)] == ["1.png", "1.png", "2.png", "2.png"]
    assert not problems


def _renamed(folder: Path, name: str, images: Path) -> CocoDataset:
    """A set whose files lie in `images`, and whose first is called `name`."""
    path = write_set(folder, content_of())
    path.write_text(json.dumps(changed("images", 0, file_name=name)))
    return CocoDataset(path, images, strict=True)


@pytest.mark.parametrize("name", ["images/1.png", "./images/1.png", "images/../images/1.png", "images\\1.png"])
def test_names_with_folders_are_found(tmp_path: Path, name: str) -> None:
    assert _renamed(tmp_path, name, tmp_path / "val")[0][0].shape == (3, 48, 64)
    absolute = str(tmp_path / "val/images/1.png")
    assert _renamed(tmp_path, absolute, tmp_path / "val")[0][0].shape == (3, 48, 64)


@pytest.mark.parametrize("name", ["https://host.org/photos/1.png", "file:///photos/1.png?width=64"])
def test_of_an_address_the_end_is_the_name(tmp_path: Path, name: str) -> None:
    assert _renamed(tmp_path, name, tmp_path / "val/images")[0][0].shape == (3, 48, 64)


@pytest.mark.parametrize(
    ("there", "name"),
    [
        ("my cat.png", "my%20cat.png"),
        ("my cat.png", "images/my%20cat.png"),
        ("my cat.png", "images\\my%20cat.png"),
        ("my cat.png", "file:///photos/my%20cat.png"),
        ("my cat.png", "/data/local-files/?d=images/my%20cat.png"),
        ("my cat.png", "/data/local-files/?d=photos%2Fmy%20cat.png"),
        ("my%20cat.png", "my%20cat.png"),
    ],
)
def test_names_as_in_addresses_are_found(tmp_path: Path, there: str, name: str) -> None:
    """Beside a file that has the literal name, the other one is never read."""
    _renamed(tmp_path, "1.png", tmp_path)
    images = tmp_path / "val/images"
    if there != "my cat.png":
        (images / "my cat.png").write_text("another file")
    (images / "1.png").rename(images / there)
    assert _renamed(tmp_path, name, images.parent if name.startswith("images") else images)[0][0].shape == (3, 48, 64)


@pytest.mark.parametrize("name", ["/nowhere/1.png", "../../1.png", "a\0b.png", "\ud800.png", "x" * 300, "../images"])
def test_names_without_a_file_are_that_images_problem(tmp_path: Path, name: str) -> None:
    with pytest.raises(DatasetError, match="cannot be read as an image"):
        _renamed(tmp_path, name, tmp_path / "val/images")[0]
