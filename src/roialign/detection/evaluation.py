"""Average precision on a COCO-format dataset, computed by COCO's own code."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any

import torch
from torch import Tensor

from .._extras import require
from .._text import counted, one_line
from ..files.coco import Identity, Table, box_of, is_number
from ..files.problems import DatasetError, Problems
from ..files.run_lengths import area_of, encoded, run_lengths_of
from ..files.text import quoted
from ..torch.devices import check_device
from .coco import CocoDataset
from .models import TwoStageDetector

#: COCO's evaluation types, by what is compared.
KINDS = {"box": "bbox", "mask": "segm"}
#: COCO's area ranges, in the order of its tables.
SIZES = ("all", "small", "medium", "large")
#: Pixels with at least this probability belong to an object.
MASK_THRESHOLD = 0.5

Row = dict[str, Any]


def evaluate_model(
    model: TwoStageDetector,
    dataset: CocoDataset,
    *,
    device: str | torch.device | None = None,
    progress: Callable[[], None] | None = None,
    category_ids: Sequence[int | None] | None = None,
    problems: Problems | None = None,
) -> dict[str, Any]:
    """Compute COCO's average precision of a model on a dataset.

    Concretely, ``evaluate_model(model, dataset)["box"]["AP"]`` is the area under the precision-recall curve, averaged
    over the overlaps 0.50, 0.55, ..., 0.95 and over the classes.

    Parameters
    ----------
    model : TwoStageDetector
        The model, in training or evaluation mode. Its mode is restored afterwards.
    dataset : CocoDataset
        The images and their ground truth.
    device : str or torch.device, default that of the model
        The device to run on. The model is moved there.
    progress : function, optional
        Called without arguments after every image.
    category_ids : sequence, default ``dataset.category_ids``
        The category of the dataset for each label 1, 2, ... of the model, or None for a label without one. See
        :func:`match_categories`.
    problems : Problems, default those of the dataset
        Collects the images that cannot be read or on which detection fails. The other images are evaluated.

    Returns
    -------
    dict
        ``images``, the number of images; ``box``; and ``mask`` if the model has masks. See :func:`average_precision`.

    Raises
    ------
    DatasetError
        If no image can be read. If the dataset is `strict`, for the first image that cannot be read.
    ValueError
        If the model and the dataset have different numbers of classes and `category_ids` is not given.
    """
    rows, images = predict(
        model, dataset, device=device, progress=progress, category_ids=category_ids, problems=problems
    )
    if not images:
        raise DatasetError(f"{dataset.annotations}: no image could be evaluated")
    kinds = KINDS if has_masks(model) else ("box",)
    return {"images": len(images), **{kind: average_precision(dataset, rows, kind, images) for kind in kinds}}


def has_masks(model: TwoStageDetector) -> bool:
    """Whether the detections of the model have masks."""
    return model.roi_heads.mask_branch is not None


def predict(
    model: TwoStageDetector,
    dataset: CocoDataset,
    *,
    device: str | torch.device | None = None,
    progress: Callable[[], None] | None = None,
    category_ids: Sequence[int | None] | None = None,
    problems: Problems | None = None,
    indices: Sequence[int] | None = None,
) -> tuple[list[Row], list[Identity]]:
    """Return the detections in COCO's results format, and the ids of the images that were processed.

    `indices` selects images by their position in the dataset. By default, all are used.
    """
    meaning = dataset.category_ids if category_ids is None else category_ids
    classes = model.roi_heads.num_classes - 1
    if len(meaning) != classes:
        raise ValueError(f"category_ids: expected {classes}, one per class of the model, got {len(meaning)}")
    device = next(model.parameters()).device if device is None else check_device(device)
    model.to(device)
    reported = dataset.problems if problems is None else problems
    _remark_unknown(dataset, meaning, reported)
    rows: list[Row] = []
    images: list[Identity] = []
    with evaluating(model):
        for index in range(len(dataset)) if indices is None else indices:
            try:
                image, target = dataset[index]
                of_image = coco_rows(model([image.to(device)])[0], target["image_id"], meaning)
            except DatasetError as error:
                if dataset.strict:
                    raise DatasetError(one_line(error)) from error
                reported.add(dataset.path(index), str(error).removeprefix(f"{dataset.path(index)}: "))
            except Exception as error:  # any error: the other images are still processed
                if dataset.strict:
                    raise DatasetError(one_line(f"{dataset.path(index)}: {detection_failed(error)}")) from error
                reported.add(dataset.path(index), detection_failed(error))
            else:
                images.append(target["image_id"])
                rows += of_image
            if progress is not None:
                progress()
    return rows, images


def _remark_unknown(dataset: CocoDataset, known: Sequence[int | None], problems: Problems) -> None:
    """That the set has objects which the model cannot find, by their names."""
    used = {row["category_id"] for row in dataset.records["annotations"]}
    by_name = zip(dataset.class_names, dataset.category_ids, strict=True)
    unknown = [name for name, number in by_name if number in used and number not in known]
    if unknown:
        what = f"the model does not know {_names([quoted(name) for name in unknown])}: average precision 0 for these"
        problems.remark(f"{dataset.annotations}: categories", what, "unknown categories")


def detection_failed(error: Exception) -> str:
    """The text of a problem for an image on which the model failed."""
    said = str(error).strip().partition("\n")[0] or type(error).__name__
    memory = isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "allocate memory" in said
    return f"detection failed: {'not enough memory' if memory else said}"


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Context manager: evaluation mode without gradients. The previous mode is restored at the end."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


def coco_rows(found: Mapping[str, Tensor], image_id: Identity, category_ids: Sequence[int | None]) -> list[Row]:
    """The detections of one image in COCO's results format. Labels without a category are left out."""
    boxes = found["boxes"].cpu().double()
    boxes[:, 2:] -= boxes[:, :2]
    scores, labels = found["scores"].tolist(), found["labels"].tolist()
    rows: list[Row] = []
    for index, (box, score, label) in enumerate(zip(boxes.tolist(), scores, labels, strict=True)):
        category = category_ids[label - 1]
        if category is None:
            continue
        row: Row = {"image_id": image_id, "category_id": category, "bbox": box, "score": score}
        if "masks" in found:
            row["segmentation"] = encoded((found["masks"][index, 0] > MASK_THRESHOLD).cpu().numpy())
        rows.append(row)
    return rows


