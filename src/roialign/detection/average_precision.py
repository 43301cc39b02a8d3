"""Average precision on a dataset: COCO's, computed by COCO's own code, and DOTA's."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from typing import Any

from .._extras import require
from .._text import counted
from ..files.coco import box_of, rotated_box_of
from ..files.problems import DatasetError, Problems
from ..files.rows import Identity, Table, is_number
from ..files.run_lengths import area_of, run_lengths_of
from ..files.text import quoted
from .coco import CocoDataset
from .rotated_data import RotatedDataset
from .rotated_evaluation import RotatedOverlaps, dota_precisions, dota_summary, rotated_truth

Row = dict[str, Any]

#: COCO's evaluation types, by what is compared.
KINDS = {"box": "bbox", "mask": "segm", "rotated_box": "bbox"}
ROTATED_BOX = "rotated_box"
#: COCO's area ranges, in the order of its tables.
SIZES = ("all", "small", "medium", "large")


def kinds_measured(*, masks: bool, rotated: bool) -> tuple[str, ...]:
    """The keys of :data:`KINDS` that are measured for a detector with or without masks or rotated boxes."""
    if rotated:
        return (ROTATED_BOX,)
    return ("box", "mask") if masks else ("box",)


def precisions(
    dataset: CocoDataset, rows: Sequence[Row], kinds: Sequence[str], images: Sequence[Identity] | None = None
) -> dict[str, Any]:
    """:func:`average_precision` of each kind; for rotated boxes also :func:`dota_average_precision`, as ``dota``."""
    figures = {kind: average_precision(dataset, rows, kind, images) for kind in kinds}
    if ROTATED_BOX in kinds:
        figures["dota"] = dota_average_precision(dataset, rows, images, Problems())  # already reported
    return figures


def average_precision(
    dataset: CocoDataset,
    rows: Sequence[Row],
    kind: str,
    images: Sequence[Identity] | None = None,
    problems: Problems | None = None,
) -> dict[str, Any]:
    """Compute COCO's average precision of detections. A value is None if the dataset has no such object.

    Objects are compared as they are annotated: a box may reach beyond its image, and an object that lies outside it is
    never found. Objects and detections get new ids, because COCO's code gives some ids a special meaning.

    Parameters
    ----------
    dataset : CocoDataset
        The ground truth.
    rows : sequence of dict
        The detections in COCO's results format.
    kind : "box", "mask" or "rotated_box"
        What is compared. For rotated boxes, the dataset is a :class:`RotatedDataset`, difficult objects are ignored,
        and the area of an object is that of its rotated box. A detection has its rotated box in `segmentation` or
        `bbox`, like the objects of such a dataset.
    images : sequence, default all
        The ids of the images to evaluate.
    problems : Problems, default those of the dataset
        Collects the detections that cannot be used; the others are evaluated. If the dataset is `strict`, such a
        detection raises an error. A dataset without objects gives a remark.

    Returns
    -------
    dict
        ``AP``, ``AP50``, ``AP75``; ``AP_small``, ``AP_medium`` and ``AP_large`` for objects with an area below 32^2
        pixels, up to 96^2 and above; ``AR``, the maximum recall with 100 detections per image; ``AP_by_iou``, by
        overlap from ``"0.50"`` to ``"0.95"``; ``AP_by_class``, by name.
    """
    chosen = _chosen(dataset, images)
    ids = {row["id"] for row in chosen}
    reported = dataset.problems if problems is None else problems
    evaluation = coco_evaluation(dataset, rows, kind, chosen, reported)
    with redirect_stdout(io.StringIO()):  # COCO's code prints to stdout
        evaluation.evaluate()
        evaluation.accumulate()
    # Axes: overlap, recall, class, area range, maximum number of detections. The value is -1 if there is no object.
    precision = evaluation.eval["precision"][..., -1]
    recall = evaluation.eval["recall"][:, :, 0, -1]
    overlaps = [f"{overlap:.2f}" for overlap in evaluation.params.iouThrs]
    every = precision[..., 0]
    outside = sum(row["id"] in ids for _, row in dataset.outside())
    if outside:
        lie = counted(outside, "object lies outside its image", "objects lie outside their images")
        reported.remark(f"{dataset.annotations}: annotations", f"{lie}: no detection can match", "objects outside")
    if _mean(every) is None:
        what = f"no object in the {counted(len(chosen), 'evaluated image')}: the average precision is undefined"
        reported.remark(dataset.annotations, what, "no object")
    by_iou = {overlap: _mean(every[index]) for index, overlap in enumerate(overlaps)}
    return {
        "AP": _mean(every),
        "AP50": by_iou["0.50"],
        "AP75": by_iou["0.75"],
        **{f"AP_{size}": _mean(precision[..., index]) for index, size in enumerate(SIZES) if index},
        "AR": _mean(recall),
        "AP_by_iou": by_iou,
        "AP_by_class": {name: _mean(every[:, :, index]) for index, name in enumerate(unique_names(dataset))},
    }


def coco_evaluation(
    dataset: CocoDataset, rows: Sequence[Row], kind: str, images: Sequence[Row], problems: Problems
) -> Any:
    """An object of pycocotools' `COCOeval` for images of the dataset, before its methods are called."""
    require("detection", "pycocotools")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    if kind not in KINDS:
        raise ValueError(f"kind: expected one of {', '.join(KINDS)}, got {kind!r}")
    if kind == ROTATED_BOX:
        _check_rotated(dataset)
    with redirect_stdout(io.StringIO()):  # COCO's code prints to stdout
        truth, found = COCO(), COCO()
        truth.dataset = _section(dataset, images, _truth_rows(dataset, images, kind))
        found.dataset = _section(dataset, images, _found_rows(dataset, rows, images, kind, problems))
        truth.createIndex()
        found.createIndex()
    evaluation = COCOeval(truth, found, KINDS[kind])
    if kind == ROTATED_BOX:
        evaluation.computeIoU = RotatedOverlaps(evaluation)
    return evaluation


