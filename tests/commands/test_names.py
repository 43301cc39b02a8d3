"""Photographs whose file names are not UTF-8 text, as old archives contain: pooled, searched, drawn, in every table."""

from __future__ import annotations

import csv
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from roialign.detection.dota_results import write_dota_results
from roialign.files.folders import path_of
from roialign.files.problems import Problems
from tests.commands.invoked import invoke, told
from tests.features.photographs import write_photographs
from tests.files.checkpoints import readable

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems do not allow such file names")

#: A name in Latin-1, and how results write it.
NAME, ESCAPED = os.fsdecode(b"caf\xe9.jpg"), r"caf\udce9.jpg"
PIXELS = ("--backbone", "pixels", "--output-size", "vector", "--readers", 0)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two photographs, of which the second has the name."""
    monkeypatch.chdir(tmp_path)
    first, second = write_photographs(Path("photos"), 2)
    second.rename(first.with_name(NAME))
    return Path("photos")


def test_pixels_and_their_picture(photos: Path) -> None:
    Path("boxes.csv").write_text("x1,y1,x2,y2\n1,2,30,40\n")
    done = invoke("extract", photos / NAME, "--boxes", "boxes.csv", "--out", "f.npz", "--plot", "steps.png")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "caf\N{REPLACEMENT CHARACTER}.jpg" in done.stdout
    assert np.load("f.npz")["images"].tolist() == [str(photos / NAME)]


@pytest.mark.parametrize("file_format", ["parquet", "safetensors", "npz"])
def test_features_are_searched_and_drawn(photos: Path, file_format: str) -> None:
    done = invoke("extract", photos, "--boxes", "grid:1x1", *PIXELS, "--format", file_format, "--out", "features")
    assert (done.exit_code, done.stderr) == (0, "")
    search = ("search", "features", "--like", photos / NAME, "--box", "0,0,60,60", "--top", 2)
    done = invoke(*search, "--out", "sheet.png", "--results", "found.json")
    assert (done.exit_code, done.stderr) == (0, "")
    assert f"photos/{ESCAPED}" in done.stdout
    report = json.loads(Path("found.json").read_text(encoding="utf-8"))
    assert report["image"] == f"photos/{ESCAPED}"
    assert sorted(row["image"] for row in report["regions"]) == ["photos/000.jpg", f"photos/{ESCAPED}"]
    assert invoke(*search, "--results", "found.csv", "--other-images").exit_code == 0
    with open("found.csv", newline="", encoding="utf-8") as file:
        assert [row["image"] for row in csv.DictReader(file)] == ["photos/000.jpg"]
    refused = invoke(*search, "--out", photos / "000.jpg")
    assert refused.exit_code == 2


def test_a_sheet_shows_the_photograph(photos: Path) -> None:
    assert invoke("extract", photos / NAME, "--boxes", "grid:1x1", *PIXELS, "--out", "features").exit_code == 0
    assert invoke("search", "features", "--like", photos / NAME, "--out", "sheet.png").exit_code == 0
    with Image.open("sheet.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB"), dtype=int)
    query, found = pixels[30:160, 30:160], pixels[30:160, 216:346]
    assert (query == found).all(axis=-1).mean() > 0.9, "only the frames have other colours"
    assert found.std() > 20, "both show a photograph"


@pytest.mark.parametrize("ending", ["json", "csv", "parquet"])
def test_a_result_is_a_box_file(photos: Path, ending: str) -> None:
    assert invoke("extract", photos, "--boxes", "grid:1x1", *PIXELS, "--out", "features").exit_code == 0
    (boxes,) = Path("features").glob("*.parquet")
    if ending != "parquet":
        boxes = Path(f"found.{ending}")
        assert invoke("search", "features", "--like", photos / NAME, "--results", boxes).exit_code == 0
    if ending == "json":
        boxes.write_text(json.dumps(json.loads(boxes.read_text())["regions"]))
    done = invoke("extract", photos, "--boxes", boxes, "--out", "f.npz")
    assert (done.exit_code, done.stderr) == (0, "")
    assert set(np.load("f.npz")["images"].tolist()) == {str(photos / NAME), "photos/000.jpg"}


def test_a_list_of_such_names(photos: Path) -> None:
    Path("list.txt").write_bytes(b"photos/caf\xe9.jpg\nphotos/000.jpg\nphotos/none\xe9.jpg\n")
    done = invoke("extract", "list.txt", "--boxes", "grid:1x1", *PIXELS, "--out", "features")
    assert done.exit_code == 1
    missing = "list.txt, line 3: photos/none\N{REPLACEMENT CHARACTER}.jpg"
    assert told(done)[0] == f"{missing}: cannot be read as an image: No such file or directory"
    assert "2 images" in done.stdout
    (photos / NAME).unlink()
    done = invoke("extract", "list.txt", "--boxes", "grid:1x1", *PIXELS, "--out", "other")
    assert told(done) == ["list.txt: not UTF-8 text: byte 10: save it as UTF-8"]


def test_detections(photos: Path) -> None:
    Path("weights.pt").write_bytes(readable()["its own"])
    done = invoke("detect", photos, "--weights", "weights.pt", "--score-threshold", 0, "--out", "out")
    assert (done.exit_code, done.stderr) == (0, "")
    assert (Path("out") / os.fsdecode(b"caf\xe9-detections.png")).exists()
    found = json.loads((Path("out") / "detections.json").read_text())
    assert [row["file_name"] for row in found["images"]] == ["photos/000.jpg", str(photos / NAME)]
    done = invoke("extract", photos, "--boxes", "out/detections.json", "--out", "f.npz")
    assert (done.exit_code, set(np.load("f.npz")["images"].tolist())) == (0, {"photos/000.jpg", str(photos / NAME)})


def test_results_in_dotas_format(tmp_path: Path) -> None:
    rows = [{"image_id": 1, "category_id": 1, "score": 0.5, "segmentation": [[0, 0, 1, 0, 1, 1, 0, 1]]}]
    (path,) = write_dota_results(tmp_path, rows, {1: "ship"}, {1: NAME}, Problems())
    assert path.read_bytes().startswith(b"caf\xe9 0.5"), "the name that the label file has"


def test_a_file_that_has_the_escaped_name_is_preferred(tmp_path: Path) -> None:
    assert path_of(ESCAPED, tmp_path) == tmp_path / NAME
    (tmp_path / ESCAPED).touch()
    assert path_of(ESCAPED, tmp_path) == tmp_path / ESCAPED
