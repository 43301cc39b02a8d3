"""Scenes of drawings: what is in a folder, where it was put, and under what name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from roialign.detection import CocoDataset, SceneSettings, draw_scene
from roialign.detection.coco import find_split
from roialign.detection.scene_objects import Drawings
from roialign.files.problems import FileError, Problems
from tests.commands.invoked import invoke, told

SETTINGS = SceneSettings(image_size=160, objects=(3, 5), object_size=(24, 48))
#: Of discs, in the order of their files: the fifth is held out.
DISCS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255)]
SQUARE = (0, 255, 255)


def disc(colour: tuple[int, int, int]) -> Image.Image:
    """One disc of 40 pixels amid transparent ones, which have a colour of their own."""
    image = Image.new("RGBA", (80, 100), (255, 255, 255, 0))
    ImageDraw.Draw(image).ellipse((10, 30, 49, 69), fill=(*colour, 255))
    return image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    discs = tmp_path / "drawings" / "disc" / "coloured"
    discs.mkdir(parents=True)
    for index, colour in enumerate(DISCS):
        disc(colour).save(discs / f"{index}.png")
    Image.new("RGB", (30, 30), SQUARE).save(tmp_path / "drawings" / "square.png")
    return tmp_path / "drawings"


def test_folders_are_classes_and_a_file_in_none_is_its_own(folder: Path) -> None:
    assert Drawings(folder, Problems()).names == ("disc", "square")


@pytest.mark.parametrize("split", ["train", "val"])
def test_objects_are_where_their_masks_are_in_their_colours(split: str, folder: Path) -> None:
    drawings = Drawings(folder, Problems())
    seen: dict[int, set[tuple[int, ...]]] = {0: set(), 1: set()}
    for index in range(8):
        scene = draw_scene(SETTINGS, split, index, drawings)
        for mask, label in zip(scene.masks, scene.labels.tolist(), strict=True):
            rows, columns = np.nonzero(mask)
            sides = np.ptp(rows) + 1, np.ptp(columns) + 1
            if label == 0:
                assert abs(sides[0] - sides[1]) <= 1
                assert mask.sum() / np.prod(sides) == pytest.approx(np.pi / 4, abs=0.06)
            middle = scene.image[int(rows.mean()), int(columns.mean())]
            seen[label].add(tuple(int(value) for value in np.rint(middle / 255) * 255))
    assert seen == {0: set(DISCS[:4] if split == "train" else DISCS[4:]), 1: {SQUARE}}


def test_edges_have_nothing_of_the_transparent_pixels(folder: Path) -> None:
    """White, here: at the edge of a red disc, 40 % of it or more, little of the grey ground is left."""
    for path in (folder / "disc" / "coloured").glob("[1-4].png"):
        path.unlink()
    (folder / "square.png").unlink()
    scene = draw_scene(SETTINGS, "train", 0, Drawings(folder, Problems()))
    around = scene.image[scene.masks.any(axis=0)]
    assert len(scene.masks)
    assert around[:, 1:].max() < 140


def test_the_command_draws_a_data_set(folder: Path, tmp_path: Path) -> None:
    (folder / "broken.png").write_bytes(b"\x89PNG")
    Image.new("RGBA", (9, 9)).save(folder / "nothing.png")
    arguments = ("scenes", tmp_path / "set", "--objects", folder, "--train", 2, "--val", 1, "--image-size", 96)
    done = invoke(*arguments)
    assert done.exit_code == 1, "two files were left out"
    broken, nothing = told(done)
    assert broken.startswith(f"{folder / 'broken.png'}: cannot be read as an image")
    assert nothing == f"{folder / 'nothing.png'}: expected a drawing, got only transparent pixels"
    content = json.loads((tmp_path / "set" / "train" / "annotations.json").read_text())
    assert [(each["id"], each["name"]) for each in content["categories"]] == [(1, "disc"), (2, "square")]
    assert content["info"]["description"].startswith("synthetic scenes: drawings of drawings")
    assert len(CocoDataset(*find_split(tmp_path / "set", "train"))) == 2


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("empty", "expected at least one usable PNG file, got none"),
        ("missing", "no such folder"),
        ("file.png", "expected a folder, found a file"),
    ],
)
def test_a_folder_without_drawings_is_named(name: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.png").touch()
    with pytest.raises(FileError, match=f"{name}: {why}"):
        Drawings(tmp_path / name, Problems())
