"""Jobs: right features, and the same bytes however they are run."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

import roialign
from roialign.detection import DetectorSettings, save_model
from roialign.features import (
    BackboneOptions,
    FileBoxes,
    GridBoxes,
    Job,
    JobSettings,
    OtherJobError,
    make_backbone,
    prepare,
    run,
)
from roialign.features.locks import locked
from roialign.files.boxes import Box, read_boxes
from roialign.files.problems import Problems
from tests.features.jobs import SMALL, contents, small_job, start
from tests.features.photographs import write_boxes


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


def test_boxes_of_images_of_another_size_are_another_job(images: list[Path], tmp_path: Path) -> None:
    """The size decides whether an image is read as stored or upright."""
    (box,) = boxes_of(images[0], [(0.0, 0.0, 9.0, 9.0)])
    with Image.open(images[0]) as opened:
        width, height = opened.size
    settings = JobSettings("pixels", sizes=((1, 1),))

    def job(size: tuple[int, int]) -> Job:
        source = FileBoxes({images[0]: [replace(box, image_size=size)]})
        return prepare(images[:1], source, tmp_path / "out", settings, BackboneOptions())

    run(job((width, height)), readers=0)
    assert job((width, height)).missing() == []
    with pytest.raises(OtherJobError, match="the boxes or the sizes of their images differ"):
        job((height, width))


def test_a_folder_of_features_without_a_manifest_is_left_alone(images: list[Path], tmp_path: Path) -> None:
    (tmp_path / "features-00000-of-00003.parquet").write_bytes(b"somebody's")
    with pytest.raises(OtherJobError, match=r"but no _manifest\.json"):
        small_job(images, tmp_path)
    (tmp_path / "_manifest.json").write_text("{")
    with pytest.raises(OtherJobError, match=r"_manifest.json: not JSON"):
        small_job(images, tmp_path)


def test_two_runs_do_not_write_to_one_folder(photos: Path, tmp_path: Path) -> None:
    job = small_job(sorted(photos.glob("*.jpg")), tmp_path / "out")
    with locked(tmp_path / "out"), pytest.raises(OtherJobError, match="another run writes to this folder"):
        run(job, readers=0)


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
