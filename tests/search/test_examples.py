"""The examples that use search and features, as they are run."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from roialign.detection import SceneSettings
from roialign.detection.scene_objects import Drawings
from roialign.detection.scenes import draw_scene, write_scenes
from roialign.files.problems import Problems
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

    shard = next((out / "features").glob("features-*"))
    shard.unlink()
    code, output, errors = run_example(*probe)
    assert (code, output) == (1, "")
    missing = f"error: {out / 'features'}: 1 of 1 shard missing, the first is {shard.name}"
    rest = "rerun the command that started the job to finish it"
    assert errors == f"{missing}; {rest}\n", "no option that the example does not have"


def test_mistakes_in_the_example_are_named(tmp_path: Path) -> None:
    (image,) = write_photographs(tmp_path / "photos", 1)
    search = (EXAMPLES / "region_search.py", tmp_path / "photos", "--like", image, "--out", tmp_path / "out")
    code, _, errors = run_example(*search, "--box", "1,1,9000,9000")
    assert code == 1
    assert errors.startswith("error: box 1,1,9000,9000: expected a box inside ")


PHOTO, BOXES = EXAMPLES / "astronaut.png", EXAMPLES / "astronaut_boxes.csv"
SEARCH, DATASET = ("region_search.py", PHOTO, "--like"), ("make_dataset.py", PHOTO, "--boxes")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ((*SEARCH, PHOTO, "--box", "a,b"), 2, "argument --box: expected X1,Y1,X2,Y2, got 'a,b'"),
        ((*SEARCH, PHOTO, "--box", "1,2,3"), 2, "argument --box: expected X1,Y1,X2,Y2, got '1,2,3'"),
        ((*SEARCH, PHOTO, "--boxes", "foo"), 2, "argument --boxes: expected ROWSxCOLUMNS or detections, got 'foo'"),
        ((*SEARCH, PHOTO, "--top", "0"), 2, "argument --top: expected a whole number from 1, got '0'"),
        ((*SEARCH, "none.png"), 1, "--like: expected an image, got none.png: No such file or directory"),
        ((*SEARCH, PHOTO, "--out", PHOTO), 1, f"--out: expected a folder, got {PHOTO}, which is a file"),
        (
            ("region_search.py", "none", "--like", PHOTO),
            1,
            "photographs: expected an image or a folder, got none: No such file or directory",
        ),
        (
            ("linear_probe.py", "none"),
            1,
            "features: expected a folder written by roialign extract --backbone, got none",
        ),
        (("linear_probe.py", EXAMPLES), 1, f"{EXAMPLES}: contains no features: there is no _manifest.json"),
        (
            ("make_dataset.py", "none", "--boxes", BOXES, "--out", "out"),
            1,
            "photographs: expected an image or a folder, got none: No such file or directory",
        ),
        ((*DATASET, "none.csv", "--out", "out"), 1, "--boxes: expected a table of boxes, got none.csv: No such file"),
        ((*DATASET, PHOTO, "--out", "out"), 1, f"{PHOTO}: not UTF-8 text"),
        ((*DATASET, "other.csv", "--out", "out"), 1, "--boxes: expected boxes of at least one of the photographs"),
        ((*DATASET, BOXES, "--out", PHOTO), 1, f"--out: expected a folder, got {PHOTO}, which is a file"),
        ((*DATASET, BOXES, "--out", "out", "--val-every", "0"), 2, "--val-every: expected a whole number from 1, got"),
        ((*DATASET, BOXES, "--out", "out", "--longest-side", "x"), 2, "expected a whole number from 1, got 'x'"),
        (("aerial_drawings.py", PHOTO), 1, f"out: expected a folder, got {PHOTO}, which is a file"),
        (("demo.py", PHOTO), 1, f"output: expected a folder, got {PHOTO}, which is a file"),
    ],
)
def test_a_wrong_argument_gives_one_line(
    words: tuple[object, ...],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("other.csv").write_text("image,x1,y1,x2,y2\nother.png,1,2,3,4\n")
    monkeypatch.syspath_prepend(EXAMPLES)
    script = str(EXAMPLES / str(words[0]))
    monkeypatch.setattr(sys, "argv", [script, *map(str, words[1:])])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(script, run_name="__main__")
    printed = capsys.readouterr()
    assert (stopped.value.code, printed.out) == (code, "")
    *usage, last = printed.err.splitlines()
    assert message in last
    assert all(line.startswith(("usage: ", " ")) for line in usage)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.csv"], "nothing is written"


def test_the_aerial_drawings_are_objects_of_scenes(tmp_path: Path) -> None:
    written = f"wrote {tmp_path / 'drawings'}: 6 ships and 6 planes\n"
    assert run_example(EXAMPLES / "aerial_drawings.py", tmp_path / "drawings") == (0, written, "")
    problems = Problems()
    drawings = Drawings(tmp_path / "drawings", problems)
    assert (drawings.names, len(problems)) == (("plane", "ship"), 0)
    scene = draw_scene(SceneSettings(image_size=128).with_cases(rotated=True, dense=True), "train", 0, drawings)
    assert len(scene.rotated_boxes) == len(scene.labels) > 2


def test_a_damaged_photograph_does_not_stop_a_dataset(tmp_path: Path) -> None:
    photographs = write_photographs(tmp_path / "photos", 3, shorter=64)
    photographs[1].write_bytes(photographs[1].read_bytes()[:500])
    table = tmp_path / "boxes.csv"
    table.write_text("image,x1,y1,x2,y2\n" + "".join(f"{path.name},1,2,30,40\n" for path in photographs))
    make = (EXAMPLES / "make_dataset.py", tmp_path / "photos", "--boxes", table, "--out", tmp_path / "out")
    code, output, errors = run_example(*make)
    assert (code, output) == (1, f"wrote {tmp_path / 'out' / 'train'}: 2 photographs with 2 boxes of 1 class\n")
    assert errors.startswith(f"error: {photographs[1]}: cannot be read as an image: ")


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
