"""`roialign search` as it is typed, on features that `roialign extract` has written."""

from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas
import pytest
from PIL import Image

from roialign.files.boxes import read_boxes
from roialign.files.problems import Problems
from roialign.search import Encoder, FeatureFolder, draw_sheet
from roialign.search.sheets import Tile
from tests.commands.invoked import invoke, told
from tests.features.jobs import forget_records
from tests.search.networks import save_network
from tests.search.words import OPTIONS, SEVERAL


def cell(photos: Path, name: str) -> str:
    """The upper left part of a grid of 2 x 2."""
    with Image.open(photos / name) as opened:
        return f"0,0,{opened.width / 2:g},{opened.height / 2:g}"


def test_a_region_finds_itself_and_then_others(photos: Path, features: Path, tmp_path: Path) -> None:
    table, sheet = tmp_path / "found.json", tmp_path / "sheet.png"
    like = photos / "003.jpg"
    box = cell(photos, "003.jpg")
    options = ("--like", like, "--box", box, "--box", "10,10,60,60", "--top", 3, "--results", table, "--out", sheet)
    done = invoke("search", features, *options)
    assert (done.exit_code, done.stderr) == (0, "")
    written = json.loads(table.read_text())
    first = written["regions"][0]
    assert [row["rank"] for row in written["regions"]] == [1, 2, 3] * 2
    assert (first["image"], first["row"], first["label"]) == (like.as_posix(), 0, "0,0")
    assert first["score"] == pytest.approx(1, abs=1e-5)
    assert f"Regions similar to {box} of {like}" in done.stdout
    assert "1.0000" in done.stdout
    with Image.open(sheet) as drawn:
        colours = {pixel for _, pixel in drawn.convert("RGB").getcolors(1 << 20)}
    assert {(0xD5, 0x5E, 0x00), (0x00, 0x72, 0xB2)} <= colours, "a query and what was found, outlined"

    frame = pandas.read_parquet(features)
    vectors = np.stack(frame[frame["error"].isna()]["vector"].to_list())
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    row = frame.index[(frame["image"] == like.as_posix()) & (frame["row"] == 0)][0]
    expected = np.sort(units @ units[row])[::-1][:3]
    np.testing.assert_allclose([one["score"] for one in written["regions"][:3]], expected, atol=1e-4)


def test_a_table_of_results_is_a_box_file(photos: Path, features: Path, tmp_path: Path) -> None:
    table = tmp_path / "found.csv"
    box = cell(photos, "003.jpg")
    done = invoke("search", features, "--like", photos / "003.jpg", "--box", box, "--other-images", "--results", table)
    assert done.exit_code == 0
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [row["rank"] for row in rows] == [str(rank) for rank in range(1, 11)]
    assert not any(row["image"].endswith("003.jpg") for row in rows)
    assert (Path(rows[0]["image"]).name, rows[0]["label"]) == ("009.jpg", "0,1"), "the same, mirrored"
    problems = Problems()
    boxes = list(read_boxes(table, problems))
    assert not list(problems)
    assert [box.label for box in boxes] == [row["label"] for row in rows]


def test_maps_are_searched_by_their_mean(photos: Path, features: Path, tmp_path: Path) -> None:
    """With exact pooling the mean over the bins is the vector of the box."""
    out = tmp_path / "maps"
    options = ("--boxes", "grid:2x2", *OPTIONS, "--output-size", "7", "--format", "safetensors", "--out", out)
    assert invoke("extract", photos, *options).exit_code == 0
    answers = []
    for folder in (out, features):
        table = tmp_path / f"{folder.name}.json"
        assert invoke("search", folder, "--like", photos / "001.jpg", "--results", table).exit_code == 0
        answers.append(json.loads(table.read_text())["regions"])
    of_maps, of_vectors = answers
    assert [(row["image"], row["row"]) for row in of_maps] == [(row["image"], row["row"]) for row in of_vectors]
    np.testing.assert_allclose([row["score"] for row in of_maps], [row["score"] for row in of_vectors], atol=1e-5)


