"""Jobs: right features, the same bytes however they are run, and what goes wrong is a row."""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import time
from pathlib import Path

import duckdb
import numpy as np
import pandas
import polars
import pyarrow.parquet
import pytest
import torch
from datasets import load_dataset
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file
from torch import Tensor

import roialign
from roialign.detection import DetectorSettings, save_model
from roialign.features import (
    BackboneError,
    BackboneOptions,
    FileBoxes,
    GridBoxes,
    JobSettings,
    Listener,
    OtherJobError,
    make_backbone,
    prepare,
    run,
)
from roialign.features.manifest import locked
from roialign.features.reading import open_shard
from roialign.files.boxes import Box, read_boxes
from roialign.files.problems import Problems
from roialign.search import FeatureFolder, RegionIndex
from tests.commands.invoked import invoke
from tests.features.jobs import SMALL, contents, small_job, start
from tests.features.networks import TwoLevels, save_program
from tests.features.photographs import write_boxes, write_photographs


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    write_photographs(folder)
    return folder


@pytest.fixture
def images(photos: Path) -> list[Path]:
    return sorted(photos.glob("*.jpg"))


def boxes_of(image: Path, corners: list[tuple[float, float, float, float]]) -> list[Box]:
    return [Box(row, f"row {row}", str(image), box, f"label {row}") for row, box in enumerate(corners)]


@pytest.mark.parametrize("rule", ["exact", "align", "max", "pool"])
def test_a_row_is_what_the_operator_gives_on_the_map(rule: str, images: list[Path], tmp_path: Path) -> None:
    """Boxes are of the image as it is; the backbone sees it in another size and of another shape."""
    image = images[0]
    corners = [(10.0, 20.0, 70.5, 80.25), (0.0, 0.0, 140.0, 96.0), (50.0, 5.0, 52.0, 90.0)]
    source = FileBoxes({image: boxes_of(image, corners)})
    settings = JobSettings(sizes=((3, 2), (1, 1)), rule=rule, levels="8,16")
    options = BackboneOptions(image_size=(128, 96))
    run(prepare([image], source, tmp_path / "out", settings, options), readers=0)

    table = pyarrow.parquet.read_table(tmp_path / "out", partitioning=None).to_pydict()
    assert table["label"] == ["label 0", "label 1", "label 2"]
    assert table["box"] == [list(box) for box in corners]
    with Image.open(image) as opened:
        width, height = opened.size
        pixels = np.asarray(opened.resize((96, 128), Image.Resampling.BICUBIC, reducing_gap=3.0))
    assert table["image_width"] == [width] * 3
    assert table["image_height"] == [height] * 3
    maps = make_backbone("efficientnet-lite0", options).maps(pixels[None], [1, 2])
    rois = np.array(corners) * [96 / width, 128 / height, 96 / width, 128 / height]
    arguments = {"exact": {"sampling": "exact"}, "align": {"sampling_ratio": 2}}
    arguments["max"] = {"sampling": "exact", "mode": "max"}
    for column, size in (("features", (3, 2)), ("vector", (1, 1))):
        expected = []
        for features, stride in zip(maps, (8, 16), strict=True):
            if rule == "pool":
                pooled = roialign.roi_pool(features, [rois], size, 1 / stride)
            else:
                pooled = roialign.roi_align(features, [rois], size, 1 / stride, **arguments[rule])
            expected.append(pooled)
        whole = np.concatenate(expected, axis=1).reshape(3, -1)
        np.testing.assert_allclose(np.array(table[column]), whole, atol=1e-5)


def test_levels_by_size_are_those_of_the_pyramid(images: list[Path], tmp_path: Path) -> None:
    settings = DetectorSettings("faster-rcnn", "resnet18-fpn", classes=("cat", "dog"), width=8, hidden=16)
    save_model(tmp_path / "model.pt", settings.build(), settings)
    image = images[0]
    corners = [(2.0, 2.0, 12.0, 12.0), (0.0, 0.0, 140.0, 95.0)]
    job = JobSettings(f"detector:{tmp_path / 'model.pt'}", sizes=((2, 2),))
    options = BackboneOptions(image_size=(96, 160))
    run(prepare([image], FileBoxes({image: boxes_of(image, corners)}), tmp_path / "out", job, options), readers=0)
    found = np.array(pyarrow.parquet.read_table(tmp_path / "out")["features"].to_pylist())
    with Image.open(image) as opened:
        scale = np.array([160 / opened.width, 96 / opened.height] * 2)
        pixels = np.asarray(opened.resize((160, 96), Image.Resampling.BICUBIC, reducing_gap=3.0))
    maps = [features.numpy() for features in make_backbone(job.backbone, options).maps(pixels[None], range(4))]  # type: ignore[union-attr]
    scales = [1 / 4, 1 / 8, 1 / 16, 1 / 32]
    expected = roialign.multiscale_roi_align(maps, [np.array(corners) * scale], 2, scales, sampling="exact")
    np.testing.assert_allclose(found, expected.reshape(2, -1), atol=1e-4)