def dota_average_precision(
    dataset: CocoDataset,
    rows: Sequence[Row],
    images: Sequence[Identity] | None = None,
    problems: Problems | None = None,
) -> dict[str, Any]:
    """Compute DOTA's average precision of rotated boxes, at an overlap of 0.5. A value is None if there is no object.

    It is computed as by mmrotate's `eval_rbbox_map`. Each detection is matched to the object of its image that it
    overlaps most, and each object to at most one detection. Difficult objects are ignored. The number of detections is
    not limited.

    Parameters
    ----------
    dataset, rows, images, problems : as in :func:`average_precision` for rotated boxes

    Returns
    -------
    dict
        ``AP50`` is the area under the precision-recall curve, and ``AP50_11_points`` the mean precision at the recalls
        0, 0.1, ..., 1, as in PASCAL VOC 2007, which DOTA's server reports. Both are means over the classes that have an
        object. ``AP50_by_class`` and ``AP50_11_points_by_class`` have the values of each class, by name.
    """
    _check_rotated(dataset)
    chosen = _chosen(dataset, images)
    reported = dataset.problems if problems is None else problems
    found = _found_rows(dataset, rows, chosen, ROTATED_BOX, reported)
    by_label = dota_precisions(_truth_rows(dataset, chosen, ROTATED_BOX), found, range(1, len(dataset.class_names) + 1))
    return dota_summary(dict(zip(unique_names(dataset), by_label.values(), strict=True)))


def _check_rotated(dataset: CocoDataset) -> None:
    if not isinstance(dataset, RotatedDataset):
        raise TypeError(f"dataset: expected a RotatedDataset for rotated boxes, got a {type(dataset).__name__}")


def _chosen(dataset: CocoDataset, images: Sequence[Identity] | None) -> list[Row]:
    """The rows of the images that are evaluated, sorted by their ids."""
    wanted = {row["id"] for row in dataset.rows} if images is None else set(images)
    return sorted(
        (row for row in dataset.rows if row["id"] in wanted), key=lambda row: (str(type(row["id"])), row["id"])
    )


