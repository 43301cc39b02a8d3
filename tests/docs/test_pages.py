"""The pages of docs: their code runs, and their pictures are those that their scripts draw."""

from __future__ import annotations

import re
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image

import roialign
from roialign.commands.detection import add_commands
from roialign.detection import POOLERS, DetectorSettings, SceneSettings, save_model, write_scenes
from tests.tables.paths import DOCS


def test_the_code_of_the_operators_page_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "operators.md").read_text(), re.DOTALL)
    assert len(blocks) == 2
    space: dict[str, Any] = {}
    for block in blocks:
        exec(block, space)
    assert space["median"].shape == (2, 8, 7, 7)
    # The samples themselves: a median of the points that the reference lists, one by one.
    first = space["samples"].detach().numpy()[0, 0, 0]  # [S * S, C]: the first RoI, its first bin
    np.testing.assert_array_equal(np.median(first, axis=0), space["median"][0, :, 0, 0])
    scale, bins = 1 / 16, space["S"] * 7
    (_, x1, y1, x2, y2), image = space["rois"][0], space["features"][0]
    step_y, step_x = (y2 - y1) * scale / bins, (x2 - x1) * scale / bins
    for number, (i, j) in enumerate(np.ndindex(space["S"], space["S"])):
        y, x = y1 * scale - 0.5 + (i + 0.5) * step_y, x1 * scale - 0.5 + (j + 0.5) * step_x
        point = roialign.bilinear_interpolate(image, np.array([x]), np.array([y]))
        np.testing.assert_allclose(first[number], point.reshape(-1), atol=1e-12)
    # Attention whose scores are equal is the mean.
    equal = (space["samples"] * 0).softmax(dim=3) * space["samples"]
    np.testing.assert_allclose(equal.sum(3).detach().permute(0, 3, 1, 2), space["mean"], atol=1e-12)
    assert not np.allclose(space["pooled"].detach(), space["mean"])
    assert not np.allclose(space["median"], space["mean"])


def test_the_code_of_the_page_on_jax_runs() -> None:
    space: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", (DOCS / "jax.md").read_text(), re.DOTALL):
        exec(block, space)
    assert space["grad_rois"].shape == (2, 5)
    assert space["grad_features"].any()
    padded, rois = space["jnp"].full((100, 5), -1.0).at[:2].set(space["rois"]), space["rois"]
    answer = roialign.roi_align(space["features"], padded, 7, 1 / 16, sampling="exact", invalid="zero")
    alone = roialign.roi_align(space["features"], rois, 7, 1 / 16, sampling="exact")
    np.testing.assert_array_equal(answer[:2], alone)
    assert not answer[2:].any()
    again = space["program"].call(space["features"], rois)
    np.testing.assert_array_equal(again, roialign.roi_align(space["features"], rois, 7, 1 / 16, 2))