def match_categories(
    classes: Sequence[str], dataset: CocoDataset, category_ids: Sequence[int] | None = None
) -> list[int | None]:
    """Match the classes of a model to the categories of a dataset by name. A class without a match gives None.

    If several categories have the same name, the one whose id is in the model's own `category_ids` is used. Otherwise,
    the first category is matched to the first class of that name, the second to the second, and so on.

    Raises
    ------
    ValueError
        If no name is shared: the model was trained for other classes.
    """
    free = list(zip(dataset.class_names, dataset.category_ids, strict=True))
    matched: list[int | None] = [None] * len(classes)
    own = [None] * len(classes) if category_ids is None else list(category_ids)
    for by_number in (True, False):
        for index, (name, number) in enumerate(zip(classes, own, strict=True)):
            fitting = [one for one in free if one[0] == name and (not by_number or one[1] == number)]
            if matched[index] is None and fitting:
                matched[index] = fitting[0][1]
                free.remove(fitting[0])
    if not any(number is not None for number in matched):
        raise ValueError(
            f"classes: the model knows {_names(classes)}, the set {_names(dataset.class_names)}: none is shared; "
            "name the model's classes as the set does (--classes)"
        )
    return matched


def _names(names: Sequence[str], most: int = 20) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def average_precision(
    dataset: CocoDataset,
    rows: Sequence[Row],
    kind: str,
    images: Sequence[Identity] | None = None,
    problems: Problems | None = None,
) -> dict[str, Any]:
    """Compute COCO's average precision of detections. A value is None if the dataset has no such object.

    Objects are clipped to their image, and objects outside it are left out. Objects and detections get new ids, because
    COCO's code gives some ids a special meaning.

    Parameters
    ----------
    dataset : CocoDataset
        The ground truth.
    rows : sequence of dict
        The detections in COCO's results format.
    kind : "box" or "mask"
        What is compared.
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
    require("detection", "pycocotools")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    if kind not in KINDS:
        raise ValueError(f"kind: expected one of {', '.join(KINDS)}, got {kind!r}")
    wanted = {row["id"] for row in dataset.rows} if images is None else set(images)
    chosen = sorted(
        (row for row in dataset.rows if row["id"] in wanted), key=lambda row: (str(type(row["id"])), row["id"])
    )
    reported = dataset.problems if problems is None else problems
    with redirect_stdout(io.StringIO()):  # COCO's code prints to stdout
        truth, found = COCO(), COCO()
        truth.dataset = _section(dataset, chosen, _truth_rows(dataset, chosen, kind))
        found.dataset = _section(dataset, chosen, _found_rows(dataset, rows, chosen, kind, reported))
        truth.createIndex()
        found.createIndex()
        evaluation = COCOeval(truth, found, KINDS[kind])
        evaluation.evaluate()
        evaluation.accumulate()
    # Axes: overlap, recall, class, area range, maximum number of detections. The value is -1 if there is no object.
    precision = evaluation.eval["precision"][..., -1]
    recall = evaluation.eval["recall"][:, :, 0, -1]
    overlaps = [f"{overlap:.2f}" for overlap in evaluation.params.iouThrs]
    every = precision[..., 0]
    if _mean(every) is None:
        images_text = counted(len(chosen), "image that counts", "images that count")
        what = f"no object in the {images_text}: there is no average precision"
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


def unique_names(dataset: CocoDataset) -> list[str]:
    """The names of the classes. A name that several classes have gets the id appended."""
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
    """The objects of the images, the same as in training."""
    labels = {number: label for label, number in enumerate(dataset.category_ids, start=1)}
    rows = []
    for number, image in enumerate(images, start=1):
        for found in dataset.objects(image):
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
            box = box_of(row, positive=False)
            if min(box[2:]) < 0 or not is_number(row.get("score")):
                raise DatasetError(
                    f"expected a score, and a box of no negative side, got {quoted(row.get('score'))}, {box}"
                )
            mask = run_lengths_of(row.get("segmentation"), image["height"], image["width"]) if kind == "mask" else None
        except ValueError as error:
            if dataset.strict:
                raise DatasetError(f"detections[{index}]: {error}") from error
            problems.add(f"detections[{index}]", error)
            continue
        if image["id"] in numbers:
            area = box[2] * box[3] if mask is None else area_of(mask)
            numbered = {"image_id": numbers[image["id"]], "category_id": label, "bbox": box, "score": row["score"]}
            found.append({**numbered, "iscrowd": 0, "area": area, "segmentation": mask})
    return found
