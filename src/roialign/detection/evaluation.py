"""Average precision on a COCO-format set, by COCO's own code."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..extract.problems import Problems
from ..torch.devices import check_device
from .coco import CocoDataset, DatasetError, box_outline
from .models import TwoStageDetector

#: COCO's kinds of evaluation, by what is compared.
KINDS = {"box": "bbox", "mask": "segm"}
#: COCO's ranges of area, in the order of its tables.
SIZES = ("all", "small", "medium", "large")
#: From this probability on a pixel belongs to an object.
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
    """COCO's average precision of a model on a set.

    Concretely, ``evaluate_model(model, dataset)["box"]["AP"]`` is the mean over the overlaps 0.50, 0.55, ..., 0.95 and
    the classes of the area under precision over recall.

    Parameters
    ----------
    model : TwoStageDetector
        Any mode; it is left in the mode that it came in.
    dataset : CocoDataset
    device : str or torch.device, default that of the model
        Where it runs; the model is moved there.
    progress : function, optional
        Called without arguments after every image.
    category_ids : sequence, default ``dataset.category_ids``
        What label 1, 2, ... of the model means: a category of the set, or None for one that it does not have. See
        :func:`match_categories`.
    problems : Problems, optional
        Collects the images that cannot be read, and the others are evaluated. By default they raise.

    Returns
    -------
    dict
        ``images``: how many; ``box``, and ``mask`` for a model with masks: see :func:`average_precision`.

    Raises
    ------
    DatasetError
        Naming the image that cannot be read.
    ValueError
        Where the model has another number of classes than the set, and `category_ids` does not say what they mean.
    """
    rows, images = predict(
        model, dataset, device=device, progress=progress, category_ids=category_ids, problems=problems
    )
    kinds = KINDS if has_masks(model) else ("box",)
    return {"images": len(images), **{kind: average_precision(dataset, rows, kind, images) for kind in kinds}}


def has_masks(model: TwoStageDetector) -> bool:
    """Whether its detections have masks."""
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
) -> tuple[list[Row], list[int]]:
    """Detections in COCO's format of results, and the numbers of the images that could be read.

    `indices` chooses images by their place in the set; by default it is all of them.
    """
    meaning = dataset.category_ids if category_ids is None else category_ids
    classes = model.roi_heads.num_classes - 1
    if len(meaning) != classes:
        raise ValueError(f"category_ids: expected {classes}, one per class of the model, got {len(meaning)}")
    device = next(model.parameters()).device if device is None else check_device(device)
    model.to(device)
    rows: list[Row] = []
    images: list[int] = []
    with evaluating(model):
        for index in range(len(dataset)) if indices is None else indices:
            try:
                image, target = dataset[index]
            except DatasetError as error:
                if problems is None:
                    raise
                problems.add(dataset.path(index), str(error).removeprefix(f"{dataset.path(index)}: "))
                continue
            found = model([image.to(device)])[0]
            images.append(target["image_id"])
            rows += coco_rows(found, target["image_id"], meaning)
            if progress is not None:
                progress()
    return rows, images


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """In evaluation mode, without gradients, and then in the mode that it was in."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


def coco_rows(found: Mapping[str, Tensor], image_id: int, category_ids: Sequence[int | None]) -> list[Row]:
    """The detections of one image in COCO's format of results; those of a label without a category are left out."""
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
            row["segmentation"] = _run_lengths(found["masks"][index, 0] > MASK_THRESHOLD)
        rows.append(row)
    return rows


def _run_lengths(mask: Tensor) -> dict[str, Any]:
    from pycocotools import mask as run_lengths  # only here: the models do without it

    encoded = run_lengths.encode(np.asfortranarray(mask.cpu().numpy(), dtype=np.uint8))
    return {"size": list(encoded["size"]), "counts": encoded["counts"].decode()}


