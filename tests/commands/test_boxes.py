"""`roialign extract` on boxes as people have them, and folders in place of files."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.commands.invoked import invoke
from tests.tables.paths import BOXES, PHOTOGRAPH


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of two images of 40 x 30 pixels, and one in a folder of its own."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for number, name in enumerate(("a.png", "b.jpg", "more/c.png")):
        Image.new("RGB", (40, 30), (number, 50, 200)).save(folder / name)
    (folder / "readme.txt").write_text("not an image")
    return folder


def test_a_folder_is_all_images_in_it(photos: Path, tmp_path: Path) -> None:
    table = "filename,class,xmin,ymin,xmax,ymax\nb.jpg,cat,1,2,9,9\nc.png,dog,1,2,9,9\n"
    (tmp_path / "boxes.csv").write_text(table)
    (photos / "broken.png").write_bytes(b"")  # it has no box, so nobody reads it
    out = photos / "f.npz"
    for _ in range(2):  # the result lies in the folder, and is not read the second time
        result = invoke("extract", photos, "--boxes", tmp_path / "boxes.csv", "--out", out)
        assert (result.exit_code, result.stderr) == (0, ""), result.output
    with np.load(out) as written:
        assert written["images"].tolist() == [str(photos / "b.jpg"), str(photos / "more/c.png")]
        assert written["labels"].tolist() == ["cat", "dog"]


def test_a_folder_without_images_is_named(tmp_path: Path) -> None:
    result = invoke("extract", tmp_path, "--boxes", BOXES, "--out", tmp_path / "f.npz")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {tmp_path}: no file in this folder ends in .avif, ")


def test_columns_under_other_names_are_pooled_alike(tmp_path: Path) -> None:
    lines = BOXES.read_text().splitlines()
    table = "\n".join(["foto;left;y1;right;y2;art", *(line.replace(",", ";") for line in lines[1:])])
    (tmp_path / "boxes.csv").write_text(table)
    assert invoke("extract", PHOTOGRAPH, "--boxes", BOXES, "--out", tmp_path / "a.npz").exit_code == 0
    columns = ("--columns", "image=foto, label=art,x1=left,x2=right")
    result = invoke("extract", PHOTOGRAPH, "--boxes", tmp_path / "boxes.csv", "--out", tmp_path / "b.npz", *columns)
    assert result.exit_code == 0, result.output
    with np.load(tmp_path / "a.npz") as one, np.load(tmp_path / "b.npz") as another:
        for name in ("features", "boxes", "labels", "rows"):
            np.testing.assert_array_equal(one[name], another[name])


@pytest.mark.parametrize("columns", ["image", "image=", "picture=a", "x1=a,,"])
def test_columns_that_are_no_mapping_are_refused(columns: str, tmp_path: Path) -> None:
    paths = (PHOTOGRAPH, "--boxes", BOXES, "--out", tmp_path / "f.npz")
    result = invoke("extract", *paths, "--columns", columns)
    assert result.exit_code == 2
    assert "Invalid value for --columns: expected ROLE=NAME with a role of image, label, x1" in result.stderr


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("x=a,y=b,w=c,h=d", "expected the roles of one kind of box, x1, y1, x2, y2, or x, y, width, height, or"),
        ("x=a,image=b,x=c", "expected each role once, got x=a and x=c"),
    ],
)
def test_columns_of_which_some_would_not_be_read_are_refused(columns: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_text("a,b,c,d,width,height\n10,10,5,5,512,512\n")
    paths = (PHOTOGRAPH, "--boxes", tmp_path / "boxes.csv", "--out", tmp_path / "f.npz")
    result = invoke("extract", *paths, "--columns", columns)
    assert result.exit_code == 2
    assert f"Invalid value for --columns: {message}" in result.stderr


def test_boxes_of_images_that_were_not_given_are_one_line(photos: Path, tmp_path: Path) -> None:
    lines = ["image,x1,y1,x2,y2", *(f"{number}.png,1,2,9,9" for number in range(30)), "a.png,1,2,9,9"]
    (tmp_path / "boxes.csv").write_text("\n".join(lines))
    arguments = ("extract", photos, "--boxes", tmp_path / "boxes.csv", "--out", tmp_path / "f.npz")
    result = invoke(*arguments)
    text = "30 boxes belong to 30 images that are not among the inputs"
    assert result.exit_code == 1
    where, hint = f"{tmp_path / 'boxes.csv'}, row 0 (line 2)", "--ignore-missing skips them"
    assert result.stderr.splitlines() == [f"error: {where}: {text}; the first is '0.png'; {hint}", "1 problem"]
    ignoring = invoke(*arguments, "--ignore-missing")
    assert (ignoring.exit_code, ignoring.stderr) == (0, f"skipped: {text}\n")
    with np.load(tmp_path / "f.npz") as written:
        assert written["rows"].tolist() == [30]


def test_an_image_in_other_letters_is_suggested(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_text("image,x1,y1,x2,y2\nA.PNG,1,2,9,9\n")
    result = invoke("extract", photos, "--boxes", tmp_path / "boxes.csv", "--out", tmp_path / "f.npz")
    hint = f"the first is 'A.PNG' (did you mean {photos / 'a.png'}?); --ignore-missing skips them"
    assert f"not among the inputs; {hint}" in result.stderr


def test_boxes_that_look_wrong_are_said_and_pooled(photos: Path, tmp_path: Path) -> None:
    rows = ["a.png,30,20,5,5", "b.jpg,31,20,5,5", "a.png,41,0,50,10", "a.png,1,2,9,9"]
    (tmp_path / "boxes.csv").write_text("\n".join(["image,x1,y1,x2,y2", *rows]))
    arguments = ("extract", photos, "--boxes", tmp_path / "boxes.csv", "--out", tmp_path / "f.npz")
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    where = f"note: {tmp_path / 'boxes.csv'}, row"
    assert result.stderr.splitlines() == [
        f"{where} 0 (line 2): 2 boxes have x2 < x1 or y2 < y1; the first is (30, 20, 5, 5): are its numbers "
        "x, y, width, height (--box-format xywh), or is its width or height negative?",
        f"{where} 2 (line 4): 1 box does not touch its input; the first is (41, 0, 50, 10): is --spatial-scale right, "
        "and are its numbers corners? --box-format",
    ]
    with np.load(tmp_path / "f.npz") as written:
        assert written["rows"].tolist() == [0, 1, 2, 3]
    scaled = invoke(*arguments, "--spatial-scale", 0.5)  # the boxes are those of images of 80 x 60 pixels
    assert "does not touch" not in scaled.stderr
    read = invoke(*arguments, "--box-format", "xywh")
    assert "x2 < x1" not in read.stderr
    with np.load(tmp_path / "f.npz") as written:
        assert written["boxes"][0].tolist() == [30, 20, 35, 25]


def test_options_that_are_not_read_are_said(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_text("image,x1,y1,x2,y2\na.png,1,2,9,9\n")
    arguments = ("extract", photos, "--boxes", tmp_path / "boxes.csv", "--out", tmp_path / "f.npz", "--seed", 3)
    result = invoke(*arguments, "--sampling-ratio", 2)
    assert result.exit_code == 0
    assert result.stderr.splitlines() == [
        "note: --sampling-ratio: 2 is ignored with --sampling exact",
        "note: --seed: 3 is only used by --sampling random",
    ]
    assert invoke(*arguments, "--sampling-ratio", 2, "--sampling", "random").stderr == ""


def test_a_folder_of_images_is_detected_in(scenes: Path, tmp_path: Path) -> None:
    shutil.copytree(scenes / "val/images", tmp_path / "images")
    options = ("--weights", scenes, "--out", tmp_path / "images/found", "--score-threshold", 0)
    left_out = f"note: {tmp_path / 'images/found'}: left out 4 pictures of earlier results\n"
    for note in ("", left_out):  # the pictures lie in the folder, and are not looked at the second time
        result = invoke("detect", tmp_path / "images", *options)
        assert (result.exit_code, result.stderr) == (0, note), result.output
        assert result.stdout.splitlines()[-1].endswith(" objects in 4 images")
    empty = invoke("detect", tmp_path / "images/found/none", *options)
    assert empty.exit_code == 1
    (tmp_path / "empty").mkdir()
    empty = invoke("detect", tmp_path / "empty", *options)
    assert empty.exit_code == 1
    assert f"error: {tmp_path / 'empty'}: no file in this folder ends in" in empty.stderr
