"""Detect objects in images, write the detections, and draw them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..extract.output import atomic_write, not_written
from ..files.kinds import real_path
from ..files.problems import DatasetError, FileError, Problems
from ..files.run_lengths import area_of
from .average_precision import Row
from .coco import read_image
from .evaluation import MASK_THRESHOLD, coco_rows, detection_failed, evaluating
from .models import TwoStageDetector
from .rotated_boxes import corners
from .settings import DetectorSettings

#: The name of the file with all detections.
RESULTS_FILE = "detections.json"


@dataclass(frozen=True, slots=True)
class Found:
    """One image with its detections."""

    image: Path
    picture: Path
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
) -> list[Found]:
    """Detect objects in images, and write ``out/detections.json`` and one picture per image.

    Concretely, the file has ``images``, ``categories`` and ``annotations``, as a COCO-format dataset does. Each
    annotation also has a `score` and a `category_name`. If an image cannot be read, or detection fails on it, it is
    reported as a problem and the other images are still processed.

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
        Called without arguments after every image.
    """
    out.mkdir(parents=True, exist_ok=True)
    device = next(model.parameters()).device
    pictures = picture_names(images, out)
    rows: list[Row] = []
    annotations: list[Row] = []
    done: list[Found] = []
    with evaluating(model):
        for path, picture in zip(images, pictures, strict=True):
            try:
                image = read_image(path)
                detections = model([image.to(device)])[0]
                sure = detections["scores"] >= score_threshold
                detections = {name: values[sure].cpu() for name, values in detections.items()}
                found = coco_rows(detections, len(rows) + 1, settings.category_ids)
                _draw(picture, image, detections, settings)
            except DatasetError as error:
                problems.add(path, str(error).removeprefix(f"{path}: "))
                continue
            except OSError as error:
                problems.add(picture, not_written(error))
                continue
            except Exception as error:  # any error: the other images are still processed
                problems.add(path, detection_failed(error))
                continue
            finally:
                if progress is not None:
                    progress()
            height, width = image.shape[-2:]
            rows.append({"id": len(rows) + 1, "file_name": str(path), "width": width, "height": height})
            annotations += _annotations(found, len(annotations), settings)
            best = f"{_name(settings, detections['labels'][0])} {float(detections['scores'][0]):.2f}" if found else ""
            done.append(Found(path, picture, len(found), best))
    categories = [{"id": n, "name": name} for n, name in zip(settings.category_ids, settings.classes, strict=True)]
    content = {"categories": categories, "images": rows, "annotations": annotations}
    try:
        with atomic_write(out / RESULTS_FILE) as file:
            file.write(json.dumps(content).encode())
    except OSError as error:
        raise FileError(f"{out / RESULTS_FILE}: {not_written(error)}") from error
    return done


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


def _draw(path: Path, image: torch.Tensor, found: dict[str, torch.Tensor], settings: DetectorSettings) -> None:
    from .drawing import Drawn, draw_detections  # Matplotlib takes a second to load

    count = len(found["scores"])
    masks = found["masks"][:, 0].gt(MASK_THRESHOLD).numpy() if "masks" in found else [None] * count
    polygons = corners(found["rotated_boxes"]).numpy() if "rotated_boxes" in found else [None] * count
    boxes, labels, scores = (found[name].tolist() for name in ("boxes", "labels", "scores"))
    drawn = [
        Drawn(tuple(box), _name(settings, label), score, label, mask, polygon)
        for box, label, score, mask, polygon in zip(boxes, labels, scores, masks, polygons, strict=True)
    ]
    draw_detections(path, image.numpy(), drawn)
