"""Detect objects in images, write the detections, and draw them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..files.images import upright_size
from ..files.kinds import real_path
from ..files.problems import DatasetError, FileError, Problems
from ..files.run_lengths import RunLengths, area_of
from ..files.text import read_json
from ..files.writing import atomic_write, not_written
from .average_precision import Row
from .coco import open_image, read_part
from .evaluation import Advance, coco_rows, evaluating, failed
from .heads import MASK_THRESHOLD
from .model_inputs import for_model
from .models import TwoStageDetector
from .patch_detection import PatchMask, detect_in_patches
from .patches import PatchSettings, read_reduced
from .rotated_boxes import corners
from .settings import DetectorSettings

#: The name of the file with all detections.
RESULTS_FILE = "detections.json"
#: The names of the pictures that :func:`picture_names` makes.
PICTURE_NAME = re.compile(r".*-detections(-[0-9]+)?\.png", re.DOTALL)
#: The longer side of the picture of an image that is cut into patches, in pixels.
LONGEST_PICTURE = 4000


@dataclass(frozen=True, slots=True)
class Found:
    """One image with its detections."""

    image: Path
    picture: Path | None
    """None if it could not be drawn or written."""
    count: int
    best: str
    """The name and score of the best detection, or an empty string."""


def detect_images(
    model: TwoStageDetector,
    settings: DetectorSettings,
    images: Sequence[Path],
    out: Path,
    problems: Problems,
    *,
    score_threshold: float = 0.5,
    progress: Callable[[], None] | None = None,
    patches: PatchSettings | None = None,
) -> list[Found]:
    """Detect objects in images, and write ``out/detections.json`` and one picture per image.

    Concretely, the file has ``images``, ``categories`` and ``annotations``, as a COCO-format dataset does. Each
    annotation also has a `score` and a `category_name`. If an image cannot be read, or detection fails on it, it is
    reported as a problem and the other images are still processed. A picture that cannot be written is a problem too,
    but its image is in the file.

    Parameters
    ----------
    model : TwoStageDetector
        It runs on its current device.
    images : sequence of Path
        The images. Photographs are rotated upright, and coordinates refer to the upright image.
    out : Path
        The output folder, created if it does not exist. The pictures are ``NAME-detections.png``.
    score_threshold : float, default 0.5
        Detections with a lower score are left out.
    progress : function, optional
        Called without arguments after every image, or after every patch: see :func:`patch_count_of`.
    patches : PatchSettings, optional
        How to cut large images into patches: see :func:`detect_in_patches`. The pictures have at most 4000 pixels per
        side. By default, the model runs on whole images.
    """
    out.mkdir(parents=True, exist_ok=True)
    pictures = picture_names(images, out)
    rows: list[Row] = []
    annotations: list[Row] = []
    done: list[Found] = []
    with evaluating(model):
        for path, picture in zip(images, pictures, strict=True):
            advance = Advance(progress)
            try:
                one = _detect(model, path, patches, score_threshold, advance)
                found = coco_rows(one.detections, len(rows) + 1, settings.category_ids, one.outlines())
            except DatasetError as error:
                problems.add(path, str(error).removeprefix(f"{path}: "))
            except Exception as error:  # any error: the other images are still processed
                problems.add(path, failed("detection", error))
            else:
                rows.append({"id": len(rows) + 1, "file_name": str(path), "width": one.width, "height": one.height})
                annotations += _annotations(found, len(annotations), settings)
                first = one.detections
                best = f"{_name(settings, first['labels'][0])} {float(first['scores'][0]):.2f}" if found else ""
                drawn = picture if _is_drawn(picture, one, settings, problems) else None
                done.append(Found(path, drawn, len(found), best))
            finally:
                if progress is not None:
                    advance.to(1 if patches is None else patches.count(*_size_of(path)))
    categories = [{"id": n, "name": name} for n, name in zip(settings.category_ids, settings.classes, strict=True)]
    content = {"categories": categories, "images": rows, "annotations": annotations}
    try:
        with atomic_write(out / RESULTS_FILE) as file:
            file.write(json.dumps(content).encode())
    except OSError as error:
        raise FileError(f"{out / RESULTS_FILE}: {not_written(error)}") from error
    return done


@dataclass(frozen=True, slots=True)
class _Detected:
    """The detections on an image, and what is needed to draw them."""

    width: int
    height: int
    image: torch.Tensor
    """The image, or a reduced one, ``[3, H, W]``."""
    block: tuple[int, int]
    """The height and width of the pixels of `image`, in pixels of the image."""
    detections: dict[str, torch.Tensor]
    masks: list[PatchMask]
    """The masks of detections in patches."""
    in_patches: bool

    def outlines(self) -> list[RunLengths]:
        return [mask.in_image(self.height, self.width) for mask in self.masks]


def _detect(
    model: TwoStageDetector,
    path: Path,
    patches: PatchSettings | None,
    score_threshold: float,
    progress: Callable[[], None],
) -> _Detected:
    """Detect objects in an image, whole or in patches."""
    picture = open_image(path, large=patches is not None)
    masks: list[PatchMask] = []
    if patches is None:
        image, block = read_part(picture), (1, 1)
        detections = model([for_model(image, model)])[0]
    else:
        detections, masks = detect_in_patches(model, picture, patches, progress)
        image, block = read_reduced(picture, LONGEST_PICTURE)
    sure = detections["scores"] >= score_threshold
    masks = [mask for mask, is_sure in zip(masks, sure.tolist(), strict=False) if is_sure]
    detections = {name: values[sure].cpu() for name, values in detections.items()}
    return _Detected(picture.width, picture.height, image, block, detections, masks, patches is not None)


def patch_count_of(images: Sequence[Path], patches: PatchSettings) -> int:
    """The number of patches of images. An image whose size cannot be read counts as one.

    Raises
    ------
    ValueError
        If there are more than 10 million.
    """
    return patches.total(_size_of(path) for path in images)


def _size_of(path: Path) -> tuple[int, int]:
    try:
        return upright_size(path, large=True)
    except FileError:
        return 1, 1


def picture_names(images: Sequence[Path], out: Path) -> list[Path]:
    """A file name for the picture of each image, all different and none of them an input image."""
    taken = {real_path(image) for image in images}
    names = []
    for image in images:
        number, path = 1, out / f"{image.stem}-detections.png"
        while real_path(path) in taken:
            number += 1
            path = out / f"{image.stem}-detections-{number}.png"
        taken.add(real_path(path))
        names.append(path)
    return names


def earlier_results(images: Sequence[Path], out: Path) -> list[Path]:
    """The images that are pictures of an earlier run in the same output folder.

    These are the files in `out` that have the name of a picture, if `out` has a ``detections.json``. A file that
    ``detections.json`` names as an image was detected on, so it is not a picture.
    """
    if not (out / RESULTS_FILE).is_file():
        return []
    folder, detected = real_path(out), _detected_names(out / RESULTS_FILE)
    return [
        path
        for path in images
        if PICTURE_NAME.fullmatch(path.name) and path.name not in detected and real_path(path.parent) == folder
    ]


def _detected_names(results: Path) -> set[str]:
    """The names of the images in a results file. There is none if the file is not what a run writes."""
    try:
        return {Path(row["file_name"]).name for row in read_json(results)["images"]}
    except (ValueError, OSError, LookupError, TypeError):
        return set()


def _name(settings: DetectorSettings, label: torch.Tensor | int) -> str:
    return settings.classes[int(label) - 1]


def _annotations(found: Sequence[Row], count: int, settings: DetectorSettings) -> list[dict[str, Any]]:
    """Convert results to annotations with ids, names and areas."""
    names = dict(zip(settings.category_ids, settings.classes, strict=True))
    annotations = []
    for number, row in enumerate(found, start=count + 1):
        outline = row.get("segmentation")
        of_box = row["bbox"][2] * row["bbox"][3]
        area = row["area"] if "area" in row else of_box if outline is None else area_of(outline)
        named = {"category_name": names[row["category_id"]], "area": area, "iscrowd": 0}
        annotations.append({"id": number, **row, **named})
    return annotations


def _is_drawn(path: Path, one: _Detected, settings: DetectorSettings, problems: Problems) -> bool:
    """Draw a picture. If that fails, add a problem."""
    try:
        _draw(path, one, settings)
    except OSError as error:
        problems.add(path, not_written(error))
    except Exception as error:  # any error: the detections are still written
        problems.add(path, failed("drawing", error))
    else:
        return True
    return False


def _draw(path: Path, one: _Detected, settings: DetectorSettings) -> None:
    from .drawing import DOTS, SIDE, Drawn, draw_detections  # Matplotlib takes a second to load

    found, (down, across) = one.detections, one.block
    count = len(found["scores"])
    boxes = (found["boxes"] / found["boxes"].new_tensor([across, down, across, down])).tolist()
    polygons: list[Any] = [None] * count
    if "rotated_boxes" in found:
        points = corners(found["rotated_boxes"])
        polygons = list((points / points.new_tensor([across, down])).numpy())
    masks = _drawn_masks(one)
    names = [_name(settings, label) for label in found["labels"].tolist()]
    values = zip(boxes, names, found["scores"].tolist(), found["labels"].tolist(), masks, polygons, strict=True)
    drawn = [
        Drawn(tuple(box), name, score, label, mask, polygon, origin)
        for box, name, score, label, (mask, origin), polygon in values
    ]
    side = max(SIDE, max(one.image.shape) / DOTS) if one.in_patches else SIDE
    draw_detections(path, one.image.numpy(), drawn, side)


def _drawn_masks(one: _Detected) -> list[tuple[Any, tuple[int, int]]]:
    """The mask of each detection in the picture, or None, and the column and row of its first pixel."""
    found, (down, across) = one.detections, one.block
    if "masks" in found:
        return [(mask, (0, 0)) for mask in found["masks"][:, 0].gt(MASK_THRESHOLD).numpy()]
    if not one.masks:
        return [(None, (0, 0))] * len(found["scores"])
    height, width = one.image.shape[1:]
    drawn = []
    for mask in one.masks:
        pixels, x, y = mask.pixels()
        x, y, pixels = -(-x // across), -(-y // down), pixels[-y % down :: down, -x % across :: across]
        drawn.append((pixels[: max(height - y, 0), : max(width - x, 0)], (x, y)))
    return drawn
