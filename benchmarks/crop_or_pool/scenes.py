"""Scenes of objects that are known: pieces of photographs, pasted on textured ground, and boxes around nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import skimage.data
from PIL import Image
from sklearn.datasets import load_sample_image

from roialign.detection.scene_objects import Drawings
from roialign.detection.scenes import SceneSettings, draw_scene
from roialign.files.problems import Problems

Array = np.ndarray[Any, np.dtype[Any]]

PHOTOGRAPHS = ("china", "flower", "astronaut", "cat", "coffee", "rocket")
#: Pixels of the side of a piece. A piece whose grey levels deviate less has nothing on it.
PIECE, LEAST_DEVIATION = 100, 25.0
#: The side of a scene, the longer side of an object, and its largest rotation in degrees.
SIDE, OBJECT_SIZE, MAX_ANGLE = 640, (40, 120), 15.0
#: An object is seen a little larger or smaller, brighter or darker in each scene; more objects than this do not fit.
MOST_OBJECTS = 20
#: The label of a box around nothing.
NOTHING = -1


class Boxed(NamedTuple):
    """A scene with its boxes."""

    pixels: Array
    """uint8 ``[H, W, 3]``"""
    boxes: Array
    """float64 ``[K, 4]``: x1, y1, x2, y2; those of objects come first."""
    labels: Array
    """int64 ``[K]``: which piece it is, or :data:`NOTHING`."""


def write_pieces(folder: Path) -> int:
    """Write pieces of photographs as PNG files with round corners; return how many there are."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, columns = np.mgrid[-1 : 1 : PIECE * 1j, -1 : 1 : PIECE * 1j]
    alpha = np.uint8(255 * (np.abs(rows) ** 4 + np.abs(columns) ** 4 <= 1))
    count = 0
    for name in PHOTOGRAPHS:
        bundled = name in ("china", "flower")
        photograph = np.asarray(load_sample_image(f"{name}.jpg") if bundled else getattr(skimage.data, name)())
        for top in range(0, photograph.shape[0] - PIECE + 1, PIECE):
            for left in range(0, photograph.shape[1] - PIECE + 1, PIECE):
                piece = photograph[top : top + PIECE, left : left + PIECE]
                if piece.mean(axis=2).std() >= LEAST_DEVIATION:
                    Image.fromarray(np.dstack([piece, alpha])).save(folder / f"{name}_{top:03}_{left:03}.png")
                    count += 1
    return count


def draw_scenes(pieces: Path, count: int, boxes: int, seed: int) -> Iterator[Boxed]:
    """Scenes with up to so many objects, and with boxes around nothing in particular to make up the number."""
    problems = Problems()
    objects = Drawings(pieces, problems)
    assert not list(problems)
    wanted = min(boxes, MOST_OBJECTS)
    settings = SceneSettings(SIDE, (wanted, wanted), OBJECT_SIZE, MAX_ANGLE, seed=seed)
    for index in range(count):
        scene = draw_scene(settings, "train", index, objects)
        random = np.random.default_rng([seed, boxes, index])
        found = np.array([_box_of(mask) for mask in scene.masks]).reshape(-1, 4)
        others = _boxes_of_nothing(random, boxes - len(found))
        labels = np.concatenate([scene.labels, np.full(len(others), NOTHING)])
        pixels = np.clip(scene.image * random.uniform(0.75, 1.15), 0, 255).astype(np.uint8)
        yield Boxed(pixels, np.concatenate([found, others]), labels)


def _box_of(mask: Array) -> list[float]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return [float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)]


def _boxes_of_nothing(random: np.random.Generator, count: int) -> Array:
    sizes = random.uniform(*OBJECT_SIZE, (count, 2))
    corners = random.uniform(0, SIDE - sizes)
    return np.concatenate([corners, corners + sizes], axis=1)
