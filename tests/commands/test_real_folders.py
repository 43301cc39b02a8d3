"""What the commands answer to folders, lists, runs and options as people have them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import Result

from roialign.detection.training.checkpoint import CHECKPOINT_FILE
from tests.commands.invoked import invoke, told
from tests.commands.real_files import IMAGES, NO_IMAGE, PNG
from tests.files.checkpoints import readable
from tests.files.images import as_stored, encoded, ramp, tiff
from tests.files.sets import changed, content_of, write_set


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A file of the small detector."""
    path = tmp_path / "w.pt"
    path.write_bytes(readable()["its own"])
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with one good image."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/good.png").write_bytes(PNG)
    return tmp_path / "photos"


def _images(result_folder: Path) -> list[str]:
    rows = json.loads((result_folder / "detections.json").read_text())["images"]
    return [Path(row["file_name"]).name for row in rows]


def _extract(folder: Path, inputs: Path, table: str, *more: object) -> Result:
    (folder / "b.csv").write_text(f"image,x1,y1,x2,y2\n{table}")
    return invoke("extract", inputs, "--boxes", folder / "b.csv", "--out", folder / "f.npz", *more)


# Folders and lists


def test_what_is_no_file_in_a_folder_is_named_once(photos: Path, weights: Path, tmp_path: Path) -> None:
    (photos / "link.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(photos / "pipe.png")
    (photos / "empty.png").mkdir()
    (photos / "frames.gif").mkdir()
    (photos / "frames.gif/1.png").write_bytes(PNG)
    result = invoke("detect", photos, "--weights", weights, "--out", tmp_path / "out")
    assert told(result) == [
        f"{photos / 'empty.png'}: {NO_IMAGE}expected a file, found a folder",
        f"{photos / 'link.jpg'}: {NO_IMAGE}a link to a file that does not exist",
        f"{photos / 'pipe.png'}: {NO_IMAGE}expected a file, found a device or a pipe",
    ]
    assert _images(tmp_path / "out") == ["1.png", "good.png"]
    result = _extract(tmp_path, photos, "pipe.png,1,2,9,9\ngood.png,1,2,9,9\n")
    pipe = f"{photos / 'pipe.png'}: {NO_IMAGE}expected a file, found a device or a pipe; 1 box skipped"
    assert told(result) == [pipe]


def test_links_to_folders_are_followed_once(photos: Path, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/far.png").write_bytes(PNG)
    (tmp_path / "elsewhere/back").symlink_to(photos)
    (photos / "more").symlink_to(tmp_path / "elsewhere")
    result = invoke("detect", photos, "--weights", weights, "--out", tmp_path / "out")
    assert (result.exit_code, _images(tmp_path / "out")) == (0, ["good.png", "far.png"])


def test_a_file_of_a_list_is_named_with_list_and_line(photos: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text(f"# photographs\n{photos / 'good.png'}\n\n{photos / 'none.png'}\n")
    result = _extract(tmp_path, listed, "none.png,1,2,9,9\ngood.png,1,2,9,9\n")
    why = f"{NO_IMAGE}No such file or directory; 1 box skipped"
    assert told(result) == [f"{listed}, line 4: {photos / 'none.png'}: {why}"]


def test_a_line_break_in_a_name_breaks_no_error(weights: Path, tmp_path: Path) -> None:
    write_set(tmp_path, content_of())
    write_set(tmp_path, changed("images", 0, file_name="none\nerror: a.png"))
    (tmp_path / "val/images/none\nerror: a.png").unlink()
    for more in ((), ("--strict",)):
        result = invoke("evaluate", "--weights", weights, "--data", tmp_path, *more)
        (line,) = told(result)
        assert line == rf"{tmp_path}/val/images/none\nerror: a.png: {NO_IMAGE}No such file or directory"


# Sizes and ranges


@pytest.mark.parametrize("stored", [(40, 30), (48, 64)])
def test_extract_pools_no_image_of_another_size(tmp_path: Path, stored: tuple[int, int]) -> None:
    path = write_set(tmp_path, content_of())
    picture = tmp_path / "val/images/1.png"
    Image.new("RGB", stored).save(picture)
    result = invoke("extract", tmp_path / "val/images", "--boxes", path, "--out", tmp_path / "f.npz")
    (line,) = told(result)
    assert line.startswith(
        f"{picture}: expected 64x48 pixels, as in {path}: annotations[0], got {stored[0]}x{stored[1]}"
    )
    assert ("EXIF" in line) == (stored == (48, 64))
    assert line.endswith("; 2 boxes skipped")
    scaled = ("--spatial-scale", 0.5)  # it is known to be another image
    assert (
        told(invoke("extract", picture, "--boxes", path, "--out", tmp_path / "f.npz", *scaled, "--ignore-missing"))
        == []
    )


def test_a_table_may_say_the_size_too(tmp_path: Path) -> None:
    lying = encoded(as_stored(np.zeros((48, 64, 3), dtype=np.uint8), 6), orientation=6)
    (tmp_path / "1.png").write_bytes(lying)
    for size, note in (("48,64", True), ("64,48", False)):
        (tmp_path / "b.csv").write_text(f"image,x1,y1,x2,y2,image_width,image_height\n1.png,0,0,9,9,{size}\n")
        result = invoke("extract", tmp_path / "1.png", "--boxes", tmp_path / "b.csv", "--out", tmp_path / "f.npz")
        assert result.exit_code == 0
        assert bool(told(result, "note")) == note
    (tmp_path / "b.csv").write_text("image,x1,y1,x2,y2,image_width,image_height\n1.png,0,0,9,9,7,7\n")
    result = invoke("extract", tmp_path / "1.png", "--boxes", tmp_path / "b.csv", "--out", tmp_path / "f.npz")
    assert "expected 7x7 pixels, as in" in told(result)[0]


RANGES: dict[str, tuple[bytes, str | None]] = {
    "8.png": (PNG, None),
    "16.png": (
        encoded(ramp(65535, np.uint16)),
        "a 16-bit image: its values are used as they are and not rescaled: 0 to 65535",
    ),
    "unit.tif": (
        encoded(ramp(1, np.float32), "TIFF"),
        "a float image: its values are used as they are and not rescaled: 0 to 1",
    ),
    "bytes.tif": (
        encoded(ramp(255, np.float32), "TIFF"),
        "a float image: its values are used as they are and not rescaled: 0 to 255",
    ),
    "32.tif": (
        tiff(ramp(70000, np.int32), 2),
        "a 32-bit image: its values are used as they are and not rescaled: 0 to 70000",
    ),
    "nan.tif": (
        IMAGES["nan.tif"].content,
        "a float image: its values are used as they are and not rescaled: NaN or infinity",
    ),
}


@pytest.mark.parametrize("name", RANGES)
def test_extract_says_what_range_it_pools(tmp_path: Path, name: str) -> None:
    content, note = RANGES[name]
    (tmp_path / name).write_bytes(content)
    result = _extract(tmp_path, tmp_path / name, f"{name},1,2,9,9\n")
    assert result.exit_code == 0
    notes = told(result, "note")
    assert len(notes) == (note is not None)
    assert all(line.startswith(f"{tmp_path / name}: {note}") for line in notes)


def test_extract_says_that_a_map_has_holes(tmp_path: Path) -> None:
    values = np.zeros((1, 4, 5), dtype=np.float32)
    values[0, 1, 2] = np.nan
    np.save(tmp_path / "m.npy", values)
    result = _extract(tmp_path, tmp_path / "m.npy", "m.png,1,1,3,3\n")
    assert told(result, "note") == [
        f"{tmp_path / 'm.npy'}: 1 of 20 values are NaN or infinity, and so are the features pooled from them"
    ]


@pytest.mark.parametrize(
    ("shape", "layout", "noted"),
    [
        ((48, 64, 3), "NCHW", True),
        ((48, 64, 3), "NHWC", False),
        ((3, 48, 64), "NCHW", False),
        ((256, 7, 3), "NCHW", False),
    ],
)
def test_a_map_that_may_have_its_channels_last_is_noted(
    tmp_path: Path, shape: tuple[int, ...], layout: str, noted: bool
) -> None:
    np.save(tmp_path / "m.npy", np.zeros(shape, dtype=np.float32))
    result = _extract(tmp_path, tmp_path / "m.npy", "m.png,1,1,3,3\n", "--layout", layout)
    said = f"{tmp_path / 'm.npy'}: read as 48 channels of 64 x 3: if it is [H, W, C], give --layout NHWC"
    assert told(result, "note") == ([said] if noted else [])


# Nothing there


def test_a_split_without_objects_has_no_precision_and_it_is_said(tmp_path: Path, weights: Path) -> None:
    path = write_set(tmp_path, {**content_of(), "annotations": []})
    result = invoke("evaluate", "--weights", weights, "--data", tmp_path)
    assert result.exit_code == 0
    assert told(result, "note") == [f"{path}: no object in the 2 evaluated images: the average precision is undefined"]


def test_a_class_that_the_model_does_not_know_is_said(tmp_path: Path, weights: Path) -> None:
    path = write_set(tmp_path, changed("categories", 1, name="Dog"))
    arguments = ("evaluate", "--weights", weights, "--data", tmp_path)
    said = f"{path}: categories: the model has no class for 'Dog' (average precision 0)"
    assert told(invoke(*arguments), "note") == [said]
    assert told(invoke(*arguments, "--classes", "cat,Dog"), "note") == []
    content = changed("categories", 1, name="Dog")
    content["annotations"] = [row for row in content["annotations"] if row["category_id"] == 1]
    write_set(tmp_path, content)
    assert told(invoke(*arguments), "note") == []  # of which there is none here


def test_a_table_without_boxes_is_said(photos: Path, tmp_path: Path) -> None:
    result = _extract(tmp_path, photos / "good.png", "")
    assert (result.exit_code, told(result, "note")) == (0, [f"{tmp_path / 'b.csv'}: it contains no box"])


# Runs and options

SMALL = ("--split", "val", "--batch-size", 1, "--model", "faster-rcnn", "--evaluate-every", 0)


def test_a_run_without_its_checkpoint_is_not_begun_anew_over_its_detector(tmp_path: Path) -> None:
    write_set(tmp_path, content_of())
    run = tmp_path / "run"
    arguments = ("train", "--data", tmp_path, "--out", run, *SMALL)
    assert invoke(*arguments, "--iterations", 1).exit_code == 0
    kept = (run / "model.pt").read_bytes()
    (run / CHECKPOINT_FILE).unlink()
    result = invoke(*arguments, "--iterations", 2)
    assert told(result) == [
        f"{run}: has model.pt but no checkpoint.pt, so training cannot be resumed; restore checkpoint.pt, use another "
        "folder, or remove model.pt to start again"
    ]
    assert (run / "model.pt").read_bytes() == kept
    (run / "model.pt").unlink()
    assert invoke(*arguments, "--iterations", 2).exit_code == 0
    (run / "log.csv").write_text("iteration,loss\n1,2\nx,3\n")
    result = invoke(*arguments, "--iterations", 3)
    assert told(result)[0].startswith(f"{run / 'log.csv'}: line 3: expected an iteration number")


@pytest.mark.parametrize("name", ["log.csv", "model.pt", "checkpoint.pt", "settings.json"])
@pytest.mark.parametrize("kind", ["a folder", "a device or a pipe"])
def test_what_is_in_the_place_of_a_file_is_named_before_the_work(tmp_path: Path, name: str, kind: str) -> None:
    write_set(tmp_path, content_of())
    path = tmp_path / "run" / name
    path.parent.mkdir()
    if kind == "a folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    result = invoke("train", "--data", tmp_path, "--out", tmp_path / "run", *SMALL)
    assert told(result) == [f"{path}: expected a file, found {kind}"]
    assert result.exit_code == 1


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path, weights: Path) -> None:
    write_set(tmp_path, content_of())
    out = tmp_path / "there"
    out.write_text("kept")
    image, boxes = tmp_path / "val/images/1.png", tmp_path / "val/annotations.json"
    commands: dict[str, tuple[Any, ...]] = {
        "detect": (image, "--weights", weights, "--out"),
        "train": ("--data", tmp_path, *SMALL, "--out"),
        "scenes": (),
        "extract": (image, "--boxes", boxes, "--backbone", "efficientnet-lite0", "--out"),
    }
    for command, arguments in commands.items():
        for path in (out, out / "more"):
            result = invoke(command, *arguments, path)
            assert result.exit_code == 2
            assert f"{out} is a file; expected a folder" in result.stderr
    assert out.read_text() == "kept"


def test_no_classes_are_no_folder(tmp_path: Path, weights: Path) -> None:
    write_set(tmp_path, content_of())
    for names in ("", " "):
        result = invoke("evaluate", "--weights", weights, "--data", tmp_path, "--classes", names)
        assert told(result) == [f"classes: expected names such as cat,dog, or a file of names, got {names!r}"]


# All or nothing


def test_strict_detection_ends_with_the_first_image_that_cannot_be_used(
    photos: Path, weights: Path, tmp_path: Path
) -> None:
    for name in ("bad.png", "worse.png"):
        (photos / name).write_bytes(b"")
    arguments = ("detect", photos, "--weights", weights, "--out", tmp_path / "out")
    result = invoke(*arguments, "--strict")
    assert (result.exit_code, told(result)) == (1, [f"{photos / 'bad.png'}: {NO_IMAGE}an empty file"])
    assert not (tmp_path / "out/detections.json").exists()
    assert len(told(invoke(*arguments))) == 2
    for name in ("bad.png", "worse.png"):
        (photos / name).unlink()
    assert invoke(*arguments, "--strict").exit_code == 0


def test_strict_extraction_writes_nothing_for_a_row_or_an_image(photos: Path, tmp_path: Path) -> None:
    rows = "good.png,1,2,9,9\ngood.png,1,2\ngood.png,1,2,x,9\n"
    result = _extract(tmp_path, photos, rows, "--strict")
    assert (result.exit_code, len(told(result))) == (1, 2)
    assert not (tmp_path / "f.npz").exists()
    for name in ("bad.png", "worse.png"):
        (photos / name).write_bytes(b"")
    rows = "good.png,1,2,9,9\nbad.png,1,2,9,9\nworse.png,1,2,9,9\n"
    result = _extract(tmp_path, photos, rows, "--strict")
    assert told(result) == [f"{photos / 'bad.png'}: {NO_IMAGE}an empty file; 1 box skipped"]
    assert not (tmp_path / "f.npz").exists()
    assert _extract(tmp_path, photos, "good.png,1,2,9,9\n", "--strict").exit_code == 0
    assert (tmp_path / "f.npz").exists()


def test_strict_extraction_of_a_backbone_writes_no_row_with_an_error(photos: Path, tmp_path: Path) -> None:
    (photos / "bad.png").write_bytes(b"")
    backbone = ("--backbone", "pixels", "--output-size", "2", "--format", "npz")
    arguments = ("extract", photos, "--boxes", "grid:1x1", *backbone, "--out", tmp_path / "features")
    result = invoke(*arguments, "--strict")
    assert (result.exit_code, told(result)) == (1, [f"{photos / 'bad.png'}: {NO_IMAGE}an empty file"])
    assert not list((tmp_path / "features").glob("features-*"))
    result = invoke(*arguments)
    assert len(list((tmp_path / "features").glob("features-*"))) == 1
