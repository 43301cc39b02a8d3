"""`roialign extract --backbone` as it is typed."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pandas
import pytest
from PIL import Image
from rich.console import Console

from roialign.commands.terminal import SECONDS_PER_LINE, progress_bar
from roialign.features import GridBoxes
from tests.commands.invoked import invoke, told
from tests.features.jobs import contents
from tests.features.photographs import write_boxes, write_photographs

PIXELS = ("--backbone", "pixels", "--output-size", "vector", "--readers", 0)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    write_photographs(folder, 6)
    return folder


def test_a_folder_and_a_table_of_boxes(photos: Path, tmp_path: Path) -> None:
    boxes, out = write_boxes(tmp_path / "boxes.csv", sorted(photos.iterdir())), tmp_path / "out"
    options = ("--boxes", boxes, "--backbone", "efficientnet-lite0", "--output-size", "3x2,vector", "--out", out)
    options += ("--image-size", 96, "--readers", 0, "--levels", "16")
    done = invoke("extract", photos, *options)
    assert (done.exit_code, done.stderr) == (0, "")
    assert f"wrote {out}: 18 boxes of 6 images, in 1 shard in all: features 112 x 3 x 2, vector 112" in done.stdout
    table = pandas.read_parquet(out)
    assert table["row"].tolist() == list(range(18))
    assert [len(row) for row in table["features"]] == [672] * 18
    before = contents(out)
    again = invoke("extract", photos, *options)
    assert again.exit_code == 0
    assert "nothing left to do" in again.stdout
    assert contents(out) == before


def test_a_list_of_images_is_read(photos: Path, tmp_path: Path) -> None:
    names = sorted(photos.iterdir())[2:4]
    (tmp_path / "list.txt").write_text("\n".join(["# two of them", *map(str, names), ""]))
    done = invoke("extract", tmp_path / "list.txt", "--boxes", "grid:2x3", *PIXELS, "--out", tmp_path / "out")
    assert done.exit_code == 0
    table = pandas.read_parquet(tmp_path / "out")
    assert table["image"].unique().tolist() == [name.as_posix() for name in names]
    assert table["label"].tolist()[:6] == ["0,0", "0,1", "0,2", "1,0", "1,1", "1,2"]


def test_images_in_the_folder_of_the_features_are_read(photos: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(photos, tmp_path / "photos")
    names = sorted(path.as_posix() for path in folder.iterdir())
    for _ in range(2):
        done = invoke("extract", folder, "--boxes", "grid:1x1", *PIXELS, "--out", folder)
        assert done.exit_code == 0, done.stderr
    shards = [pandas.read_parquet(path) for path in folder.glob("*.parquet")]
    assert sorted(pandas.concat(shards)["image"]) == names


def test_a_list_without_images_is_named(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("\n# nothing\n")
    done = invoke("extract", tmp_path / "list.txt", "--boxes", "grid:1x1", *PIXELS, "--out", tmp_path / "out")
    assert told(done) == [f"{tmp_path / 'list.txt'}: expected a path on each line, got none"]


def test_a_broken_image_is_named_once_and_counted_later(photos: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_text("no image")
    options = ("--boxes", "grid:1x1", *PIXELS, "--out", tmp_path / "out")
    first = invoke("extract", photos, broken, *options)
    assert first.exit_code == 1
    assert told(first) == [
        f"{broken}: cannot be read as an image: not an image, or a format that Pillow does not support"
    ]
    second = invoke("extract", photos, broken, *options)
    assert second.exit_code == 1
    assert told(second) == [f"{tmp_path / 'out'}: 1 image failed in earlier runs; --retry processes their shards again"]
    shutil.copy(sorted(photos.iterdir())[0], broken)
    assert invoke("extract", photos, broken, *options, "--retry").exit_code == 0


def test_boxes_that_look_wrong_are_said_once(photos: Path, tmp_path: Path) -> None:
    name = sorted(photos.iterdir())[0].name
    (tmp_path / "boxes.csv").write_text(f"image,x1,y1,x2,y2\n{name},50,50,20,20\n{name},1,1,5,5\n")
    done = invoke("extract", photos, "--boxes", tmp_path / "boxes.csv", *PIXELS, "--out", tmp_path / "out")
    assert done.exit_code == 0
    (note,) = told(done, "note")
    assert "1 box has x2 < x1 or y2 < y1" in note
    assert f"skipped: 5 images have no box in {tmp_path / 'boxes.csv'}\n" in done.stderr
    (tmp_path / "boxes.csv").write_text(f"image,x1,y1,x2,y2\n{name},500,500,600,600\n")
    done = invoke("extract", photos, "--boxes", tmp_path / "boxes.csv", *PIXELS, "--out", tmp_path / "other")
    (note,) = told(done, "note")
    assert "1 box does not touch its input" in note
    assert note.endswith("are its numbers corners, in pixels of the original image? --box-format")


def test_a_grid_finer_than_pixels_is_no_mistake(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    fine, table = ("--boxes", "grid:16x16"), ("--boxes", tmp_path / "boxes.csv")
    done = invoke("extract", tmp_path / "a.png", *fine, *PIXELS, "--out", tmp_path / "out")
    assert (done.exit_code, done.stderr) == (0, "")
    (tmp_path / "boxes.csv").write_text("image,x1,y1,x2,y2\na.png,0,0,0.5,0.5\n")
    done = invoke("extract", tmp_path / "a.png", *table, *PIXELS, "--out", tmp_path / "other")
    assert "1 box lies within one pixel" in told(done, "note")[0]


def test_a_part_of_a_job_counts_its_own_shards(photos: Path, tmp_path: Path) -> None:
    broken = tmp_path / "z.jpg"
    broken.write_text("no image")
    options = ("--boxes", "grid:1x1", *PIXELS, "--out", tmp_path / "out", "--shard-images", 1)
    first = invoke("extract", photos, broken, *options, "--part", "1/2")
    assert first.exit_code == 1
    other = invoke("extract", photos, broken, *options, "--part", "2/2")
    assert (other.exit_code, other.stderr) == (0, "")
    again = invoke("extract", photos, broken, *options, "--part", "2/2")
    assert (again.exit_code, again.stderr) == (0, "resuming: 3 of 3 shards done\n")


@pytest.mark.parametrize("backbone", [(), ("--backbone", "pixels")])
@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ("grid", "grid:ROWSxCOLUMNS, such as grid:3x4"),
        ("grid:3", "grid:ROWSxCOLUMNS, such as grid:3x4"),
        ("grid:0x3", "grid:ROWSxCOLUMNS, such as grid:3x4"),
        ("grid:3.5x4", "grid:ROWSxCOLUMNS, such as grid:3x4"),
        ("Grid3x4", "grid:ROWSxCOLUMNS, such as grid:3x4"),
        ("grid:1001x1000", "grid:ROWSxCOLUMNS, such as grid:3x4, with at most 1000000 boxes"),
        ("detector", "detections, with --backbone detector:WEIGHTS"),
        ("detector:run.pt", "detections, with --backbone detector:WEIGHTS"),
        ("sheet:3x4", "an existing file, or with --backbone, grid:ROWSxCOLUMNS or detections"),
        ("cells", "an existing file, or with --backbone, grid:ROWSxCOLUMNS or detections"),
    ],
)
def test_a_misspelt_source_of_boxes_is_not_taken_for_a_file(
    boxes: str, expected: str, backbone: tuple[str, ...], photos: Path, tmp_path: Path
) -> None:
    done = invoke("extract", photos, "--boxes", boxes, *backbone, "--out", tmp_path / "out.npz")
    assert done.exit_code == 2
    assert f"Invalid value for --boxes: expected {expected}" in done.stderr.replace("\n", " ")
    assert f"got {boxes!r}" in done.stderr.replace("\n", " ")


@pytest.mark.parametrize("backbone", [(), ("--backbone", "pixels")])
def test_empty_paths_are_not_taken_for_the_current_folder(
    backbone: tuple[str, ...], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a variable of the shell gives that has no value."""
    monkeypatch.chdir(tmp_path)
    given = {"INPUT": photos, "--boxes": photos / "boxes.csv", "--out": "out"}
    an_input = ("INPUT", "a path")
    boxes = ("--boxes", "an existing file, or with --backbone, grid:ROWSxCOLUMNS or detections")
    for name, expected in (an_input, boxes, ("--out", "a path")):
        words = {**given, name: ""}
        done = invoke("extract", words["INPUT"], "--boxes", words["--boxes"], "--out", words["--out"], *backbone)
        assert done.exit_code == 2
        assert f"Invalid value for {name}: expected {expected}, got an empty text" in done.stderr
    assert not list(tmp_path.iterdir())
    for words in (("", "--like", "a.jpg"), ("out", "--like", ""), ("out", "--like", "a.jpg", "--results", "")):
        done = invoke("search", *words)
        assert done.exit_code == 2
        assert "expected a path, got an empty text" in done.stderr