def unique_names(dataset: CocoDataset) -> list[str]:
    """The names of the classes. If several classes have the same name, the id is appended."""
    return [
        name if dataset.class_names.count(name) == 1 else f"{name} (category {number})"
        for name, number in zip(dataset.class_names, dataset.category_ids, strict=True)
    ]


def _mean(values: Any) -> float | None:
    known = values[values > -1]
    return float(known.mean()) if known.size else None


def _section(dataset: CocoDataset, images: Sequence[Row], annotations: list[Row]) -> dict[str, Any]:
    """A dataset for COCO's code, with ids from 1, because the code treats an annotation with id 0 as unmatched."""
    sizes = [{"id": n, "height": row["height"], "width": row["width"]} for n, row in enumerate(images, start=1)]
    labels = [{"id": label, "name": ""} for label in range(1, len(dataset.class_names) + 1)]
    numbered = [{**row, "id": number} for number, row in enumerate(annotations, start=1)]
    return {"info": {}, "images": sizes, "categories": labels, "annotations": numbered}


def _truth_rows(dataset: CocoDataset, images: Sequence[Row], kind: str) -> list[Row]:
    """The objects of the images as they are annotated."""
    labels = {number: label for label, number in enumerate(dataset.category_ids, start=1)}
    rows = []
    for number, image in enumerate(images, start=1):
        for found in dataset.annotated_objects(image):
            if kind == ROTATED_BOX:
                rows.append(rotated_truth(found, number, labels[found["category_id"]]))
                continue
            row = {"image_id": number, "category_id": labels[found["category_id"]], "bbox": found["bbox"]}
            outlined = found["segmentation"] is not None
            mask = dataset.run_lengths(found, image) if kind == "mask" or ("area" not in found and outlined) else None
            if "area" in found:
                row["area"] = found["area"]
            else:
                row["area"] = area_of(mask) if mask and outlined else found["bbox"][2] * found["bbox"][3]
            rows.append({**row, "iscrowd": found["iscrowd"], "segmentation": mask})
    return rows


def _found_rows(
    dataset: CocoDataset, rows: Sequence[Row], images: Sequence[Row], kind: str, problems: Problems
) -> list[Row]:
    """The detections on the images. Invalid ones are added to `problems`."""
    numbers = {row["id"]: number for number, row in enumerate(images, start=1)}
    labels = {number: label for label, number in enumerate(dataset.category_ids, start=1)}
    every, categories = Table(dataset.rows), Table(dataset.records["categories"])
    found: list[Row] = []
    for index, row in enumerate(rows):
        try:
            if not isinstance(row, Mapping):
                raise DatasetError(f"expected an object, got {quoted(row)}")
            image = every.find(row, "image_id", "images")
            label = labels[categories.find(row, "category_id", "categories")["id"]]
            shape = rotated_box_of(row, (image["height"], image["width"]), least=None) if kind == ROTATED_BOX else {}
            box = shape["bbox"] if shape else box_of(row, positive=False)
            if min(box[2:]) < 0 or not is_number(row.get("score")):
                raise DatasetError(
                    f"expected a score and a box without negative sides, got {quoted(row.get('score'))}, {box}"
                )
            mask = run_lengths_of(row.get("segmentation"), image["height"], image["width"]) if kind == "mask" else None
        except ValueError as error:
            if dataset.strict:
                raise DatasetError(f"detections[{index}]: {error}") from error
            problems.add(f"detections[{index}]", error)
            continue
        if image["id"] in numbers:
            sides = shape["rotated_box"][2:4] if shape else box[2:]
            area = sides[0] * sides[1] if mask is None else area_of(mask)
            numbered = {"image_id": numbers[image["id"]], "category_id": label, "bbox": box, "score": row["score"]}
            found.append({**numbered, **shape, "iscrowd": 0, "area": area, "segmentation": mask})
    return found