def test_the_code_of_rotated_boxes_and_large_images_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes, detector, data = re.findall(r"```python\n(.*?)```", (DOCS / "rotated-boxes.md").read_text(), re.DOTALL)
    (patches,) = re.findall(r"```python\n(.*?)```", (DOCS / "large-images.md").read_text(), re.DOTALL)
    space: dict[str, Any] = {}
    exec(boxes, space)
    box = [[50.0, 50.0, 40.0, 10.0, -0.5]]
    opencv = space["to_convention"](space["boxes"], "oc")
    np.testing.assert_allclose(opencv, [[50, 50, 10, 40, 1.0708]], atol=1e-4)
    np.testing.assert_allclose(
        space["from_detectron2"](space["torch"].tensor([[50.0, 50, 40, 10, 28.6479]])), box, 1e-5
    )
    np.testing.assert_allclose(space["from_polygons"](space["corners"](space["boxes"])), box, 1e-5)
    exec(detector, space)
    assert set(space["found"]) == {"boxes", "rotated_boxes", "scores", "labels"}
    monkeypatch.chdir(tmp_path)
    write_scenes(Path("turned"), {"train": 1}, SceneSettings(image_size=96).with_cases(rotated=True))
    labels = re.findall(r"```\n(imagesource.*?)```", (DOCS / "rotated-boxes.md").read_text(), re.DOTALL)
    Path("dota/train/images").mkdir(parents=True)
    Path("dota/train/labelTxt").mkdir()
    Path("dota/train/labelTxt/P0000.txt").write_text(*labels)
    Path("aerial").mkdir()
    Image.new("RGB", (3000, 2600)).save("dota/train/images/P0000.jpg")
    exec(data, space)
    assert space["dataset"].class_names == ["plane"]
    assert space["target"]["rotated_boxes"].shape == (1, 5)
    wanted = DetectorSettings("oriented-rcnn", "resnet18-fpn", classes=("plane",), width=8, out_channels=16, hidden=32)
    save_model(Path("aerial/model.pt"), replace(wanted, min_size=64).build(), replace(wanted, min_size=64))
    Image.new("RGB", (1500, 300)).save("harbour.tif")
    exec(patches, space)
    assert space["image"].shape == (3, 1024, 1024)
    assert space["found"]["rotated_boxes"].shape[1] == 5


def test_the_table_names_every_operator() -> None:
    table = [line for line in (DOCS / "operators.md").read_text().splitlines() if line.startswith("| `")]
    named = {name for line in table for name in re.findall(r"`(\w+)", line.split("|")[1])}
    others = {"RoIWarning", "fpn_levels", "taps", "build_info", "get_num_threads", "set_num_threads", "__version__"}
    public = {name for name in roialign.__all__ if not name.endswith("_backward")} - others
    assert public <= named


def test_the_picture_of_the_operators_is_drawn_by_its_script(tmp_path: Path) -> None:
    script = runpy.run_path(str(DOCS / "operators.py"))
    script["main"](tmp_path / "operators.png")
    with Image.open(tmp_path / "operators.png") as drawn, Image.open(DOCS / "operators.png") as kept:
        assert drawn.size == kept.size
        difference = np.abs(np.asarray(drawn.convert("L"), float) - np.asarray(kept.convert("L"), float))
    assert difference.mean() < 2.0, "other versions of Matplotlib draw letters a little otherwise"


def test_the_numbers_of_the_mistakes_page_are_computed_by_its_script() -> None:
    script = runpy.run_path(str(DOCS / "mistakes.py"))
    assert script["page"]() == (DOCS / "mistakes.md").read_text(encoding="utf-8")
    for title, _, wrong, right in script["mistakes"]():
        assert np.isfinite(right).all(), title
        assert not np.allclose(wrong, right, rtol=0, atol=1e-3), title


def test_the_commands_of_the_detection_page_are_those_of_the_program() -> None:
    add_commands(application := typer.Typer())
    known = {
        name: {option for parameter in command.params for option in parameter.opts}
        for name, command in typer.main.get_command(application).commands.items()
    }
    blocks = re.findall(r"```sh\n(.*?)```", (DOCS / "detection.md").read_text(), re.DOTALL)
    lines = [line.split() for line in "".join(blocks).replace("\\\n", " ").splitlines() if line.startswith("roialign ")]
    assert {words[1] for words in lines} >= {"evaluate", "detect"}
    for words in lines:
        assert {word for word in words if word.startswith("--")} <= known[words[1]], words


def test_the_code_of_the_detection_page_has_the_names_that_it_uses() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "detection.md").read_text(), re.DOTALL)
    assert len(blocks) >= 3
    for block in blocks:
        compile(block, "detection.md", "exec")
        for line in block.splitlines():
            if line.startswith("from "):
                exec(line, {})


def test_the_table_names_every_pooler() -> None:
    section = (DOCS / "detection.md").read_text().split("## Poolers\n")[1].split("\n## ")[0]
    names = re.findall(r"^\| `([^`]*)`", section, re.MULTILINE)
    assert names == list(POOLERS)
