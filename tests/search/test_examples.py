"""The examples that use search and features, as they are run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from roialign.detection import SceneSettings
from roialign.detection.scenes import write_scenes
from tests.commands.invoked import invoke
from tests.features.photographs import write_photographs
from tests.tables.paths import EXAMPLES


def run_example(*words: object) -> tuple[int, str, str]:
    command = [sys.executable, "-W", "error", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, done.stdout, done.stderr


def test_a_region_is_searched_and_its_features_tell_the_photographs_apart(tmp_path: Path) -> None:
    images = write_photographs(tmp_path / "photos", 8, shorter=160)
    like, out = images[3], tmp_path / "found"
    search = (EXAMPLES / "region_search.py", tmp_path / "photos", "--like", like, "--box", "30,20,120,110")
    code, output, errors = run_example(*search, "--top", 5, "--out", out)
    assert (code, errors) == (0, "")
    assert "extracted 192 regions of 8 photographs" in output
    assert "searched 192 regions in " in output
    found = re.findall(r"^(\d\.\d{3})  (\S+)  ", output, re.MULTILINE)
    assert len(found) == 5
    assert found[0][1] == str(like), "the nearest region is of the photograph itself"
    scores = [float(score) for score, _ in found]
    assert scores == sorted(scores, reverse=True)
    with Image.open(out / "sheet.png") as sheet:
        assert sheet.width > 1000, "six tiles in a line"

    probe = (EXAMPLES / "linear_probe.py", out / "features", "--target", "image")
    code, output, errors = run_example(*probe)
    assert (code, errors) == (0, "")
    accuracy, chance = (float(number) for number in re.findall(r"(\d+\.\d)%", output))
    assert accuracy > 2 * chance


def test_mistakes_in_the_example_are_named(tmp_path: Path) -> None:
    (image,) = write_photographs(tmp_path / "photos", 1)
    search = (EXAMPLES / "region_search.py", tmp_path / "photos", "--like", image, "--out", tmp_path / "out")
    code, _, errors = run_example(*search, "--box", "1,1,9000,9000")
    assert code == 1
    assert errors.startswith("error: box 1,1,9000,9000: expected a box inside ")


@pytest.mark.slow
def test_the_probe_learns_the_labels_of_boxes(tmp_path: Path) -> None:
    """Digits of composed scenes, by features of ImageNet."""
    write_scenes(tmp_path / "scenes", {"train": 60}, SceneSettings())
    folder = tmp_path / "scenes" / "train"
    options = ("--boxes", folder / "annotations.json", "--backbone", "efficientnet-lite0", "--levels", "8,16")
    done = invoke("extract", folder / "images", *options, "--output-size", "vector", "--out", tmp_path / "out")
    assert done.exit_code == 0
    code, output, errors = run_example(EXAMPLES / "linear_probe.py", tmp_path / "out")
    assert (code, errors) == (0, "")
    accuracy, chance = (float(number) for number in re.findall(r"(\d+\.\d)%", output))
    assert accuracy > 2 * chance
