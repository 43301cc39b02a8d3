"""Overlaps of rotated boxes for COCO's average precision, and DOTA's average precision."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .._rotated_boxes import shares_inside
from .._typing import Array
from ..ops.rotated_iou import rotated_iou

Row = dict[str, Any]
#: The image and the class of boxes.
Group = tuple[int, int]

#: The minimum overlap of a correct detection in DOTA's average precision.
DOTA_OVERLAP = 0.5
#: The recalls of PASCAL VOC 2007, with the rounding of NumPy's `arange` in DOTA's and mmrotate's code. Because
#: of the rounding, a recall of exactly 0.3 is below the fourth of them.
RECALLS = np.arange(0.0, 1.05, 0.1)


class RotatedOverlaps:
    """Overlaps of rotated boxes, as a replacement of `computeIoU` of pycocotools' `COCOeval`.

    Concretely, it returns ``[D, G]``: the intersection over union of the detections of an image and a class, best score
    first, with the objects. For a crowd, it is the intersection as a share of the detection, as for upright boxes.
    """

    def __init__(self, evaluation: Any) -> None:
        self._evaluation = evaluation

    def __call__(self, image: int, category: int) -> Any:
        objects = self._evaluation._gts[image, category]
        found = sorted(self._evaluation._dts[image, category], key=lambda row: -row["score"])
        found = found[: self._evaluation.params.maxDets[-1]]
        if not objects or not found:
            return []
        boxes, others = boxes_of(found), boxes_of(objects)
        overlaps = rotated_iou(boxes, others, clockwise=True)
        crowds = np.array([bool(row["crowd"]) for row in objects])
        return np.where(crowds, shares_inside(boxes, others, overlaps), overlaps)


def rotated_truth(found: Row, image: int, label: int) -> Row:
    """An object of a :class:`RotatedDataset`, for pycocotools. Difficult objects are ignored, like crowds."""
    width, height = found["rotated_box"][2:4]
    ignored = {"iscrowd": max(found["iscrowd"], found["difficult"]), "crowd": found["iscrowd"]}
    own = {"rotated_box": found["rotated_box"], "bbox": found["bbox"], "area": width * height, "segmentation": None}
    return {"image_id": image, "category_id": label, **own, **ignored}


def boxes_of(rows: Sequence[Row]) -> Array:
    """The rotated boxes ``[L, 5]`` of rows."""
    return np.array([row["rotated_box"] for row in rows], dtype=np.float64).reshape(-1, 5)


def dota_precisions(objects: Sequence[Row], found: Sequence[Row], classes: Sequence[int]) -> dict[int, Row | None]:
    """DOTA's average precision of each class, or None for a class without an object.

    Concretely, the detections of a class are visited in the order of their scores, best first. Each is matched to the
    object of its image that it overlaps most. It is correct if the overlap is at least 0.5 and no better detection is
    matched to the object, and wrong otherwise. If the overlap is at least 0.5 and the object is difficult, the
    detection does not count. Difficult objects do not count either.

    Parameters
    ----------
    objects, found : sequence of dict
        Rows with `image_id`, `category_id` and `rotated_box`; of objects with `iscrowd`, which is 1 for difficult ones;
        of detections with `score`.
    classes : sequence of int
        The category ids.

    Returns
    -------
    dict
        For each class, `AP50` is the area under the curve of the highest precision at or above each recall, and
        `AP50_11_points` its mean at the recalls 0, 0.1, ..., 1, as in PASCAL VOC 2007.
    """
    truth, guesses = _grouped(objects), _grouped(found)
    images = {image for image, _ in truth} | {image for image, _ in guesses}
    values: dict[int, Row | None] = {}
    for label in classes:
        count, scores, right = 0, [], []
        for image in sorted(images):
            of_image = truth.get((image, label), [])
            best_first = sorted(guesses.get((image, label), []), key=lambda row: -row["score"])
            count += sum(not row["iscrowd"] for row in of_image)
            for row, is_right in zip(best_first, matched(best_first, of_image), strict=True):
                if is_right is not None:
                    scores.append(row["score"])
                    right.append(is_right)
        values[label] = None if count == 0 else _areas(np.array(scores), np.array(right, dtype=bool), count)
    return values


def _grouped(rows: Sequence[Row]) -> Mapping[Group, list[Row]]:
    groups: dict[Group, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["image_id"], row["category_id"]].append(row)
    return groups


def matched(found: Sequence[Row], objects: Sequence[Row], overlap: float = DOTA_OVERLAP) -> list[bool | None]:
    """Whether each detection of an image and a class, best score first, is correct. None if it does not count."""
    if not objects or not found:
        return [False] * len(found)
    overlaps = rotated_iou(boxes_of(found), boxes_of(objects), clockwise=True)
    taken: set[int] = set()
    right: list[bool | None] = []
    for best, which in zip(overlaps.max(axis=1).tolist(), overlaps.argmax(axis=1).tolist(), strict=True):
        if best >= overlap and objects[which]["iscrowd"]:
            right.append(None)
            continue
        right.append(best >= overlap and which not in taken)
        if best >= overlap:
            taken.add(which)
    return right


def _areas(scores: Array, right: Array, count: int) -> Row:
    """Both average precisions of a class with `count` objects."""
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(right[order])
    recall, precision = hits / count, hits / np.arange(1, len(hits) + 1)
    highest = np.maximum.accumulate(precision[::-1])[::-1]  # at this recall or a higher one
    steps = np.diff(recall, prepend=0.0)
    eleven = [precision[recall >= least].max(initial=0.0) for least in RECALLS]
    return {"AP50": float((steps * highest).sum()), "AP50_11_points": float(np.mean(eleven))}


def dota_summary(by_class: Mapping[str, Row | None]) -> Row:
    """The means over the classes that have an object, and the values of each class by its name."""
    summary: Row = {}
    for name in ("AP50", "AP50_11_points"):
        of_classes = {key: None if values is None else values[name] for key, values in by_class.items()}
        known = [value for value in of_classes.values() if value is not None]
        summary |= {name: float(np.mean(known)) if known else None, f"{name}_by_class": of_classes}
    return summary
