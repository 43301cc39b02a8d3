"""DOTA's label files: what they say, and lines that cannot be used."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from roialign.files.dota import read_dota_records
from roialign.files.problems import DatasetError, Problems

#: A bar of 20 x 4 pixels along (4, 3), with its middle at (30, 20).
BAR = "20.8 15.6 36.8 27.6 39.2 24.4 23.2 12.4"
LABELS = f"imagesource:GoogleEarth\ngsd:0.146343590398\n{BAR} ship 0\n\n0 0 10 0 10 6 0 6 plane 1\n"


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """The folders of labels and of images."""
    labels, images = tmp_path / "labelTxt", tmp_path / "images"
    labels.mkdir()
    images.mkdir()
    Image.new("RGB", (60, 40)).save(images / "P0001.png")
    (labels / "P0001.txt").write_text(LABELS)
    return labels, images


def _read(folders: tuple[Path, Path]) -> tuple[dict[str, list[dict[str, Any]]], Problems]:
    problems = Problems()
    return read_dota_records(*folders, problems), problems


def test_labels_are_read_as_rotated_boxes(folders: tuple[Path, Path]) -> None:
    records, problems = _read(folders)
    assert not problems
    assert records["categories"] == [{"id": 1, "name": "plane"}, {"id": 2, "name": "ship"}]
    assert records["images"] == [
        {
            "id": "P0001",
            "file_name": "P0001.png",
            "width": 60,
            "height": 40,
            "size_from_file": 1,
            "labels": "P0001.txt",
        }
    ]
    ship, plane = records["annotations"]
    assert (ship["image_id"], ship["category_id"], ship["difficult"], ship["iscrowd"]) == ("P0001", 2, 0, 0)
    assert ship["rotated_box"] == pytest.approx([30, 20, 20, 4, 0.6435011087932844])
    assert ship["bbox"] == pytest.approx([20.8, 12.4, 18.4, 15.2])
    assert (plane["category_id"], plane["difficult"]) == (1, 1)
    assert plane["rotated_box"] == pytest.approx([5, 3, 10, 6, 0])


def test_the_hash_is_that_of_the_names_and_the_lines(folders: tuple[Path, Path]) -> None:
    labels, _ = folders
    (labels / "P0000.txt").write_text("no image\n")
    digest = hashlib.sha256()
    read_dota_records(*folders, Problems(), digest)
    content = b"P0000.txt" + b"no image\n" + b"P0001.txt" + (labels / "P0001.txt").read_bytes()
    assert digest.hexdigest() == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"{BAR} ship", {"difficult": 0}),
        (f"{BAR} ship 2", {"difficult": 1}),
        (f"\t{BAR}  ship 0 \r", {"difficult": 0}),
        (f"acquisition dates:2016-05-04\nGSD:0.3\n{BAR} ship 0", {"difficult": 0}),
        (f"\ufeff{BAR} 12 0", {"category_id": 1}),
        ("0 0 10 10 10 0 0 10 bow-tie 0", {"rotated_box": pytest.approx([5, 5, 10, 10, 0])}),
        ("-5 -5 1e1 -5 1e1 5 -5 5 edge 0", {"bbox": pytest.approx([-5, -5, 15, 10])}),
    ],
)
def test_lines_with_one_meaning_are_read(folders: tuple[Path, Path], line: str, expected: dict[str, Any]) -> None:
    (folders[0] / "P0001.txt").write_text(line, newline="")
    records, problems = _read(folders)
    assert not problems
    assert {name: records["annotations"][0][name] for name in expected} == expected


WRONG = {
    "too few values": ("1 2 3 4 5 6 7 8", "expected x1 y1 x2 y2 x3 y3 x4 y4 class difficult, got 8 values: '1 2 3"),
    "a class of two words": (f"{BAR} a ship 0", "expected x1 y1 x2 y2 x3 y3 x4 y4 class difficult, got 11 values"),
    "a word for a number": ("1 2 3 x 5 6 7 8 ship 0", "y2: expected a number within 1000000 pixels, got 'x'"),
    "no finite number": ("1 2 3 4 nan 6 7 8 ship 0", "x3: expected a number within 1000000 pixels, got 'nan'"),
    "a far corner": ("1 2 3 4 5 6 7 1e9 ship 0", "y4: expected a number within 1000000 pixels, got '1e9'"),
    "a word for difficult": (f"{BAR} ship no", "difficult: expected 0 or 1, got 'no'"),
    "no area": ("1 1 2 2 3 3 4 4 ship 0", "corners: expected an outline with an area, got [[1.0, 1.0, 2.0"),
    "YOLO's order": ("0 0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.5", "class: expected a name, got '0.5': YOLO's lines"),
    "commas": (BAR.replace(" ", ",") + ",ship,0", "got 1 value: '20.8,15.6"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_line_is_named_and_the_others_are_kept(folders: tuple[Path, Path], case: str) -> None:
    line, message = WRONG[case]
    path = folders[0] / "P0001.txt"
    path.write_text(f"{LABELS}{line}\n{BAR} ship 0\n")
    records, problems = _read(folders)
    (problem,) = problems
    assert problem.where == f"{path}: line 6"
    assert message in problem.what
    assert len(records["annotations"]) == 3


def test_files_without_a_partner_are_named(folders: tuple[Path, Path]) -> None:
    labels, images = folders
    (labels / "P0002.txt").write_text(LABELS)
    (labels / "P0003.txt").write_text(LABELS)
    (labels / "notes.md").write_text("not labels")
    for name in ("P0003.png", "P0003.jpg", "P0004.png"):
        Image.new("RGB", (60, 40)).save(images / name)
    records, problems = _read(folders)
    assert [row["id"] for row in records["images"]] == ["P0001"]
    assert [str(problem) for problem in problems] == [
        f"{labels / 'P0002.txt'}: expected one image named 'P0002' in {images}, found none",
        f"{labels / 'P0003.txt'}: expected one image named 'P0003' in {images}, found P0003.jpg, P0003.png",
    ]
    assert [remark.what for remark in problems.remarks] == [
        f"1 image has no label file in {labels}: left out, as 'P0004'"
    ]


def test_files_that_cannot_be_read_are_named(folders: tuple[Path, Path]) -> None:
    labels, images = folders
    (labels / "P0002.txt").write_bytes(b"\xff\xfe1\x00 \x002\x00")
    (labels / "P0003.txt").write_text(LABELS)
    Image.new("RGB", (60, 40)).save(images / "P0002.png")
    (images / "P0003.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    records, problems = _read(folders)
    assert [row["id"] for row in records["images"]] == ["P0001"]
    first, second = map(str, problems)
    assert first.startswith(f"{labels / 'P0002.txt'}: not UTF-8 text")
    assert second.startswith(f"{labels / 'P0003.txt'}: its image P0003.png: cannot be read as an image")
    assert problems.remarks == [], "no image lacks a label file"


@pytest.mark.parametrize("mark", ["\u2028", "\x85", "\x0c", "\x1e"])
def test_only_the_ends_of_lines_end_a_line(folders: tuple[Path, Path], mark: str) -> None:
    (folders[0] / "P0001.txt").write_bytes(f"{BAR} ship 0{mark}\r{BAR}{mark}ship\r\n\n1 2".encode())
    records, problems = _read(folders)
    assert len(records["annotations"]) == 2
    assert [str(problem.where) for problem in problems] == [f"{folders[0] / 'P0001.txt'}: line 4"]


def test_corners_that_seem_to_be_relative_are_remarked_on(folders: tuple[Path, Path]) -> None:
    (folders[0] / "P0001.txt").write_text("0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.5 ship 0\n")
    _, problems = _read(folders)
    (remark,) = problems.remarks
    assert remark.where == str(folders[0])
    assert "corners: every box lies within one pixel" in remark.what


def test_an_image_without_objects_is_an_image(folders: tuple[Path, Path]) -> None:
    (folders[0] / "P0001.txt").write_text("imagesource:GoogleEarth\ngsd:null\n")
    records, problems = _read(folders)
    assert (len(records["images"]), records["annotations"], len(problems)) == (1, [], 0)


def test_folders_that_cannot_be_read_are_named(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    labels, images = folders
    with pytest.raises(DatasetError, match=r"nowhere: No such file or directory"):
        read_dota_records(tmp_path / "nowhere", images, Problems())
    with pytest.raises(DatasetError, match=r"nowhere: No such file or directory"):
        read_dota_records(labels, tmp_path / "nowhere", Problems())
    with pytest.raises(DatasetError, match=r"images: expected label files \(.txt\), found none"):
        read_dota_records(images, images, Problems())


def test_a_photograph_has_the_size_that_viewers_show(folders: tuple[Path, Path]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    (folders[1] / "P0001.png").unlink()
    for ending in ("jpg", "png", "tif"):
        path = folders[1] / f"P0001.{ending}"
        Image.new("RGB", (60, 40)).save(path, exif=exif)
        (row,) = _read(folders)[0]["images"]
        assert (row["width"], row["height"]) == (40, 60), ending
        path.unlink()