def test_a_query_is_encoded_as_the_folder_was(photos: Path, tmp_path: Path) -> None:
    """Two levels of a network in a file, an image size and a normalisation of one's own, two sizes of output."""
    model = save_network(tmp_path / "model.onnx", seed=0)
    options = (
        "--backbone",
        f"onnx:{model}",
        "--levels",
        "8,16",
        "--image-size",
        "64x96",
        "--normalise",
        "symmetric",
    )
    options += ("--pool", "max", "--output-size", "2,vector", "--dtype", "float16", "--readers", 0, "--threads", 1)
    assert invoke("extract", photos, "--boxes", "grid:2x2", *options, "--out", tmp_path / "out").exit_code == 0
    folder = FeatureFolder.open(tmp_path / "out")
    image = photos / "004.jpg"
    with Image.open(image) as opened:
        half = opened.width / 2, opened.height / 2
    table = pandas.read_parquet(tmp_path / "out")
    own = table[table["image"] == image.as_posix()]
    for column in ("vector", "features"):
        found = Encoder(folder).encode(image, [(0, 0, *half), (half[0], 0, 2 * half[0], half[1])], column=column)
        expected = np.stack(own[column].to_list())[:2].astype(np.float32)
        if column == "features":
            expected = expected.reshape(2, 10, 4).mean(axis=2)
        np.testing.assert_allclose(found, expected, atol=2e-3)

    moved = tmp_path / "moved.onnx"
    model.rename(moved)
    lost = invoke("search", tmp_path / "out", "--like", image)
    assert lost.exit_code == 1
    assert f"onnx:{model}" in lost.stderr
    assert invoke("search", tmp_path / "out", "--like", image, "--backbone", f"onnx:{moved}").exit_code == 0
    other = save_network(tmp_path / "other.onnx", seed=1)
    wrong = invoke("search", tmp_path / "out", "--like", image, "--backbone", f"onnx:{other}")
    assert f"was computed with a different backbone than onnx:{other}: file: " in wrong.stderr


@pytest.mark.parametrize(
    ("box", "code", "why"),
    [
        ("1,2,3", 2, "expected X1,Y1,X2,Y2, got '1,2,3'"),
        ("1,2,3,4000", 1, "box 1,2,3,4000: expected a box inside "),
        ("-9,2,30,40", 1, "box -9,2,30,40: expected a box inside "),
        ("30,30,20,40", 1, "box 30,30,20,40: expected x1,y1,x2,y2 with x1 < x2 and y1 < y2"),
        ("nan,0,20,40", 1, "box nan,0,20,40: expected x1,y1,x2,y2"),
    ],
)
def test_boxes_that_are_none_of_the_image(box: str, code: int, why: str, photos: Path, features: Path) -> None:
    done = invoke("search", features, "--like", photos / "000.jpg", "--box", box)
    assert done.exit_code == code
    assert why in done.stderr


def test_a_region_whose_features_are_zero_is_named(tmp_path: Path) -> None:
    black = tmp_path / "black.png"
    Image.new("RGB", (30, 20)).save(black)
    options = ("--backbone", "pixels", "--readers", 0, "--output-size", "vector", "--out", tmp_path / "out")
    assert invoke("extract", black, "--boxes", "grid:1x1", *options).exit_code == 0
    for box, boxes in (("0,0,30,20", ()), ("1,2,3,4", ("--box", "1,2,3,4"))):
        done = invoke("search", tmp_path / "out", "--like", black, *boxes)
        assert done.exit_code == 1
        assert told(done) == [
            f"box {box} of {black}: its features are zero, so their cosine is undefined; give --metric inner-product"
        ]
    assert invoke("search", tmp_path / "out", "--like", black, "--metric", "inner-product").exit_code == 0


def test_boxes_and_paths_from_python(photos: Path, features: Path) -> None:
    encoder = Encoder(FeatureFolder.open(str(features)))
    image = photos / "000.jpg"
    whole = encoder.whole(str(image))
    with pytest.raises(TypeError, match=r"^image: expected a path, got None$"):
        encoder.encode(None, [whole])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^boxes: expected a sequence of boxes .*, got None$"):
        encoder.encode(image, None)  # type: ignore[arg-type]
    np.testing.assert_array_equal(encoder.encode(str(image), [whole]), encoder.encode(image, np.array([whole])))
    for boxes, error in (([(0, 0, 1)], ValueError), ([0, 0, 9, 9], TypeError), ([(None, 0, 9, 9)], TypeError)):
        with pytest.raises(error, match="boxes: expected x1, y1, x2, y2 of each, got "):
            encoder.encode(image, boxes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("argument", "value", "why"),
    [
        ("threads", 0, "threads: expected at least 1, got 0"),
        ("device", "", "device: expected cpu for this onnxruntime, got ''"),
        ("backbone", "", "backbone: expected one of efficientnet-lite0, .*, got ''"),
    ],
)
def test_an_option_that_is_empty_is_not_that_of_the_job(argument: str, value: object, why: str, features: Path) -> None:
    with pytest.raises(ValueError, match=f"^{why}"):
        Encoder(FeatureFolder.open(features), **{argument: value})  # type: ignore[arg-type]


