"""`roialign detect` on folders: which of their images it reads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from roialign.detection import save_model
from roialign.detection.model_files import MODEL_FILE
from tests.commands.invoked import invoke, told
from tests.detection.colour_detector import settings_of
from tests.detection.detectors import write_small_scenes


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / MODEL_FILE
    torch.manual_seed(0)
    settings = settings_of("faster-rcnn")
    save_model(path, settings.build(), settings)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    write_small_scenes(tmp_path / "scenes", 3)
    shutil.copytree(tmp_path / "scenes/val/images", tmp_path / "photos")
    return tmp_path / "photos"


def _detected(out: Path) -> list[str]:
    return sorted(Path(row["file_name"]).name for row in json.loads((out / "detections.json").read_text())["images"])


def test_a_folder_can_be_its_own_output_folder(photos: Path, weights: Path) -> None:
    names = sorted(path.name for path in photos.iterdir())
    first = invoke("detect", photos, "--weights", weights, "--out", photos)
    assert (first.exit_code, first.stderr, _detected(photos)) == (0, "", names)
    again = invoke("detect", photos, "--weights", weights, "--out", photos)
    assert (again.exit_code, _detected(photos)) == (0, names)
    assert again.stderr == f"note: {photos}: left out {len(names)} pictures of earlier results\n"


def test_images_in_an_output_folder_inside_are_read(photos: Path, weights: Path) -> None:
    (photos / "d").mkdir()
    first, *others = sorted(path.name for path in photos.iterdir() if path.is_file())
    (photos / first).rename(photos / "d" / first)
    for _ in range(2):
        done = invoke("detect", photos, "--weights", weights, "--out", photos / "d")
        assert (done.exit_code, _detected(photos / "d")) == (0, [first, *others])
    assert told(done, "note") == [f"{photos / 'd'}: left out {1 + len(others)} pictures of earlier results"]


def test_an_image_with_the_name_of_a_picture_is_read_and_kept(photos: Path, weights: Path) -> None:
    first = min(path for path in photos.iterdir())
    own = photos / f"{first.stem}-detections.png"
    own.write_bytes(first.read_bytes())
    for _ in range(2):
        assert invoke("detect", photos, "--weights", weights, "--out", photos).exit_code == 0
        assert own.name in _detected(photos)
    assert own.read_bytes() == first.read_bytes()


def test_only_earlier_results_are_named_as_such(photos: Path, weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "o"
    assert invoke("detect", photos, "--weights", weights, "--out", out).exit_code == 0
    done = invoke("detect", out, "--weights", weights, "--out", out)
    assert done.exit_code == 1
    assert told(done) == [f"{out}: all images in this folder are pictures of earlier results"]
    picture = next(out.glob("*-detections.png"))
    assert invoke("detect", picture, "--weights", weights, "--out", out).exit_code == 0, "given by its name"
    assert _detected(out) == [picture.name]


def test_a_list_of_files_is_named_and_the_images_are_read(photos: Path, weights: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("".join(f"{path}\n" for path in photos.iterdir()))
    message = f"{listed}: expected an image or a folder of images, got a text file; lists of files are not read"
    done = invoke("detect", listed, photos, "--weights", weights, "--out", tmp_path / "o")
    assert (done.exit_code, told(done)) == (1, [message])
    assert len(_detected(tmp_path / "o")) == len(list(photos.iterdir()))
    alone = invoke("detect", listed, "--weights", weights, "--out", tmp_path / "alone")
    assert (alone.exit_code, told(alone)) == (1, [message])
    assert not (tmp_path / "alone").exists()