@pytest.mark.parametrize("name", ["grid", "detector", "cells", "grid.csv"])
def test_a_file_may_have_any_name(name: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = invoke("extract", photos, "--boxes", "grid.csv", *PIXELS, "--out", "out")
    assert (done.exit_code, told(done)) == (1, ["grid.csv: No such file or directory"])
    Path(name).write_text("[[1, 2, 3, 4]]" if "." not in name else "x1,y1,x2,y2\n1,2,3,4\n")
    done = invoke("extract", sorted(photos.iterdir())[0], "--boxes", name, *PIXELS, "--out", "out")
    assert done.exit_code == 0, done.stderr


def test_a_grid_has_rows_and_columns() -> None:
    with pytest.raises(ValueError, match="rows: expected at least 1, got 0"):
        GridBoxes(0, 3)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--backbone", "pixels", "--stride", 2), "Invalid value for --stride: it cannot be used with --backbone"),
        (("--pool", "max"), "Invalid value for --pool: it cannot be used without --backbone"),
        (
            ("--backbone", "pixels", "--score-threshold", 0.2),
            "Invalid value for --score-threshold: it cannot be used without --boxes detections",
        ),
        (("--backbone", "nothing"), "backbone: expected one of efficientnet-lite0"),
        (("--backbone", "pixels", "--pool", "most"), "--pool: expected one of 'exact', 'align'"),
        (("--backbone", "pixels", "--levels", "x"), "--levels: expected default, last, all, by-size, or strides"),
        (("--backbone", "pixels", "--levels", "3"), "levels: expected last, all, by-size, or strides"),
        (("--backbone", "pixels", "--output-size", "7,7"), "--output-size: expected sizes, each once"),
        (("--backbone", "pixels", "--image-size", "0"), "expected pixels, or HEIGHTxWIDTH, got '0'"),
        (("--backbone", "pixels", "--part", "3/2"), "expected I/N with I from 1 to N, got '3/2'"),
        (("--backbone", "pixels", "--normalise", "no"), "normalise: expected imagenet"),
        (("--backbone", "pixels", "--normalise", "1,2,3/0,1,2"), "the mean and the positive standard deviation"),
        (
            ("--backbone", "efficientnet-lite0", "--levels", "by-size"),
            "levels: expected maps with the same number of channels for by-size, got",
        ),
        (
            ("--backbone", "efficientnet-lite0", "--weights", "none"),
            "weights: expected no value for 'efficientnet-lite0', got 'none'",
        ),
    ],
)
def test_options_that_cannot_be_meant(options: tuple[object, ...], why: str, photos: Path, tmp_path: Path) -> None:
    done = invoke("extract", photos, "--boxes", "grid:1x1", *options, "--out", tmp_path / "out")
    assert done.exit_code != 0
    assert why in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_file_is_no_folder_for_features(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    done = invoke("extract", photos, "--boxes", "grid:1x1", *PIXELS, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "is a file; expected a folder" in done.stderr
    assert (tmp_path / "out").read_text() == "mine"
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    done = invoke("extract", photos, "--boxes", "grid:1x1", *PIXELS, "--out", tmp_path / "link")
    assert done.exit_code == 2
    assert "is a link to a folder that does not exist; expected a folder" in " ".join(done.stderr.split())


def test_a_terminal_that_cannot_redraw_a_line_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr("roialign.commands.terminal.SECONDS_PER_LINE", 0.0)
    screen = io.StringIO()
    with progress_bar(Console(file=screen, force_terminal=True), 2, "Extracting", unit="images") as advance:
        advance()
        assert screen.getvalue().startswith("1 of 2 images, ")


def test_without_a_terminal_progress_is_a_line_now_and_then(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert SECONDS_PER_LINE >= 10
    monkeypatch.setattr("roialign.commands.terminal.SECONDS_PER_LINE", 0.0)
    done = invoke("extract", photos, "--boxes", "grid:1x1", *PIXELS, "--out", tmp_path / "out")
    lines = [line for line in done.stderr.splitlines() if " of 6 images, " in line]
    assert len(lines) == 6
    assert lines[-1].startswith("6 of 6 images, ")
    assert lines[-1].endswith("images/s, 0:00:00 left")


def test_pixels_are_those_of_the_image(tmp_path: Path) -> None:
    (image,) = write_photographs(tmp_path / "photos", 1)
    done = invoke("extract", image, "--boxes", "grid:1x1", *PIXELS, "--out", tmp_path / "out", "--format", "npz")
    assert done.exit_code == 0
    with Image.open(image) as opened:
        mean = np.asarray(opened.convert("RGB"), dtype=np.float64).mean((0, 1))
    with np.load(next((tmp_path / "out").glob("*.npz"))) as result:
        np.testing.assert_allclose(result["vector"][0], mean, rtol=0.02)  # at the border the edge counts differently