def test_sheets_that_cannot_be_drawn(photos: Path, tmp_path: Path) -> None:
    query = Tile(photos / "000.jpg", (0, 0, 9, 9), ("a", "b"))
    with pytest.raises(ValueError, match=r"path: expected a name ending in \.png, .*, got .*sheet\.gif"):
        draw_sheet(tmp_path / "sheet.gif", [query], [[]])
    with pytest.raises(ValueError, match="box: expected finite numbers, got "):
        draw_sheet(tmp_path / "sheet.png", [replace(query, box=(0, 0, float("nan"), 1))], [[]])
    for ending in ("webp", "jpg", "png"):
        with pytest.raises(ValueError, match=r"501 lines of 6 regions are too many for one picture: at most \d+"):
            draw_sheet(str(tmp_path / f"sheet.{ending}"), [query], [[query] * 3005])
    with pytest.raises(OSError, match=re.escape(f"'{tmp_path / 'none/sheet.png'}'")):
        draw_sheet(tmp_path / "none/sheet.png", [query], [[]])
    assert not list(tmp_path.iterdir())


def test_a_folder_in_which_every_image_failed(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_text("no image")
    options = ("--boxes", "grid:1x1", "--backbone", "pixels", "--readers", 0, "--output-size", "vector")
    assert invoke("extract", tmp_path / "broken.jpg", *options, "--out", tmp_path / "out").exit_code == 1
    done = invoke("search", tmp_path / "out", "--like", photos / "000.jpg")
    assert done.exit_code == 1
    assert told(done) == [
        f"{tmp_path / 'out'}: has no region to compare: its images failed, have no detections, or are left out"
    ]


def test_nothing_that_is_read_is_overwritten(photos: Path, features: Path) -> None:
    """Neither the image of the query, nor the manifest, nor a photograph that is to be drawn."""
    manifest = features / "_manifest.json"
    like, neighbour = photos / "003.jpg", photos / "009.jpg"
    before = [path.read_bytes() for path in (like, neighbour, manifest)]
    for options in (("--out", like), ("--out", neighbour, "--box", cell(photos, "003.jpg")), ("--results", manifest)):
        done = invoke("search", features, "--like", like, *options)
        assert done.exit_code == 2
        assert f"Invalid value for {options[0]}: {options[1]} is also an input, and would be overwritten" in done.stderr
    assert [path.read_bytes() for path in (like, neighbour, manifest)] == before


def test_folders_that_cannot_be_searched(photos: Path, features: Path, tmp_path: Path) -> None:
    def search(folder: Path, *options: object) -> list[str]:
        done = invoke("search", folder, "--like", photos / "000.jpg", *options)
        assert done.exit_code == 1
        return told(done)

    (tmp_path / "empty").mkdir()
    assert search(tmp_path / "nowhere") == [f"{tmp_path / 'nowhere'}: no such folder"]
    assert "contains no features: there is no _manifest.json" in search(tmp_path / "empty")[0]
    assert "expected a folder, found a file" in search(photos / "000.jpg")[0]
    copy = tmp_path / "copy"
    shutil.copytree(features, copy)
    shards = sorted(copy.glob("features-*"))
    content = shards[1].read_bytes()
    shards[1].unlink()
    missing = (
        f"{copy}: 1 of 3 shards missing, the first is {shards[1].name}; rerun the command that started the job to "
    )
    assert search(copy) == [f"{missing}finish it, or give --unfinished"]
    assert invoke("search", copy, "--like", photos / "000.jpg", "--unfinished").exit_code == 0
    shards[1].write_bytes(content[:1000])
    assert f"{shards[1]}: cannot be read: " in search(copy)[0]
    assert "delete it, and rerun the command that wrote it" in search(copy)[0]
    for shard in shards:
        shard.unlink()
    assert "no shard has been written yet" in search(copy, "--unfinished")[0]
    assert search(features, "--column", "features") == ["column: expected one of vector, got 'features'"]
    assert "was computed with a different backbone than pixels" in search(features, "--backbone", "pixels")[0]


def test_a_shard_of_another_job_is_named(photos: Path, features: Path, tmp_path: Path) -> None:
    copy, other = tmp_path / "copy", tmp_path / "other"
    shutil.copytree(features, copy)
    options = ("--boxes", "grid:2x2", *OPTIONS[:-4], "--levels", "8", *SEVERAL, "--output-size", "vector")
    assert invoke("extract", photos, *options, "--out", other).exit_code == 0
    shard = sorted(copy.glob("features-*"))[2]
    shutil.copy(sorted(other.glob("features-*"))[2], shard)
    (error,) = told(invoke("search", copy, "--like", photos / "000.jpg"))
    assert error.startswith(f"{shard}: belongs to another job than _manifest.json: ")
    assert "pooling.levels: expected [2], found [1]" in error
    forget_records(copy)
    (error,) = told(invoke("search", copy, "--like", photos / "000.jpg"))
    why = (
        f"{shard}: belongs to another job than _manifest.json: column vector: expected [112] numbers per row, found 40"
    )
    assert error.startswith(f"{why}; if the shards are right, put back their _manifest.json; ")


@pytest.mark.parametrize("file_format", ["parquet", "safetensors", "npz"])
def test_shards_that_have_changed_places_are_named(photos: Path, tmp_path: Path, file_format: str) -> None:
    """Of one dimension, so that only their images tell them apart."""
    out = tmp_path / "out"
    options = ("--backbone", "pixels", "--readers", 0, "--shard-images", 6, "--output-size", "vector")
    assert (
        invoke("extract", photos, "--boxes", "grid:1x1", *options, "--format", file_format, "--out", out).exit_code == 0
    )
    first, second = sorted(out.glob("features-*"))
    first.rename(out / "other")
    second.rename(first)
    (out / "other").rename(second)
    (error,) = told(invoke("search", out, "--like", photos / "000.jpg"))
    assert error.startswith(f"{first}: is another shard of this job: expected shard 0, found shard 1; ")
    forget_records(out)
    (error,) = told(invoke("search", out, "--like", photos / "000.jpg"))
    expected = f"first image: expected {photos / '000.jpg'}, found {photos / '006.jpg'}"
    assert error.startswith(f"{first}: belongs to another job than _manifest.json: {expected}; ")


def test_a_damaged_shard_is_named_by_extract_too(photos: Path, tmp_path: Path) -> None:
    for file_format in ("parquet", "safetensors", "npz"):
        out = tmp_path / file_format
        options = ("--boxes", "grid:1x1", "--backbone", "pixels", "--readers", 0, "--shard-images", 6)
        options += ("--format", file_format, "--output-size", "vector", "--out", out)
        assert invoke("extract", photos, *options).exit_code == 0
        shard = sorted(out.glob("features-*"))[1]
        content = shard.read_bytes()
        shard.write_bytes(content[: len(content) // 3])
        done = invoke("extract", photos, *options)
        assert done.exit_code == 1
        assert told(done)[0].startswith(f"{shard}: cannot be read: ")
        shard.unlink()
        assert invoke("extract", photos, *options).exit_code == 0
        assert shard.read_bytes() == content


def test_images_that_have_gone_are_named_and_the_others_drawn(photos: Path, tmp_path: Path) -> None:
    own = tmp_path / "photos"
    shutil.copytree(photos, own)
    options = ("--boxes", "grid:1x1", "--backbone", "pixels", "--readers", 0, "--output-size", "vector")
    assert invoke("extract", own, *options, "--out", tmp_path / "out").exit_code == 0
    (own / "007.jpg").unlink()
    Image.new("RGB", (30, 20)).save(own / "008.jpg")
    done = invoke("search", tmp_path / "out", "--like", own / "000.jpg", "--top", 12, "--out", tmp_path / "sheet.jpg")
    assert done.exit_code == 1
    gone, changed = sorted(told(done))
    assert gone == f"{own / '007.jpg'}: cannot be read as an image: No such file or directory"
    assert changed.startswith(f"{own / '008.jpg'}: expected ")
    assert changed.endswith(" pixels, got 30x20")
    assert (tmp_path / "sheet.jpg").exists()


def test_paths_from_another_folder(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features of relative paths, searched from elsewhere."""
    shutil.copytree(photos, tmp_path / "there" / "photos")
    monkeypatch.chdir(tmp_path / "there")
    options = ("--boxes", "grid:1x1", "--backbone", "pixels", "--readers", 0, "--output-size", "vector")
    assert invoke("extract", "photos", *options, "--out", "out").exit_code == 0
    monkeypatch.chdir(tmp_path)
    like = Path("there/photos/001.jpg")
    for more, code in (((), 1), (("--images", "there"), 0)):
        done = invoke("search", "there/out", "--like", like, "--out", "sheet.png", *more)
        assert done.exit_code == code, done.stderr
    excluded = invoke("search", "there/out", "--like", like, "--images", "there", "--other-images", "--top", 50)
    assert "photos/001.jpg" not in excluded.stdout.partition("score")[2]
    assert "photos/002.jpg" in excluded.stdout
