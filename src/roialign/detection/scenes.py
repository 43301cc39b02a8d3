"""Synthetic scenes of handwritten digits or of drawings, as a small COCO-format dataset for training."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image

from .._typing import Array
from .._validate import (
    check_bool,
    check_instance,
    check_int,
    check_number_in,
    check_path,
    check_two,
    set_checked,
)
from ..files.run_lengths import encoded
from ..files.writing import atomic_write
from .rotated_boxes import corners, hulls, to_convention
from .scene_objects import INK, Digits, SceneObjects

#: The minimum visible fraction of an object. An object is not placed if it would leave less of an earlier one.
VISIBLE = 0.5
#: The number of positions that are tried for an object before it is left out.
TRIES = 50
#: The name of the annotation file with rotated boxes.
ROTATED_FILE = "annotations_rotated.json"
#: The number of decimals of the coordinates in that file.
DECIMALS = 4
#: Elongated objects are this many times as long as others, since they are narrow.
LENGTHENED = 1.75
#: The default objects of scenes.
DIGITS = Digits()


_Number = TypeVar("_Number", int, float)


def _check_range(value: object, name: str, check: Callable[[object, str], _Number]) -> tuple[_Number, _Number]:
    low, high = check_two(value, name, "(minimum, maximum)", check)
    if low > high:
        raise ValueError(f"{name}: expected a minimum of at most the maximum, got {value!r}")
    return low, high


@dataclass(frozen=True, slots=True)
class SceneSettings:
    """The settings of scenes. Sizes are in pixels.

    Raises
    ------
    TypeError, ValueError
        If a value has another type or is out of range. The message names it.
    """

    image_size: int = 160
    """The side of an image, which is square."""
    objects: tuple[int, int] = (2, 6)
    """The minimum and maximum number of objects that are drawn. Those for which there is no room are left out."""
    object_size: tuple[int, int] = (28, 64)
    """The minimum and maximum length of the longer side of an object, before it is rotated."""
    max_angle: float = 10.0
    """The maximum rotation in degrees, in both directions. It is below 90, so that 6 and 9 can be distinguished."""
    overlap: float = 0.0
    """The maximum overlap of the boxes of two objects, as a fraction of the smaller one."""
    seed: int = 0
    """The seed of everything that is drawn at random."""
    aspect_ratios: tuple[float, float] | None = None
    """The range of the ratio of the longer to the shorter side of an object. None keeps the shape of objects."""
    rotated_boxes: bool = False
    """Whether :func:`write_scenes` also writes the rotated boxes of the objects."""

    def __post_init__(self) -> None:
        set_checked(
            self,
            image_size=check_int(self.image_size, "image_size", 1),
            objects=_check_range(self.objects, "objects", partial(check_int, lowest=0)),
            object_size=_check_range(self.object_size, "object_size", partial(check_int, lowest=1)),
            max_angle=check_number_in(self.max_angle, "max_angle", 0, 180),
            overlap=check_number_in(self.overlap, "overlap", 0, 1),
            seed=check_int(self.seed, "seed", 0),
            rotated_boxes=check_bool(self.rotated_boxes, "rotated_boxes"),
        )
        if self.aspect_ratios is not None:
            of_sides = partial(check_number_in, lowest=1)
            set_checked(self, aspect_ratios=_check_range(self.aspect_ratios, "aspect_ratios", of_sides))

    def with_cases(
        self, *, small: bool = False, rotated: bool = False, dense: bool = False, elongated: bool = False
    ) -> SceneSettings:
        """Return settings with the given hard cases switched on."""
        low, high = (8, 16) if small else (20, 40) if dense else self.object_size
        return SceneSettings(
            image_size=self.image_size,
            objects=(12, 20) if dense else self.objects,
            object_size=(round(LENGTHENED * low), round(LENGTHENED * high)) if elongated else (low, high),
            max_angle=75.0 if rotated else self.max_angle,
            overlap=0.4 if dense else self.overlap,
            seed=self.seed,
            aspect_ratios=(3.0, 7.0) if elongated else self.aspect_ratios,
            rotated_boxes=rotated or self.rotated_boxes,
        )


@dataclass(frozen=True, slots=True)
class Scene:
    """An image and its objects, in drawing order."""

    image: Array
    """The image, ``[H, W, 3]`` uint8."""
    masks: Array
    """``[L, H, W]`` bool: the visible pixels of each object."""
    labels: Array
    """``[L]``: the class of each object, from 0. For digits, it is the digit."""
    rotated_boxes: Array
    """``[L, 5]``: the box of each whole object, along its own axes, in the form of
    :mod:`roialign.detection.rotated_boxes` with convention `le90`."""


def draw_scene(settings: SceneSettings, split: str, index: int, objects: SceneObjects = DIGITS) -> Scene:
    """Draw one scene. The pixels depend only on the settings, the split, the index and the objects."""
    check_instance(settings, "settings", SceneSettings)
    check_instance(split, "split", str)
    index = check_int(index, "index", 0)
    generator = np.random.default_rng([settings.seed, index, *split.encode()])
    size = settings.image_size
    canvas = _ground(generator, size)
    masks: list[Array] = []
    boxes: list[Array] = []
    labels: list[int] = []
    rotated: list[Array] = []
    for _ in range(int(generator.integers(settings.objects[0], settings.objects[1] + 1))):
        ink, colours, label, rotated_box = objects.draw(
            generator, settings.object_size, settings.max_angle, settings.aspect_ratios, held_out=split != "train"
        )
        place = _place(generator, ink.shape, boxes, settings)
        colour = _colour(generator, canvas) if colours is None else colours
        if place is None:
            continue
        y, x = place
        mask = np.zeros((size, size), dtype=bool)
        mask[y : y + ink.shape[0], x : x + ink.shape[1]] = ink > INK
        left = [old & ~mask for old in masks]
        if not mask.any() or any(new.sum() < VISIBLE * old.sum() for new, old in zip(left, masks, strict=True)):
            continue
        window = canvas[y : y + ink.shape[0], x : x + ink.shape[1]]
        window += ink[..., None] * (colour - window)
        masks = [*left, mask]
        boxes.append(np.array([x, y, x + ink.shape[1], y + ink.shape[0]]))
        labels.append(label)
        rotated.append(np.array([x, y, 0, 0, 0]) + rotated_box)
    pixels = np.clip(np.rint(canvas * 255), 0, 255).astype(np.uint8)
    turned = to_convention(torch.from_numpy(np.array(rotated, dtype=np.float64).reshape(-1, 5))).numpy()
    return Scene(pixels, np.array(masks).reshape(-1, size, size), np.array(labels, dtype=np.int64), turned)


def _ground(generator: np.random.Generator, size: int) -> Array:
    """A background ``[size, size, 3]``: a colour with noise at several scales."""
    ground = np.tile(generator.uniform(0.3, 0.7, 3), (size, size, 1))
    for cells, strength in ((3, 0.10), (9, 0.06), (27, 0.04), (size, 0.02)):
        noise = generator.normal(0, strength, (cells, cells)).astype(np.float32)
        tint = generator.uniform(0.5, 1.0, 3)
        ground += _resized(noise, size)[..., None] * tint
    return ground


def _resized(image: Array, size: int) -> Array:
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC), dtype=np.float64)


def _place(
    generator: np.random.Generator, shape: tuple[int, ...], boxes: list[Array], settings: SceneSettings
) -> tuple[int, int] | None:
    """The top left corner of an object, or None if there is no room."""
    height, width = shape
    if max(shape) > settings.image_size:
        return None
    for _ in range(TRIES):
        y = int(generator.integers(settings.image_size - height + 1))
        x = int(generator.integers(settings.image_size - width + 1))
        box = np.array([x, y, x + width, y + height])
        if all(_covered(box, other) <= settings.overlap for other in boxes):
            return y, x
    return None


def _covered(box: Array, other: Array) -> float:
    """The overlap of two boxes as a share of the smaller one."""
    sides = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
    smaller = min(np.prod(box[2:] - box[:2]), np.prod(other[2:] - other[:2]))
    return float(np.prod(np.maximum(sides, 0)) / smaller)


def _colour(generator: np.random.Generator, canvas: Array) -> Array:
    """A colour that is clearly darker or brighter than the background."""
    brightness = 0.05 if generator.random() < 0.5 else 0.95
    tint = generator.uniform(-0.15, 0.15, 3)
    colour: Array = np.clip(brightness + tint - 0.1 * (canvas.mean() - 0.5), 0, 1)
    return colour


def write_scenes(
    folder: str | Path, counts: Mapping[str, int], settings: SceneSettings, objects: SceneObjects = DIGITS
) -> None:
    """Write ``folder/SPLIT/images/*.png`` and ``folder/SPLIT/annotations.json`` for every split in `counts`.

    With ``settings.rotated_boxes``, ``folder/SPLIT/annotations_rotated.json`` has the same objects with rotated boxes:
    `segmentation` is the polygon of the rotated box, and `bbox` its upright hull. They cover the whole object, while
    the boxes and masks in ``annotations.json`` cover only its visible part.

    ``annotations.json`` is written last, and both files are written atomically, so a split with this file is complete.
    It is never overwritten.

    Raises
    ------
    FileExistsError
        If a split already exists.
    TypeError, ValueError
        If an argument is something else.
    """
    folder = check_path(folder, "folder")
    check_instance(counts, "counts", Mapping)
    check_instance(settings, "settings", SceneSettings)
    counts = {split: check_int(count, f"counts[{split!r}]", 0) for split, count in counts.items()}
    for split in counts:
        if (folder / split / "annotations.json").exists():
            raise FileExistsError(f"{folder / split / 'annotations.json'} already exists")
    for split, count in counts.items():
        images = folder / split / "images"
        images.mkdir(parents=True, exist_ok=True)
        content: dict[str, Any] = {
            "info": {"description": f"synthetic scenes: {objects.description} on textured ground"},
            "categories": [{"id": number, "name": name} for number, name in enumerate(objects.names, 1)],
            "images": [],
        }
        annotations: list[dict[str, Any]] = []
        rotated: list[dict[str, Any]] = []
        for index in range(count):
            scene = draw_scene(settings, split, index, objects)
            name = f"{index + 1:06d}.png"
            with atomic_write(images / name) as file:
                Image.fromarray(scene.image).save(file, format="PNG")
            height, width = scene.image.shape[:2]
            content["images"].append({"id": index + 1, "file_name": name, "width": width, "height": height})
            for mask, box, label in zip(scene.masks, scene.rotated_boxes, scene.labels, strict=True):
                number = {"id": len(annotations) + 1, "image_id": index + 1, "category_id": int(label) + 1}
                annotations.append({**number, **_visible(mask)})
                rotated.append({**number, **_rotated(box)})
        if settings.rotated_boxes:
            _write(folder / split / ROTATED_FILE, {**content, "annotations": rotated})
        _write(folder / split / "annotations.json", {**content, "annotations": annotations})


def _write(path: Path, content: dict[str, Any]) -> None:
    with atomic_write(path) as file:
        file.write(json.dumps(content, separators=(",", ":")).encode())


def _visible(mask: Array) -> dict[str, Any]:
    """The fields of COCO's format for the visible pixels of an object."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    corner, end = (columns[0], rows[0]), (columns[-1] + 1, rows[-1] + 1)
    return {
        "bbox": [float(side) for side in (*corner, end[0] - corner[0], end[1] - corner[1])],
        "area": int(mask.sum()),
        "iscrowd": 0,
        "segmentation": encoded(mask),
    }


def _rotated(box: Array) -> dict[str, Any]:
    """The fields of COCO's format for the rotated box of an object."""
    one = torch.from_numpy(box)
    x1, y1, x2, y2 = hulls(one).tolist()
    return {
        "bbox": [round(side, DECIMALS) for side in (x1, y1, x2 - x1, y2 - y1)],
        "area": round(float(box[2] * box[3]), DECIMALS),
        "iscrowd": 0,
        "segmentation": [[round(side, DECIMALS) for side in corners(one).flatten().tolist()]],
    }