def test_the_same_bytes_whoever_reads_and_shares(images: list[Path], tmp_path: Path) -> None:
    run(small_job(images, tmp_path / "alone"), readers=0)
    expected = contents(tmp_path / "alone")
    assert len(expected) == 4
    run(small_job(images, tmp_path / "beside"), readers=3)
    assert contents(tmp_path / "beside") == expected
    for part in ((2, 2), (1, 2)):
        run(small_job(images, tmp_path / "shared"), readers=0, part=part)
    assert contents(tmp_path / "shared") == expected


@pytest.mark.parametrize("file_format", ["parquet", "safetensors", "npz"])
def test_only_missing_shards_are_done(file_format: str, images: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    job = small_job(images, out, file_format=file_format)
    run(job, readers=0)
    expected = contents(out)
    lost = out / job.shards[1].file
    lost.unlink()
    (out / f".{lost.name}.0123abcd.part").write_bytes(b"cut short")
    kept = {path: path.stat().st_mtime_ns for path in out.iterdir() if path.name.startswith("features")}
    again = small_job(images, out, file_format=file_format)
    assert [shard.file for shard in again.missing()] == [lost.name]
    report = run(again, readers=0)
    assert (report.images, report.boxes) == (4, 16)
    assert contents(out) == expected, "what a killed run left is gone"
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    assert run(small_job(images, out, file_format=file_format), readers=0).images == 0


def test_another_job_is_refused_and_says_what_differs(images: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(small_job(images, out), readers=0)
    before = contents(out)
    for settings, difference in (
        ({"rule": "max"}, 'pooling.rule: "exact" there, "max" here'),
        ({"batch_size": 4}, "settings.batch_size: 3 there, 4 here"),
        ({"shard_images": 5}, "settings.shard_images: 4 there, 5 here"),
        ({"levels": "8"}, r"pooling.levels: \[2\] there, \[1\] here"),
        ({"backbone": "pixels", "levels": "last"}, 'backbone.kind: "efficientnet-lite0" there, "pixels" here'),
    ):
        with pytest.raises(OtherJobError, match=difference):
            small_job(images, out, **settings)
    with pytest.raises(OtherJobError, match=r"images\.count: 12 there, 11 here"):
        small_job(images[1:], out)
    with pytest.raises(OtherJobError, match=r"another job: the list of images differs; give the same options"):
        small_job(images[::-1], out)
    settings = JobSettings(sizes=((1, 1),), levels="16", shard_images=4, batch_size=3)
    with pytest.raises(OtherJobError, match=r"boxes\.grid: \[2, 2\] there, \[2, 3\] here"):
        prepare(images, GridBoxes(2, 3), out, settings, SMALL)
    assert contents(out) == before


def test_a_folder_of_features_without_a_manifest_is_left_alone(images: list[Path], tmp_path: Path) -> None:
    (tmp_path / "features-00000-of-00003.parquet").write_bytes(b"somebody's")
    with pytest.raises(OtherJobError, match=r"but no _manifest\.json"):
        small_job(images, tmp_path)
    (tmp_path / "_manifest.json").write_text("{")
    with pytest.raises(OtherJobError, match=r"_manifest.json: not JSON"):
        small_job(images, tmp_path)


class Heard(Listener):
    def __init__(self) -> None:
        self.count = 0
        self.errors: list[tuple[str, str]] = []

    def done(self, count: int) -> None:
        self.count += count

    def failed(self, image: Path, why: str) -> None:
        self.errors.append((image.name, why))


@pytest.mark.skipif(sys.platform != "linux", reason="file names that are no text exist on Linux")
@pytest.mark.parametrize("file_format", ["parquet", "safetensors", "npz"])
def test_names_that_utf_8_cannot_hold_stand_as_escapes(file_format: str, images: list[Path], tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"odd\xff.jpg")
    shutil.copy(images[0], odd)
    job = small_job([odd, images[1]], tmp_path / "out", file_format=file_format)
    assert run(job, readers=0).errors == {}
    (shard,) = job.shards
    if file_format == "npz":
        with np.load(tmp_path / "out" / shard.file) as written:
            names = written["images"].tolist()
    elif file_format == "safetensors":
        names = texts_of(tmp_path / "out" / shard.file)["images"]
    else:
        names = pyarrow.parquet.read_table(tmp_path / "out" / shard.file)["image"].to_pylist()
    assert any(name.endswith("odd\\udcff.jpg") for name in names)


@pytest.mark.parametrize("file_format", ["parquet", "safetensors", "npz"])
def test_a_broken_image_is_a_row_with_its_error(file_format: str, images: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(images[0].parent, folder)
    (folder / "003.jpg").write_bytes((folder / "003.jpg").read_bytes()[:700])
    (folder / "005.jpg").write_text("<html>404</html>")
    (folder / "007.jpg").unlink()
    own = [folder / image.name for image in images]
    heard = Heard()
    job = small_job(own, tmp_path / "out", file_format=file_format)
    report = run(job, readers=2, listener=heard)
    assert (heard.count, report.images, report.boxes) == (12, 12, 9 * 4)
    named = dict(heard.errors)
    assert len(heard.errors) == 3
    assert "damaged or cut short" in named["003.jpg"]
    assert "an HTML page" in named["005.jpg"]
    assert "No such file" in named["007.jpg"]
    assert {Path(image).name: why for image, why in job.earlier_errors().items()} == named

    whole = small_job(images, tmp_path / "whole", file_format=file_format)
    run(whole, readers=0)
    for name in ("003.jpg", "005.jpg", "007.jpg"):
        shutil.copy(images[0].parent / name, folder / name)
    assert run(small_job(own, tmp_path / "out", file_format=file_format), readers=0).images == 0
    assert run(job, readers=0, retry=True).errors == {}
    if file_format == "npz":
        for one, other in zip(job.shards, whole.shards, strict=True):
            with np.load(tmp_path / "out" / one.file) as mine, np.load(tmp_path / "whole" / other.file) as theirs:
                np.testing.assert_array_equal(mine["vector"], theirs["vector"])
                assert mine["errors"].tolist() == [""] * 16


def test_a_backbone_that_fails_on_every_image_ends_the_job(images: list[Path], tmp_path: Path) -> None:
    job = small_job(images, tmp_path / "out")

    def fail(*_: object) -> None:
        raise RuntimeError("out of memory")

    job.work.backbone.maps = fail  # type: ignore[method-assign,assignment]
    with pytest.raises(
        BackboneError, match="backbone: expected features of these images, got an error for every image: out of memory"
    ):
        run(job, readers=0)
    assert set(contents(tmp_path / "out")) == {"_manifest.json"}


def test_a_backbone_that_fails_on_one_image_does_the_others(images: list[Path], tmp_path: Path) -> None:
    job = small_job(images, tmp_path / "out")
    maps = job.work.backbone.maps
    with Image.open(images[1]) as opened:
        size = job.work.backbone.image_size.of(opened.height, opened.width)
        marked = np.asarray(opened.resize((size[1], size[0]), Image.Resampling.BICUBIC, reducing_gap=3.0))

    def fail(pixels: np.ndarray, levels: object) -> object:
        if any(np.array_equal(one, marked) for one in pixels):
            raise RuntimeError("not this one")
        return maps(pixels, levels)  # type: ignore[arg-type]

    job.work.backbone.maps = fail  # type: ignore[method-assign,assignment]
    report = run(job, readers=0)
    assert report.errors == {images[1].as_posix(): "the backbone failed: not this one"}
    assert report.boxes == 11 * 4


def test_features_that_need_too_much_memory_are_an_error(
    images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the image that has too many boxes, or of every image from the start."""
    monkeypatch.setattr("roialign.features.engine.MOST_BYTES", 112 * 4 * 3)
    boxes = {image: [Box(row, "", str(image), (0, 0, 9, 9), "") for row in range(2)] for image in images[:3]}
    boxes[images[1]] *= 2
    settings = JobSettings(sizes=((1, 1),), levels="16")
    job = prepare(images, FileBoxes(boxes), tmp_path / "out", settings, SMALL)
    why = "features of 4 boxes need 1.79e-06 GB: expected at most 1.34e-06 GB per image"
    report = run(job, readers=0)
    assert report.errors == {images[1].as_posix(): why}
    assert report.boxes == 4
    monkeypatch.setattr("roialign.features.job.MOST_BYTES", 112 * 4 - 1)
    with pytest.raises(ValueError, match=r"output-size: expected features of at most .* for a single box"):
        prepare(images, FileBoxes(boxes), tmp_path / "out", settings, SMALL)


def test_two_runs_do_not_write_to_one_folder(photos: Path, tmp_path: Path) -> None:
    job = small_job(sorted(photos.glob("*.jpg")), tmp_path / "out")
    with locked(tmp_path / "out", ""), pytest.raises(OtherJobError, match="another run writes to this folder"):
        run(job, readers=0)


def test_tables_are_read_by_everyone(images: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"")
    run(small_job([*images, broken], out, sizes=((2, 2), (1, 1))), readers=0)
    files = str(out / "*.parquet")
    table = pandas.read_parquet(out)
    assert len(table) == 12 * 4 + 1
    assert table[table["error"].notna()]["image"].tolist() == [broken.as_posix()]
    vectors = np.stack(table[table["error"].isna()]["vector"].to_list())
    assert vectors.shape == (48, 112)

    frame = polars.read_parquet(files).filter(polars.col("error").is_null())
    np.testing.assert_array_equal(frame["vector"].to_numpy(), vectors)
    assert frame["features"].dtype == polars.Array(polars.Float32, 112 * 4)

    rows = duckdb.sql(f"select vector from '{files}' where error is null order by image, row").fetchall()
    np.testing.assert_array_equal(np.array([row[0] for row in rows], dtype=np.float32), vectors)

    loaded = load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    kept = loaded.with_format("numpy").filter(lambda error: error is None, input_columns="error")
    np.testing.assert_array_equal(np.stack(kept["vector"]), vectors)


def test_boxes_of_a_table_and_of_our_own_results(images: list[Path], tmp_path: Path) -> None:
    """A result is a box file too: other features of the same boxes."""
    table = write_boxes(tmp_path / "boxes.csv", images)
    problems = Problems()
    groups: dict[Path, list[Box]] = {image: [] for image in images}
    for box in read_boxes(table, problems):
        groups[images[0].parent / str(box.image)].append(box)
    settings = JobSettings("pixels", sizes=((1, 1),))
    job = prepare(images, FileBoxes(groups), tmp_path / "out", settings, BackboneOptions())
    run(job, readers=0)
    again = read_boxes(tmp_path / "out" / job.shards[0].file, problems)
    assert not list(problems)
    assert [(Path(str(box.image)).name, box.corners, box.label) for box in again] == [
        (box.image, box.corners, box.label) for boxes in groups.values() for box in boxes
    ]


def texts_of(path: Path) -> dict[str, list[str]]:
    """What stands in the metadata of a shard of safetensors."""
    with safe_open(path, "np") as shard:
        texts: dict[str, list[str]] = json.loads(shard.metadata()["roialign"])
    return texts


def test_safetensors_hold_what_parquet_holds(images: list[Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"")
    options = {"sizes": ((2, 2), (1, 1)), "dtype": "float16"}
    job = small_job([*images[:3], broken], tmp_path / "one", file_format="safetensors", **options)
    run(job, readers=0)
    run(small_job([*images[:3], broken], tmp_path / "other", **options), readers=0)
    (shard,) = job.shards
    found, texts = load_file(tmp_path / "one" / shard.file), texts_of(tmp_path / "one" / shard.file)
    table = pandas.read_parquet(tmp_path / "other")
    assert [texts["images"][place] for place in found["images"]] == table["image"].tolist()
    assert found["rows"].tolist() == [*range(4)] * 3 + [-1]
    good = table[table["error"].isna()]
    assert list(texts["errors"]) == [broken.as_posix()]
    assert [texts["labels"][place] for place in found["labels"][:-1]] == good["label"].tolist()
    np.testing.assert_array_equal(found["boxes"][:-1], np.stack(good["box"].to_list()))
    np.testing.assert_array_equal(found["image_sizes"][:-1], good[["image_width", "image_height"]])
    assert (found["features"].shape, found["vector"].shape) == ((13, 112, 2, 2), (13, 112))
    for name in ("features", "vector"):
        assert found[name].dtype == np.float16
        np.testing.assert_array_equal(found[name][:-1].reshape(12, -1), np.stack(good[name].to_list()))


def test_features_of_half_precision(images: list[Path], tmp_path: Path) -> None:
    full, half = tmp_path / "full", tmp_path / "half"
    run(small_job(images, full), readers=0)
    run(small_job(images, half, dtype="float16"), readers=0)
    one, other = (np.stack(pandas.read_parquet(folder)["vector"].to_list()) for folder in (full, half))
    assert other.dtype == np.float16
    np.testing.assert_array_equal(one.astype(np.float16), other)


def test_killed_at_any_moment_it_ends_with_the_same_bytes(photos: Path, tmp_path: Path) -> None:
    """As often as it takes: nothing that is written is done again."""
    options = ["--boxes", "grid:3x3", "--backbone", "efficientnet-lite0", "--levels", "16", "--output-size", "vector"]
    options += ["--image-size", 160, "--shard-images", 1, "--threads", 1, "--readers", 1]
    whole = start(photos, *options, "--out", tmp_path / "whole")
    _, errors = whole.communicate(timeout=120)
    assert whole.returncode == 0, errors
    chance = random.Random(0)
    out, killed = tmp_path / "out", 0
    written: dict[str, int] = {}
    for awaited in ("_manifest.json", "features-*", "features-*", "features-*"):
        process = start(photos, *options, "--out", out)
        while process.poll() is None and len(list(out.glob(awaited))) <= len(written):
            time.sleep(0.002)
        if killed:  # the first two at once, so that they are before the end
            time.sleep(chance.uniform(0, 0.05))
        killed += process.poll() is None
        process.kill()
        process.communicate()
        now = {path.name: path.stat().st_mtime_ns for path in out.glob("features-*")}
        assert written.items() <= now.items(), "a shard that is there stays as it is"
        written = now
    last = start(photos, *options, "--out", out)
    _, errors = last.communicate(timeout=120)
    assert last.returncode == 0, errors
    assert killed > 0
    assert contents(out) == contents(tmp_path / "whole")


class _Diverging(TwoLevels):
    """Infinite in the left quarter of its maps."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        coarse, vector, fine = super().forward(images)
        left = fine.shape[-1] // 4
        return coarse, vector, torch.cat([fine[..., :left] * 0 + torch.inf, fine[..., left:]], dim=3)


@pytest.mark.parametrize("file_format", ["parquet", "safetensors", "npz"])
def test_features_that_are_not_finite_become_an_error(photos: Path, tmp_path: Path, file_format: str) -> None:
    """Of a grid of 2 x 2, the boxes 0 and 2 are on the left."""
    network = save_program(tmp_path / "diverging.pt2", _Diverging())
    images = sorted(photos.glob("*.*"))[:2]
    chosen = {"backbone": f"program:{network}", "sizes": ((1, 1), (2, 2)), "levels": "8", "file_format": file_format}
    job = prepare(images, GridBoxes(2, 2), tmp_path / "out", JobSettings(**chosen), SMALL)  # type: ignore[arg-type]
    report = run(job)
    what = "features that are not finite: rows 0, 2 of 4 boxes"
    assert report.errors == job.earlier_errors() == {image.as_posix(): what for image in images}
    assert (report.boxes, report.partly_failed) == (4, 2)
    assert job.partly_failed() == set(report.errors)
    options = ("--backbone", f"program:{network}", "--output-size", "1,2", "--levels", "8", "--readers", 0)
    options += ("--boxes", "grid:2x2", "--format", file_format, "--image-size", 64, "--out", tmp_path / "typed")
    first, second = (invoke("extract", *images, *options) for _ in range(2))
    assert "typed: 4 boxes of 2 images," in first.stdout
    assert "some boxes of 2 images failed in earlier runs;" in second.stderr
    with open_shard(job.out / job.shards[0].file, required=True) as reader:
        assert reader.numbers("row").tolist() == [1, 3, -1] * 2
        for name in ("vector", "features"):
            assert np.isfinite(np.concatenate([values for _, values in reader.blocks(name)])).all()
    assert job.missing(retry=True) == job.shards
    found = RegionIndex.of_folder(FeatureFolder.open(job.out), column="vector").search(np.ones((1, 4)), 9)
    assert found.scores.shape == (1, 4)
