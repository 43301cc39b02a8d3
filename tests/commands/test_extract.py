"""`roialign extract` of pixels and feature maps: what it writes, says and refuses."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import roialign
from tests.commands.invoked import invoke
from tests.tables.paths import BOXES, EXAMPLES, PHOTOGRAPH


def one_line(text: str) -> str:
    """Text as it was before the terminal's width wrapped and framed it."""
    return " ".join(text.replace("\N{BOX DRAWINGS LIGHT VERTICAL}", " ").split())


@pytest.fixture
def maps(tmp_path: Path) -> dict[str, np.ndarray]:
    """Two feature maps and a box file for them."""
    generator = np.random.default_rng(0)
    arrays = {name: generator.normal(size=(4, 9, 12)).astype(np.float32) for name in ("a.npy", "b.npy")}
    for name, array in arrays.items():
        np.save(tmp_path / name, array)
    (tmp_path / "boxes.csv").write_text("image,x1,y1,x2,y2,label\nb.npy,1,2,5,6,cat\na.npy,0,0,3.3,4.4,dog\n")
    return arrays


@pytest.mark.parametrize("boxes", ["astronaut_boxes.csv", "astronaut_boxes.json", "astronaut_boxes_coco.json"])
def test_the_features_of_a_photograph_are_roi_align_of_its_pixels(tmp_path: Path, boxes: str) -> None:
    result = invoke("extract", PHOTOGRAPH, "--boxes", EXAMPLES / boxes, "--out", tmp_path / "f.npz")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert "neck ring" in result.stdout
    assert f"wrote {tmp_path / 'f.npz'}: 7 rows of 7x7 bins" in result.stdout
    with Image.open(PHOTOGRAPH) as photograph, np.load(tmp_path / "f.npz", allow_pickle=False) as written:
        pixels = np.asarray(photograph, dtype=np.float32).transpose(2, 0, 1)[None].copy()
        expected = roialign.roi_align(pixels, [written["boxes"]], 7, sampling="exact")
        np.testing.assert_array_equal(written["features"], expected)
        assert written["labels"].tolist()[:2] == ["face", "neck ring"]
        assert set(written["images"].tolist()) == {str(PHOTOGRAPH)}


def test_every_option_reaches_roi_align(tmp_path: Path, maps: dict[str, np.ndarray]) -> None:
    np.savez(tmp_path / "a.npz", first=maps["a.npy"].transpose(1, 2, 0), second=maps["b.npy"].transpose(1, 2, 0))
    (tmp_path / "boxes.json").write_text("[[1, 2, 9, 10], [0, 0, 4, 4]]")
    options = "--output-size 3x2 --spatial-scale 0.5 --sampling random --sampling-ratio 1x2 --no-aligned --seed 9"
    more = "--layout NHWC --array second --backend reference"
    paths = (tmp_path / "a.npz", "--boxes", tmp_path / "boxes.json", "--out", tmp_path / "f.npz")
    result = invoke("extract", *paths, *options.split(), *more.split())
    assert result.exit_code == 0, result.output
    boxes = [np.array([[1.0, 2, 9, 10], [0, 0, 4, 4]])]
    expected = roialign.roi_align(
        maps["b.npy"][None], boxes, (3, 2), 0.5, (1, 2), aligned=False, sampling="random", seed=9, backend="reference"
    )
    with np.load(tmp_path / "f.npz") as written:
        np.testing.assert_array_equal(written["features"], expected.transpose(0, 2, 3, 1))


@pytest.mark.usefixtures("maps")
def test_a_drawn_seed_is_in_the_result(tmp_path: Path) -> None:
    paths = (tmp_path / "a.npy", tmp_path / "b.npy", "--boxes", tmp_path / "boxes.csv")
    for name, more in (("f.npz", ()), ("g.npz", ("--seed",))):
        seed = [json.loads(str(np.load(tmp_path / "f.npz")["settings"]))["seed"]] if more else []
        options = ("--sampling", "random", "--sampling-ratio", 2, *more, *seed)
        assert invoke("extract", *paths, *options, "--out", tmp_path / name).exit_code == 0
    with np.load(tmp_path / "f.npz") as drawn, np.load(tmp_path / "g.npz") as given:
        np.testing.assert_array_equal(drawn["features"], given["features"])


