"""What goes wrong in a job is a row with its error, and the other images are done."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from roialign.features import (
    BackboneError,
    BackboneOptions,
    FileBoxes,
    GridBoxes,
    Job,
    JobSettings,
    Listener,
    prepare,
    run,
)
from roialign.features.backbone import Map
from roialign.features.shard_reading import open_shard
from roialign.files.boxes import Box
from roialign.search import FeatureFolder, RegionIndex
from tests.commands.invoked import invoke
from tests.features.jobs import SMALL, contents, small_job
from tests.features.networks import TwoLevels, save_onnx, save_program


class Heard(Listener):
    def __init__(self) -> None:
        self.count = 0
        self.errors: list[tuple[str, str]] = []

    def done(self, count: int) -> None:
        self.count += count

    def failed(self, image: Path, why: str) -> None:
        self.errors.append((image.name, why))


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


@pytest.mark.parametrize("file_format", ["parquet", "safetensors", "npz"])
def test_a_full_disk_ends_the_job_and_a_rerun_has_the_same_bytes(
    file_format: str, images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(small_job(images, tmp_path / "whole", file_format=file_format), readers=0)
    expected = contents(tmp_path / "whole")
    job = small_job(images, tmp_path / "out", file_format=file_format)
    write, second = FileIO.write, job.shards[1].file

    def full(self: FileIO, data: bytes) -> int:
        if second in str(self.name):
            write(self, bytes(data)[:100])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(self, data)

    with monkeypatch.context() as patched:
        patched.setattr("roialign.files.writing._Recording.write", full)
        with pytest.raises(OSError, match="No space left on device") as caught:
            run(job, readers=0)
    assert caught.value.filename == str(tmp_path / "out" / second)
    left = contents(tmp_path / "out")
    assert left == {name: expected[name] for name in (job.shards[0].file, "_manifest.json")}
    run(small_job(images, tmp_path / "out", file_format=file_format), readers=0)
    assert contents(tmp_path / "out") == expected


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


def _fail_on_photographs(job: Job) -> None:
    """Let the backbone of a job fail on every image that is not black."""
    maps = job.work.backbone.maps

    def fail(pixels: np.ndarray, levels: Sequence[int]) -> list[Map]:
        if pixels.any():
            raise RuntimeError("not a photograph")
        return maps(pixels, levels)

    job.work.backbone.maps = fail  # type: ignore[method-assign,assignment]


@pytest.mark.parametrize("file_format", ["parquet", "safetensors", "npz"])
def test_a_shard_of_which_every_image_fails_does_not_end_the_job(
    file_format: str, images: list[Path], tmp_path: Path
) -> None:
    """The backbone still works, as a blank image shows. The shard has the same bytes at any place of a run."""
    black = [tmp_path / f"{number}.png" for number in range(4)]
    for path in black:
        Image.new("RGB", (100, 80)).save(path)
    mixed = [*black, *images[:4], *black]

    def begun(name: str) -> Job:
        job = small_job(mixed, tmp_path / name, file_format=file_format)
        _fail_on_photographs(job)
        return job

    job, heard = begun("out"), Heard()
    report = run(job, readers=0, listener=heard)
    assert (report.images, report.boxes) == (12, 8 * 4)
    assert heard.errors == [(image.name, "the backbone failed: not a photograph") for image in images[:4]]
    assert job.earlier_errors() == report.errors
    assert run(begun("out"), readers=0).images == 0
    for number in (2, 1, 3):
        run(begun("parts"), readers=0, part=(number, 3))
    assert contents(tmp_path / "parts") == contents(tmp_path / "out")

    again = small_job(mixed, tmp_path / "out", file_format=file_format)
    assert (again.missing(), again.missing(retry=True)) == ([], [job.shards[1]])
    assert run(again, readers=0, retry=True).errors == {}
    run(small_job(mixed, tmp_path / "whole", file_format=file_format), readers=0)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


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


class FixedMaps(nn.Module):
    """Resizes images of any size to maps of 8 x 8 pixels."""

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.interpolate(images, (8, 8))


@pytest.mark.parametrize(("kind", "save"), [("program", save_program), ("onnx", save_onnx)])
def test_maps_that_do_not_follow_an_image_are_an_error_of_it(kind: str, save: Any, tmp_path: Path) -> None:
    """One size of images suits such a network, so the stride is found. In others, boxes would be in wrong places."""
    for name, size in (("square", (64, 64)), ("wide", (128, 64))):
        Image.new("RGB", size).save(tmp_path / f"{name}.png")
    network = save(tmp_path / f"fixed.{kind}", FixedMaps())
    images = sorted(tmp_path.glob("*.png"))
    settings = JobSettings(f"{kind}:{network}", ((1, 1),))
    report = run(prepare(images, GridBoxes(2, 2), tmp_path / "out", settings, BackboneOptions(64)), readers=0)
    (why,) = report.errors.values()
    assert (report.boxes, list(report.errors)) == (4, [str(images[1])])
    assert "expected a map of 8 x 16 pixels for an image of 64 x 128 pixels, because the stride is 8, got 8 x 8" in why
