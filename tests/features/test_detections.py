"""The boxes that a detector finds, pooled from the maps that it found them on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

from roialign.detection import DetectorSettings, load_model, save_model
from roialign.features import BackboneError, BackboneOptions, DetectedBoxes, FileBoxes, JobSettings, prepare, run
from roialign.files.boxes import Box
from tests.commands.invoked import invoke, told
from tests.features.jobs import contents
from tests.features.photographs import write_photographs

#: Every photograph gets this height and width, which are those that the detector would give it too.
SIZE = (96, 128)
OPTIONS = BackboneOptions(image_size=SIZE)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    return sorted(write_photographs(folder, 4, shorter=150))


@pytest.fixture(scope="module", params=["faster-rcnn", "cascade-mask-rcnn"])
def detector(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that has learnt nothing: it finds something everywhere, with scores near those of chance."""
    torch.manual_seed(0)
    settings = DetectorSettings(
        request.param, "resnet18-fpn", classes=("cat", "dog"), width=8, hidden=16, mask_hidden=8, min_size=SIZE[0]
    )
    path = tmp_path_factory.mktemp("detector") / "model.pt"
    save_model(path, settings.build(), settings)
    return path


def job_of(images: list[Path], detector: Path, out: Path, threshold: float = 0.3, **settings: object) -> Path:
    chosen = JobSettings(f"detector:{detector}", sizes=((2, 2),), **settings)  # type: ignore[arg-type]
    run(prepare(images, DetectedBoxes(threshold), out, chosen, OPTIONS), readers=0)
    return out


def test_they_are_what_the_detector_finds_by_itself(images: list[Path], detector: Path, tmp_path: Path) -> None:
    table = pandas.read_parquet(job_of(images, detector, tmp_path / "out"))
    model, settings = load_model(detector)
    found = 0
    for path in images:
        with Image.open(path) as opened:
            scale = [opened.width / SIZE[1], opened.height / SIZE[0]] * 2
            seen = np.array(opened.resize(SIZE[::-1], Image.Resampling.BICUBIC, reducing_gap=3.0))
        pixels = torch.from_numpy(seen).permute(2, 0, 1) / 255
        with torch.inference_mode():
            expected = model([pixels])[0]
        sure = expected["scores"] >= 0.3
        rows = table[table["image"] == path.as_posix()]
        assert rows["label"].tolist() == [settings.classes[label - 1] for label in expected["labels"][sure].tolist()]
        np.testing.assert_allclose(rows["score"], expected["scores"][sure], atol=1e-5)
        if len(rows):
            np.testing.assert_allclose(
                np.stack(rows["box"].to_list()), expected["boxes"][sure] * torch.tensor(scale), atol=1e-2
            )
        assert rows["row"].tolist() == list(range(len(rows)))
        found += len(rows)
    assert found > 20


def test_a_shard_of_which_every_image_fails_does_not_end_the_job(
    images: list[Path], detector: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = JobSettings(f"detector:{detector}", shard_images=2)
    job = prepare(images, DetectedBoxes(0.3), tmp_path / "out", settings, OPTIONS)
    detect = job.work.backbone.detect

    def fail(pixels: np.ndarray, *arguments: Any) -> Any:
        if pixels.any():
            raise RuntimeError("not a photograph")
        return detect(pixels, *arguments)

    monkeypatch.setattr(job.work.backbone, "detect", fail)
    report = run(job, readers=0)
    assert (sorted(report.errors), report.boxes) == ([image.as_posix() for image in images], 0)


def test_their_features_are_those_of_the_same_boxes_from_a_file(
    images: list[Path], detector: Path, tmp_path: Path
) -> None:
    table = pandas.read_parquet(job_of(images, detector, tmp_path / "out"))
    groups = {
        path: [Box(int(row.row), "", None, tuple(row.box), row.label) for row in rows.itertuples()]
        for path in images
        for rows in [table[table["image"] == path.as_posix()]]
    }
    settings = JobSettings(f"detector:{detector}", sizes=((2, 2),))
    run(prepare(images, FileBoxes(groups), tmp_path / "again", settings, OPTIONS), readers=0)
    again = pandas.read_parquet(tmp_path / "again")
    assert "score" not in again
    one, other = (np.stack(each["features"].to_list()) for each in (table, again))
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_an_image_without_any_has_no_row_and_a_broken_one_its_error(
    images: list[Path], detector: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"")
    job = prepare(
        [*images, broken],
        DetectedBoxes(1.0),
        tmp_path / "out",
        JobSettings(f"detector:{detector}", sizes=((1, 1),), file_format="safetensors"),
        OPTIONS,
    )
    report = run(job, readers=0)
    assert (report.images, report.boxes, list(report.errors)) == (5, 0, [broken.as_posix()])
    found = load_file(tmp_path / "out" / job.shards[0].file)
    assert (found["rows"].tolist(), found["scores"].tolist()) == ([-1], [0.0])


def test_another_threshold_is_another_job(images: list[Path], detector: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ["--backbone", f"detector:{detector}", "--output-size", "vector", "--image-size", "96x128"]
    options += ["--boxes", "detections", "--readers", "0", "--threads", "1", "--out", out]
    done = invoke("extract", *images, *options, "--score-threshold", 0.3)
    assert (done.exit_code, done.stderr) == (0, "")
    before = contents(out)
    assert "boxes.detections.score_threshold: 0.3 there, 0.5 here" in told(invoke("extract", *images, *options))[0]
    assert contents(out) == before


def test_other_backbones_find_nothing(images: list[Path], tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="backbone: expected detector:WEIGHTS, to use its detections as boxes, got"):
        prepare(images, DetectedBoxes(), tmp_path / "out", JobSettings("pixels"), BackboneOptions())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("boxes", ["detections", "grid:2x2"])
def test_without_a_backbone_only_files_are_boxes(boxes: str, images: list[Path]) -> None:
    done = invoke("extract", images[0], "--boxes", boxes)
    assert done.exit_code == 2
    assert f"Invalid value for --boxes: {boxes} needs --backbone" in done.stderr


def test_rotated_detections_are_upright_boxes_inside_their_image(images: list[Path], tmp_path: Path) -> None:
    """Their hulls may extend beyond it. A search with such a box would be refused."""
    torch.manual_seed(0)
    settings = DetectorSettings(
        "oriented-rcnn", "resnet18-fpn", classes=("cat", "dog"), width=8, hidden=16, min_size=SIZE[0]
    )
    model = settings.build()
    save_model(tmp_path / "model.pt", model, settings)
    with torch.inference_mode():
        hulls = model.eval()([torch.zeros(3, *SIZE)])[0]["boxes"]
    assert (hulls < 0).any(), "the test sees such a hull"
    table = pandas.read_parquet(job_of(images, tmp_path / "model.pt", tmp_path / "out", 0.0))
    boxes = np.stack(table["box"].to_list())
    assert len(boxes) > 20
    sides = table[["image_width", "image_height"] * 2].to_numpy()
    assert (boxes >= 0).all()
    assert (boxes <= sides + 1e-3).all()
    assert (boxes[:, :2] < boxes[:, 2:]).all()
