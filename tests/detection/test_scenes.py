"""Drawn scenes: the same pixels for the same seed, and annotations that are right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from roialign.detection import CocoDataset, SceneSettings, draw_scene, write_scenes
from roialign.detection.coco import find_split
from tests.commands.invoked import invoke


def test_scenes_are_what_their_annotations_say(tmp_path: Path) -> None:
    settings = SceneSettings(image_size=96, objects=(2, 3), object_size=(20, 32))
    write_scenes(tmp_path, {"train": 3}, settings)
    dataset = CocoDataset(*find_split(tmp_path, "train"))
    assert len(dataset) == 3
    for index in range(3):
        image, target = dataset[index]
        scene = draw_scene(settings, "train", index)
        assert np.array_equal(np.rint(image.permute(1, 2, 0).numpy() * 255).astype(np.uint8), scene.image)
        assert np.array_equal(target["masks"].numpy(), scene.masks)
        assert target["labels"].tolist() == [label + 1 for label in scene.labels]
        for box, mask in zip(target["boxes"].tolist(), scene.masks, strict=True):
            rows, columns = np.nonzero(mask)
            assert box == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_the_seed_decides_the_files(tmp_path: Path) -> None:
    def files(name: str, seed: int) -> dict[str, bytes]:
        write_scenes(tmp_path / name, {"train": 2, "val": 1}, SceneSettings(image_size=64, seed=seed))
        root = tmp_path / name
        return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}

    first = files("first", 1)
    assert len(first) == 5
    assert files("again", 1) == first
    other = files("other", 2)
    assert all(other[name] != first[name] for name in first)
    assert first["train/images/000001.png"] != first["val/images/000001.png"]
    with pytest.raises(FileExistsError, match=r"first.train.annotations\.json already exists"):
        write_scenes(tmp_path / "first", {"train": 1}, SceneSettings(image_size=64))


def _sides(settings: SceneSettings) -> tuple[list[int], list[int]]:
    """Longer sides of the objects, and their number per scene."""
    sides, counts = [], []
    for index in range(6):
        masks = draw_scene(settings, "train", index).masks
        counts.append(len(masks))
        for mask in masks:
            rows, columns = np.nonzero(mask)
            sides.append(max(np.ptp(rows), np.ptp(columns)) + 1)
    return sides, counts


def test_the_switches_make_the_hard_cases() -> None:
    plain = SceneSettings()
    off = {"small": False, "rotated": False, "dense": False}
    sides, counts = _sides(plain)
    small_sides, _ = _sides(plain.with_cases(**{**off, "small": True}))
    _, dense_counts = _sides(plain.with_cases(**{**off, "dense": True}))
    assert max(small_sides) <= 20 < min(sides)
    assert min(dense_counts) > max(counts)
    assert plain.with_cases(**off) == plain
    turned = draw_scene(plain.with_cases(**{**off, "rotated": True}), "train", 0)
    assert not np.array_equal(turned.image, draw_scene(plain, "train", 0).image)


def test_a_pixel_belongs_to_the_object_that_is_seen_there() -> None:
    scene = draw_scene(SceneSettings().with_cases(small=False, rotated=False, dense=True), "train", 0)
    assert scene.masks.sum(axis=0).max() == 1


def test_the_command_draws_scenes_once(tmp_path: Path) -> None:
    arguments = ("scenes", str(tmp_path / "s"), "--train", "2", "--val", "1", "--image-size", "64", "--small")
    done = invoke(*arguments)
    assert (done.exit_code, done.stderr) == (0, "")
    assert len(CocoDataset(*find_split(tmp_path / "s", "train"))) == 2
    again = invoke(*arguments)
    assert again.exit_code == 1
    assert "annotations.json already exists" in again.stderr