def match_categories(classes: Sequence[str], dataset: CocoDataset) -> list[int | None]:
    """The category of the set that has the name of each class; None where none has.

    Raises
    ------
    ValueError
        Where no name is shared: then the model is one for other things.
    """
    numbers = dict(zip(dataset.class_names, dataset.category_ids, strict=True))
    matched = [numbers.get(name) for name in classes]
    if not any(number is not None for number in matched):
        raise ValueError(
            f"classes: the model knows {', '.join(classes)}, the set {', '.join(dataset.class_names)}: none is shared"
        )
    return matched


def average_precision(
    dataset: CocoDataset, rows: Sequence[Row], kind: str, images: Sequence[int] | None = None
) -> dict[str, Any]:
    """COCO's average precision of detections; None stands where the set has no such object.

    Parameters
    ----------
    dataset : CocoDataset
    rows : sequence of dict
        COCO's format of results.
    kind : "box" or "mask"
    images : sequence of int, default all
        The numbers of the images that count.

    Returns
    -------
    dict
        ``AP``, ``AP50``, ``AP75``; ``AP_small``, ``AP_medium``, ``AP_large`` by the area of the object (below 32^2
        pixels, up to 96^2, above); ``AR``, the largest recall with 100 detections; ``AP_by_iou`` by overlap, from
        ``"0.50"`` to ``"0.95"``; ``AP_by_class`` by name.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    if kind not in KINDS:
        raise ValueError(f"kind: expected one of {', '.join(KINDS)}, got {kind!r}")
    chosen = [row["id"] for row in dataset.rows] if images is None else list(images)
    with redirect_stdout(io.StringIO()):  # it prints as it goes
        truth, found = COCO(), COCO()
        truth.dataset = _section(dataset, _truth_rows(dataset, chosen))
        found.dataset = _section(dataset, _found_rows(rows, kind, chosen))
        truth.createIndex()
        found.createIndex()
        evaluation = COCOeval(truth, found, KINDS[kind])
        evaluation.params.imgIds = sorted(chosen)
        evaluation.evaluate()
        evaluation.accumulate()
    # By overlap, recall, class, area, and number of detections; -1 where there is no object.
    precision = evaluation.eval["precision"][..., -1]
    recall = evaluation.eval["recall"][:, :, 0, -1]
    overlaps = [f"{overlap:.2f}" for overlap in evaluation.params.iouThrs]
    every = precision[..., 0]
    by_iou = {overlap: _mean(every[index]) for index, overlap in enumerate(overlaps)}
    return {
        "AP": _mean(every),
        "AP50": by_iou["0.50"],
        "AP75": by_iou["0.75"],
        **{f"AP_{size}": _mean(precision[..., index]) for index, size in enumerate(SIZES) if index},
        "AR": _mean(recall),
        "AP_by_iou": by_iou,
        "AP_by_class": {name: _mean(every[:, :, index]) for index, name in enumerate(dataset.class_names)},
    }


def _mean(values: np.ndarray[Any, np.dtype[Any]]) -> float | None:
    known = values[values > -1]
    return float(known.mean()) if known.size else None


def _section(dataset: CocoDataset, annotations: list[Row]) -> dict[str, Any]:
    return {"info": {}, "images": dataset.rows, "categories": dataset.records["categories"], "annotations": annotations}


def _truth_rows(dataset: CocoDataset, images: Sequence[int]) -> list[Row]:
    """The objects as COCO's code wants them; it writes into what it is given."""
    chosen = set(images)
    rows = []
    for row in dataset.records["annotations"]:
        if row["image_id"] in chosen:
            width, height = row["bbox"][2:]
            outline = row.get("segmentation") or box_outline(row["bbox"])
            rows.append({"iscrowd": 0, "area": width * height, **row, "segmentation": outline})
    return rows


def _found_rows(rows: Sequence[Row], kind: str, images: Sequence[int]) -> list[Row]:
    from pycocotools import mask as run_lengths

    chosen = set(images)
    found: list[Row] = []
    for row in rows:
        if row["image_id"] in chosen:
            width, height = row["bbox"][2:]
            area = width * height if kind == "box" else float(run_lengths.area(row["segmentation"]))
            found.append({**row, "id": len(found) + 1, "iscrowd": 0, "area": area})
    return found
