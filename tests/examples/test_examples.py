"""The examples, as they are run."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path
from shutil import copyfile

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


def run_here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object
) -> tuple[int, str, str]:
    """Run an example in this process, which is faster."""
    monkeypatch.syspath_prepend(EXAMPLES)
    script = str(EXAMPLES / str(words[0]))
    monkeypatch.setattr(sys, "argv", [script, *map(str, words[1:])])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(script, run_name="__main__")
    printed = capsys.readouterr()
    assert isinstance(stopped.value.code, int)
    return stopped.value.code, printed.out, printed.err


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


def test_a_second_run_of_a_search_says_that_nothing_was_left_and_what_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    images = write_photographs(tmp_path / "photos", 3, shorter=64)
    images[1].write_bytes(images[1].read_bytes()[:500])
    search = ("region_search.py", tmp_path / "photos", "--like", images[0], "--backbone", "pixels")
    for first_line in ("extracted 48 regions of 3 photographs into ", "nothing left to extract: "):
        code, output, errors = run_here(monkeypatch, capsys, *search, "--out", tmp_path / "out")
        assert code == 1, "a photograph is damaged"
        assert output.startswith(f"{first_line}{tmp_path / 'out' / 'features'}")
        assert errors.startswith(f"error: {images[1]}: cannot be read as an image: ")


PHOTO, BOXES = EXAMPLES / "astronaut.png", EXAMPLES / "astronaut_boxes.csv"
SEARCH, DATASET = ("region_search.py", PHOTO, "--like"), ("make_dataset.py", PHOTO, "--boxes")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ((*SEARCH, PHOTO, "--box", "a,b"), 2, "argument --box: expected X1,Y1,X2,Y2, got 'a,b'"),
        ((*SEARCH, PHOTO, "--box", "1,2,3"), 2, "argument --box: expected X1,Y1,X2,Y2, got '1,2,3'"),
        ((*SEARCH, PHOTO, "--boxes", "foo"), 2, "argument --boxes: expected ROWSxCOLUMNS or detections, got 'foo'"),
        ((*SEARCH, PHOTO, "--top", "0"), 2, "argument --top: expected a whole number from 1, got '0'"),
        ((*SEARCH, PHOTO, "--box", "50,50,10,10"), 1, "box 50,50,10,10: expected x1,y1,x2,y2 with x1 < x2 and y1 < y2"),
        ((*SEARCH, PHOTO, "--box", "1,1,9000,9000"), 1, f"box 1,1,9000,9000: expected a box inside {PHOTO}, which has"),
        ((*SEARCH, BOXES), 1, f"--like: expected an image, got {BOXES}: cannot be read as an image"),
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
    returned, printed, errors = run_here(monkeypatch, capsys, *words)
    assert (returned, printed) == (code, "")
    *usage, last = errors.splitlines()
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


@pytest.mark.parametrize("out", [".", "photos", "photos/new/found", "link/found"])
@pytest.mark.parametrize(
    ("script", "options"), [("region_search.py", ("--like", "like.png")), ("make_dataset.py", ("--boxes", BOXES))]
)
def test_nothing_is_written_among_the_photographs(
    script: str,
    options: tuple[object, ...],
    out: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_photographs(tmp_path / "photos", 1, shorter=64)
    Path("link").symlink_to("photos")
    copyfile(PHOTO, "like.png")
    before = sorted(tmp_path.rglob("*"))
    place = "." if out == "." else "photos"
    message = f"error: --out: expected a folder outside {place}, which has photographs, got {out}\n"
    assert run_here(monkeypatch, capsys, script, "photos", "like.png", *options, "--out", out) == (1, "", message)
    assert sorted(tmp_path.rglob("*")) == before


def make_table(folder: Path, count: int) -> tuple[Path, Path]:
    """Write photographs with a box on each, and return their folder and the table of the boxes."""
    names = [path.name for path in write_photographs(folder / "photos", count, shorter=64)]
    table = folder / "boxes.csv"
    table.write_text("image,x1,y1,x2,y2\n" + "".join(f"{name},1,2,30,40\n" for name in names))
    return folder / "photos", table


def test_a_dataset_is_not_mixed_with_another_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photographs, table = make_table(tmp_path, 4)
    out = tmp_path / "out"

    def make(every: int) -> tuple[int, str, str]:
        options = ("--boxes", table, "--out", out, "--val-every", every)
        return run_here(monkeypatch, capsys, "make_dataset.py", photographs, *options)

    def contents() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}

    assert make(2)[::2] == (0, "")
    first = contents()
    assert len(first) == 4 + 2
    expected = "error: --out: expected no dataset there, or one with the same split, got "
    for every in (100, 3):
        code, printed, errors = make(every)
        assert (code, printed, errors.startswith(expected), errors.count("\n")) == (1, "", True, 1)
        assert contents() == first
    assert make(2)[::2] == (0, ""), "the same split is written again"
    assert contents() == first


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ({"images": [{"file_name": "cat.jpg"}]}, "has cat.jpg"),
        ({"images": None}, "is no COCO file"),
        ([], "is no COCO file"),
    ],
)
def test_annotations_of_other_images_are_kept(
    content: object, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photographs, table = make_table(tmp_path, 1)
    train = tmp_path / "out" / "train"
    train.mkdir(parents=True)
    annotations = train / "annotations.json"
    annotations.write_text(json.dumps(content))
    words = ("make_dataset.py", photographs, "--boxes", table, "--out", train.parent)
    expected = f"--out: expected no dataset there, or one with the same split, got {train}, and {annotations} {what}"
    assert run_here(monkeypatch, capsys, *words) == (1, "", f"error: {expected}\n")
    assert json.loads(annotations.read_text()) == content


@pytest.mark.parametrize(
    ("script", "file", "expected"),
    [
        ("demo.py", "photographs/mine.jpg", "a new folder, or that of an earlier demo"),
        ("demo.py", "features/_manifest.json", "a new folder, or that of an earlier demo"),
        ("aerial_drawings.py", "plane/mine.png", "a new folder, or one of these drawings"),
    ],
)
def test_files_of_others_are_kept(
    script: str,
    file: str,
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)  # the demo leaves it
    own = tmp_path / file
    own.parent.mkdir()
    own.write_text("mine")
    folder = tmp_path if script == "demo.py" else own.parent
    argument = "output" if script == "demo.py" else "out"
    message = f"error: {argument}: expected {expected}, got {folder}, which contains {own}\n"
    assert run_here(monkeypatch, capsys, script, tmp_path) == (1, "", message)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [own]


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
