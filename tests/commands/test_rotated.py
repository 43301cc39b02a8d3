"""`roialign train`, `evaluate`, `detect` and `export` with rotated boxes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import Result

from roialign.detection import SceneSettings, load_model, write_scenes
from tests.commands.invoked import invoke
from tests.detection.small_training import write_training_scenes

#: A run of few and small steps.
SMALL = ("--batch-size", "1", "--warmup", "1", "--iterations", "1")


def _trained(data: Path, out: Path, *more: object) -> Result:
    return invoke("train", "--data", data, "--out", out, *SMALL, *more)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    settings = SceneSettings(image_size=96, objects=(2, 3), object_size=(20, 40)).with_cases(rotated=True)
    write_scenes(folder, {"train": 2, "val": 2}, settings)
    return folder


@pytest.fixture(scope="module")
def oriented(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "oriented"
    result = _trained(data, run, "--rotated")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"wrote {run}: evaluate it with `roialign evaluate --weights {run} --data {data}`\n"
    (line,) = [line for line in result.stderr.splitlines() if "average precision" in line]
    assert line.startswith("step 1 of 1: average precision on 2 images: rotated box ")
    return run


@pytest.fixture(scope="module")
def upright(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "upright"
    result = _trained(data, run, "--rotated", "--model", "faster-rcnn")
    assert result.exit_code == 0, result.output
    command = f"roialign evaluate --weights {run} --data {data} --rotated"
    assert result.stdout == f"wrote {run}: evaluate it with `{command}`\n"
    return run


def test_rotated_data_are_learnt_by_oriented_rcnn(data: Path, oriented: Path) -> None:
    settings = load_model(oriented)[1]
    assert (settings.model, settings.pooler) == ("oriented-rcnn", "rotated")
    same = _trained(data, oriented, "--model", "oriented-rcnn")  # which reads rotated boxes in any case
    assert same.exit_code == 0, same.output
    assert "all 1 steps are done already" in same.stderr
    other = _trained(data, oriented, "--rotated", "--pooler", "exact")
    assert other.exit_code == 1
    assert "--pooler was rotated, not exact" in other.stderr


WRONG = {
    "masks": (
        ("--model", "mask-rcnn", "--rotated"),
        "error: --model: expected one of faster-rcnn, cascade-rcnn, oriented-rcnn for rotated boxes, which have no "
        "masks, got mask-rcnn",
    ),
    "pooler": (
        ("--pooler", "rotated"),
        "error: --pooler: expected a pooler of upright boxes, got 'rotated', which pools rotated boxes",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_options_that_contradict_each_other_are_named(case: str, data: Path, tmp_path: Path) -> None:
    options, line = WRONG[case]
    result = _trained(data, tmp_path / "run", *options)
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [line]
    assert not (tmp_path / "run").exists()


def test_data_with_upright_boxes_only_are_said_to_be(tmp_path: Path) -> None:
    write_training_scenes(tmp_path)
    path = tmp_path / "train/annotations.json"
    content = json.loads(path.read_text())
    for row in content["annotations"]:
        del row["segmentation"]
    path.write_text(json.dumps(content))
    result = _trained(tmp_path, tmp_path / "run", "--rotated")
    assert result.exit_code == 0, result.output
    assert "no outline: their upright boxes are used as rotated boxes" in " ".join(result.stderr.split())


def test_rotated_boxes_are_evaluated(data: Path, oriented: Path, upright: Path, tmp_path: Path) -> None:
    for run, options in ((oriented, ()), (upright, ("--rotated",))):
        metrics = tmp_path / "metrics.json"
        result = invoke("evaluate", "--weights", run, "--data", data, "--metrics", metrics, *options)
        assert result.exit_code == 0, result.output
        assert set(json.loads(metrics.read_text())) == {"images", "rotated_box", "dota"}
        rows = [line.split()[0] for line in result.stdout.splitlines() if line[1:2].isalpha()]
        assert {"rotated", "dota"} <= set(rows)
    result = invoke("evaluate", "--weights", upright, "--data", data, "--metrics", metrics)
    assert result.exit_code == 0, result.output
    assert set(json.loads(metrics.read_text())) == {"images", "box"}


def test_detections_are_written_in_dotas_format(data: Path, oriented: Path, upright: Path, tmp_path: Path) -> None:
    out, results = tmp_path / "task1", tmp_path / "results.json"
    options = ("--data", data, "--dota-out", out)
    result = invoke("evaluate", "--weights", oriented, *options, "--out", results)
    assert result.exit_code == 0, result.output
    assert f"wrote {out}: 10 files" in result.stdout
    assert sorted(path.name for path in out.iterdir()) == [f"Task1_{digit}.txt" for digit in range(10)]
    lines = [line.split() for path in out.iterdir() for line in path.read_text().splitlines()]
    assert len(lines) == len(json.loads(results.read_text())) > 0
    assert {line[0] for line in lines} == {"000001", "000002"}
    assert {len(line) for line in lines} == {10}
    refused = invoke("evaluate", "--weights", upright, *options, "--rotated")
    assert refused.exit_code == 1
    assert refused.stderr == "error: --dota-out: expected a detector of rotated boxes, got faster-rcnn\n"
    (tmp_path / "file").touch()
    refused = invoke("evaluate", "--weights", oriented, "--data", data, "--dota-out", tmp_path / "file")
    assert refused.exit_code == 2
    assert "expected a folder" in refused.stderr


def test_rotated_boxes_are_detected_and_drawn(data: Path, oriented: Path, upright: Path, tmp_path: Path) -> None:
    options = ("--out", tmp_path, "--score-threshold", 0.1, "--rotated")
    result = invoke("detect", data / "val/images", "--weights", oriented, *options)
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "detections.json").read_text())["annotations"]
    assert len(found) > 0
    assert all(len(row["segmentation"][0]) == 8 and row["area"] > 0 for row in found)
    assert (tmp_path / "000001-detections.png").exists()
    refused = invoke("detect", data / "val/images", "--weights", upright, *options)
    assert refused.exit_code == 1
    assert refused.stderr == f"error: {upright}: expected a detector of rotated boxes, got faster-rcnn\n"


@pytest.mark.parametrize("name", ["model.onnx", "MODEL.ONNX"])
def test_an_onnx_model_of_rotated_boxes_is_refused(name: str, oriented: Path, tmp_path: Path) -> None:
    result = invoke("export", "--weights", oriented, "--out", tmp_path / name)
    assert result.exit_code == 1
    assert "ONNX has no suppression of rotated boxes, so export a torch.export program" in " ".join(
        result.stderr.split()
    )
    assert not (tmp_path / name).exists()