def test_what_cannot_be_done_is_reported_and_the_rest_is_done(tmp_path: Path, maps: dict[str, np.ndarray]) -> None:
    (tmp_path / "broken.png").write_bytes(PHOTOGRAPH.read_bytes()[:5000])
    (tmp_path / "boxes.csv").write_text(
        "image,x1,y1,x2,y2,label\n"
        "a.npy,1,2,5,6,cat\n"
        "a.npy,1,2,5\n"
        "broken.png,1,2,5,6,dog\n"
        "unknown.png,1,2,5,6,dog\n"
        "b.npy,0,0,3,3,cow\n"
    )
    (tmp_path / "inputs.txt").write_text(f"{tmp_path / 'missing.png'}\n")
    with (tmp_path / "boxes.csv").open("a") as table:
        table.write("missing.png,1,2,5,6,dog\n")
    inputs = [tmp_path / name for name in ("a.npy", "broken.png", "b.npy", "inputs.txt")]
    result = invoke("extract", *inputs, "--boxes", tmp_path / "boxes.csv", "--out", tmp_path / "f.npz")
    assert result.exit_code == 1
    row, unknown, broken, missing, count = result.stderr.splitlines()
    assert row == f"error: {tmp_path / 'boxes.csv'}, row 1 (line 3): expected 6 fields, found 4"
    assert unknown == (
        f"error: {tmp_path / 'boxes.csv'}, row 3 (line 5): 1 box belongs to 1 image that is not among the inputs; the "
        "first is 'unknown.png'; --ignore-missing skips them"
    )
    assert broken.startswith(f"error: {tmp_path / 'broken.png'}: ")
    assert broken.endswith("; 1 box skipped")
    listed = f"{tmp_path / 'inputs.txt'}, line 1: {tmp_path / 'missing.png'}"
    assert missing == f"error: {listed}: cannot be read as an image: No such file or directory; 1 box skipped"
    assert count == "4 problems"
    with np.load(tmp_path / "f.npz") as written:
        assert written["rows"].tolist() == [0, 4]
        assert written["labels"].tolist() == ["cat", "cow"]
        for index, (name, corners) in enumerate((("a.npy", [1.0, 2, 5, 6]), ("b.npy", [0.0, 0, 3, 3]))):
            expected = roialign.roi_align(maps[name][None], [np.array([corners])], 7, sampling="exact")
            np.testing.assert_array_equal(written["features"][index], expected[0])


@pytest.mark.usefixtures("maps")
def test_an_old_result_is_kept_where_nothing_could_be_done(tmp_path: Path) -> None:
    (tmp_path / "f.npz").write_bytes(b"old")
    (tmp_path / "a.npy").write_bytes(b"broken")
    (tmp_path / "b.npy").write_bytes(b"broken")
    paths = (tmp_path / "a.npy", tmp_path / "b.npy", "--boxes", tmp_path / "boxes.csv", "--out", tmp_path / "f.npz")
    result = invoke("extract", *paths, "--plot", tmp_path / "p.png")
    assert result.exit_code == 1
    assert f"{tmp_path / 'f.npz'}: not written, because no box could be pooled" in result.stderr
    assert f"{tmp_path / 'p.png'}: not drawn, because no box was pooled" in result.stderr
    assert (tmp_path / "f.npz").read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["a.npy", "b.npy", "boxes.csv", "f.npz"]


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "No such file or directory"), ("{}", "expected a list of boxes, or a COCO object with images and annot")],
)
def test_a_box_file_that_cannot_be_read_ends_the_run(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "boxes.json").write_text(content)
    result = invoke("extract", PHOTOGRAPH, "--boxes", tmp_path / "boxes.json", "--out", tmp_path / "f.npz")
    assert result.exit_code == 1
    assert f"error: {tmp_path / 'boxes.json'}: {message}" in result.stderr
    assert not (tmp_path / "f.npz").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--output-size", "7x"], "expected a number or ROWSxCOLUMNS, got '7x'"),
        (["--output-size", "0"], "--output-size: expected at least 1, got (0, 0)"),
        (["--sampling-ratio", "-2"], "--sampling-ratio: expected at least -1"),
        (["--sampling-ratio", "70000"], "--sampling-ratio: expected at most 65536, got (70000, 70000)"),
        (["--spatial-scale", "0"], "--spatial-scale: expected a positive number, got 0.0"),
        (["--spatial-scale", "nan"], "--spatial-scale: expected a positive number, got nan"),
        (["--stride", "0"], "--stride"),
        (["--sampling", "random", "--seed", "-1"], "--seed: expected 0 <= seed < 2**64, got -1"),
        (["--sampling", "dense"], "--sampling"),
        (["--plot", "p.bmp"], "expected a name ending in .png, .pdf or .svg, got p.bmp"),
        (["--out", "nowhere/f.npz"], "nowhere is not a folder"),
        (["--out", "."], ". is a folder"),
        (["--out", "features.csv"], "expected a name ending in .npz, got features.csv"),
        (["--out", "features"], "expected a name ending in .npz, got features"),
        (["--plot", str(PHOTOGRAPH)], "is also an input, and would be overwritten"),
    ],
)
def test_a_wrong_option_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke("extract", PHOTOGRAPH, "--boxes", BOXES, *options)
    assert result.exit_code == 2
    assert message in one_line(result.stderr)
    assert os.listdir(tmp_path) == []


def test_a_chosen_box_is_drawn(tmp_path: Path) -> None:
    paths = (PHOTOGRAPH, "--boxes", BOXES, "--out", tmp_path / "f.npz", "--plot", tmp_path / "p.png")
    result = invoke("extract", *paths, "--stride", 8, "--plot-box", 2)
    assert result.exit_code == 0, result.output
    assert f"drew {tmp_path / 'p.png'}: row 2 of astronaut.png" in result.stdout
    with Image.open(tmp_path / "p.png") as picture:
        assert picture.format == "PNG"
    missing = invoke("extract", *paths, "--plot-box", 7)
    assert missing.exit_code == 1
    assert f"{tmp_path / 'p.png'}: not drawn, because row 7 was not pooled" in missing.stderr


def test_names_are_shown_as_they_are(tmp_path: Path, maps: dict[str, np.ndarray]) -> None:
    name = "[bold]a\x1b[31m.npy"
    np.save(tmp_path / name, maps["a.npy"])
    (tmp_path / "boxes.json").write_text(json.dumps([{"box": [0, 0, 2, 2], "label": "[red]cat"}, {"image": name}]))
    result = invoke("extract", tmp_path / name, "--boxes", tmp_path / "boxes.json", "--out", tmp_path / "f.npz")
    assert result.exit_code == 1
    assert "[bold]a\N{REPLACEMENT CHARACTER}[31m.npy" in result.stdout
    assert "[red]cat" in result.stdout
    assert "\x1b" not in result.output


@pytest.mark.usefixtures("maps")
def test_a_long_result_shows_its_first_rows(tmp_path: Path) -> None:
    (tmp_path / "boxes.json").write_text(json.dumps([[0, 0, index, 2] for index in range(50)]))
    result = invoke("extract", tmp_path / "a.npy", "--boxes", tmp_path / "boxes.json", "--out", tmp_path / "f.npz")
    assert result.exit_code == 0
    assert "and 30 more rows" in result.stdout
    with np.load(tmp_path / "f.npz") as written:
        assert written["features"].shape == (50, 4, 7, 7)


def command(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-W", "error", "-m", "roialign", *(str(argument) for argument in arguments)]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=120, **options)  # type: ignore[call-overload,no-any-return]


def test_the_command_as_a_process(tmp_path: Path) -> None:
    arguments = (PHOTOGRAPH, "--boxes", BOXES, "--sampling", "grid", "--sampling-ratio", 2)
    done = command("extract", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "wrote features.npz: 7 rows of 7x7 bins" in done.stdout
    with np.load(tmp_path / "features.npz") as written:
        assert written["features"].shape == (7, 3, 7, 7)
    wrong = command("extract", PHOTOGRAPH, tmp_path / "features.npz", "--boxes", BOXES, "--out", tmp_path / "g.npz")
    assert wrong.returncode == 1
    assert "features.npz: expected one array, found images, boxes, labels, rows, settings, features" in wrong.stderr


def test_a_disk_that_is_full_leaves_the_old_result(tmp_path: Path) -> None:
    def limit_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    (tmp_path / "f.npz").write_bytes(b"old")
    arguments = ("extract", PHOTOGRAPH, "--boxes", BOXES, "--out", tmp_path / "f.npz", "--output-size", 14)
    done = command(*arguments, preexec_fn=limit_files)
    assert done.returncode == 1
    assert f"error: {tmp_path / 'f.npz'}: cannot be written: File too large" in done.stderr
    assert (tmp_path / "f.npz").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f.npz"]


@pytest.mark.parametrize("options", [(), ("--backbone", "pixels")])
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("photo.png", "No such file or directory"),
        ("-", "expected a path; images cannot be read from standard input"),
        (str(PHOTOGRAPH.with_name("*")), "no such file; the shell expands patterns only without quotes"),
    ],
)
def test_a_mistyped_input_stops_the_run_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], name: str, why: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke("extract", PHOTOGRAPH, name, "--boxes", BOXES, *options)
    assert (result.exit_code, result.stderr) == (1, f"error: {name}: {why}\n")
    assert os.listdir(tmp_path) == []
