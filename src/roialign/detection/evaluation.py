"""Run a model on a dataset, and compute its average precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from .._text import one_line
from .._validate import check_instance
from ..files.problems import DatasetError, Problems
from ..files.rows import Identity
from ..files.run_lengths import RunLengths, encoded
from ..files.text import quoted
from ..torch.devices import check_device
from . import box_kinds
from .average_precision import Row, kinds_measured, precisions
from .coco import CocoDataset
from .heads import MASK_THRESHOLD
from .model_inputs import check_detector, for_model
from .models import TwoStageDetector
from .patch_detection import detect_in_patches
from .patches import PatchSettings
from .rotated_boxes import corners


def evaluate_model(
    model: TwoStageDetector,
    dataset: CocoDataset,
    *,
    device: str | torch.device | None = None,
    progress: Callable[[], None] | None = None,
    category_ids: Sequence[int | None] | None = None,
    problems: Problems | None = None,
    patches: PatchSettings | None = None,
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
        Called without arguments after every image, or after every patch.
    category_ids : sequence, default ``dataset.category_ids``
        The category of the dataset for each label 1, 2, ... of the model, or None for a label without one. See
        :func:`match_categories`.
    problems : Problems, default those of the dataset
        Collects the images that cannot be read or on which detection fails. The other images are evaluated.
    patches : PatchSettings, optional
        How to cut large images into patches, on which the model runs. The detections of all patches of an image are
        merged. By default, the model runs on whole images.

    Returns
    -------
    dict
        ``images``, the number of images; ``box``; and ``mask`` if the model has masks. See :func:`average_precision`.
        If the model finds rotated boxes, ``rotated_box`` and ``dota`` in place of both. See
        :func:`dota_average_precision`.

    Raises
    ------
    DatasetError
        If no image can be read. If the dataset is `strict`, for the first image that cannot be read.
    ValueError
        If the model and the dataset have different numbers of classes and `category_ids` is not given.
    TypeError
        If `model`, `dataset` or `patches` is something else.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from roialign.detection import (
    ...     CocoDataset, PyramidBackbone, SceneSettings, evaluate_model, faster_rcnn, write_scenes
    ... )
    >>> folder = Path(tempfile.mkdtemp())
    >>> write_scenes(folder, {"val": 2}, SceneSettings(image_size=64, objects=(1, 2)))
    >>> dataset = CocoDataset(folder / "val/annotations.json", folder / "val/images")
    >>> model = faster_rcnn(11, backbone=PyramidBackbone(18, width=8, out_channels=16), min_size=64, hidden=32)
    >>> figures = evaluate_model(model, dataset)
    >>> figures["images"], 0 <= figures["box"]["AP"] <= 1
    (2, True)
    """
    rows, images = predict(
        model,
        dataset,
        device=device,
        progress=progress,
        category_ids=category_ids,
        problems=problems,
        patches=patches,
    )
    if not images:
        raise DatasetError(f"{dataset.annotations}: no image could be evaluated")
    return {"images": len(images), **precisions(dataset, rows, kinds_of(model), images)}


def kinds_of(model: TwoStageDetector) -> tuple[str, ...]:
    """The keys of :data:`KINDS` that are measured for a model."""
    return kinds_measured(
        masks=model.roi_heads.mask_branch is not None, rotated=model.roi_heads.kind is box_kinds.ROTATED
    )


def predict(
    model: TwoStageDetector,
    dataset: CocoDataset,
    *,
    device: str | torch.device | None = None,
    progress: Callable[[], None] | None = None,
    category_ids: Sequence[int | None] | None = None,
    problems: Problems | None = None,
    indices: Sequence[int] | None = None,
    patches: PatchSettings | None = None,
) -> tuple[list[Row], list[Identity]]:
    """Return the detections in COCO's results format, and the ids of the images that were processed.

    The arguments are those of :func:`evaluate_model`. `indices` selects images by their position in the dataset. By
    default, all are used.
    """
    check_detector(model)
    check_instance(dataset, "dataset", CocoDataset)
    if patches is not None:
        check_instance(patches, "patches", PatchSettings)
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
            image_id, advance = dataset.rows[index]["id"], Advance(progress)
            try:
                if patches is None:
                    image, _ = dataset[index]
                    of_image = coco_rows(model([for_model(image, model)])[0], image_id, meaning)
                else:
                    of_image = _rows_of_patches(model, dataset, index, patches, advance, meaning)
            except DatasetError as error:
                if dataset.strict:
                    raise DatasetError(one_line(error)) from error
                reported.add(dataset.path(index), str(error).removeprefix(f"{dataset.path(index)}: "))
            except Exception as error:  # any error: the other images are still processed
                if dataset.strict:
                    raise DatasetError(one_line(f"{dataset.path(index)}: {failed('detection', error)}")) from error
                reported.add(dataset.path(index), failed("detection", error))
            else:
                images.append(image_id)
                rows += of_image
            advance.to(1 if patches is None else patch_count(dataset, patches, [index]))
    return rows, images


def patch_count(dataset: CocoDataset, patches: PatchSettings, indices: Sequence[int] | None = None) -> int:
    """The number of patches of the images of a dataset, by the sizes in its annotations.

    Raises
    ------
    ValueError
        If there are more than 10 million.
    """
    rows = dataset.rows if indices is None else [dataset.rows[index] for index in indices]
    return patches.total((row["width"], row["height"]) for row in rows)


class Advance:
    """Calls a progress function for every patch of an image, also for those that are left after an error."""

    def __init__(self, progress: Callable[[], None] | None) -> None:
        self._progress = progress
        self._count = 0

    def __call__(self) -> None:
        self._count += 1
        if self._progress is not None:
            self._progress()

    def to(self, count: int) -> None:
        """Advance to this number of patches."""
        while self._count < count:
            self()


def _rows_of_patches(
    model: TwoStageDetector,
    dataset: CocoDataset,
    index: int,
    patches: PatchSettings,
    progress: Callable[[], None],
    category_ids: Sequence[int | None],
) -> list[Row]:
    """The detections on an image of a dataset that is cut into patches."""
    picture = dataset.open_picture(index, large=True)
    dataset.report(index, [] if picture.remark is None else [picture.remark])
    found, masks = detect_in_patches(model, picture, patches, progress)
    outlines = [mask.in_image(picture.height, picture.width) for mask in masks]
    return coco_rows(found, dataset.rows[index]["id"], category_ids, outlines)


def _remark_unknown(dataset: CocoDataset, known: Sequence[int | None], problems: Problems) -> None:
    """Add a remark about the categories of the dataset for which the model has no class."""
    used = {row["category_id"] for row in dataset.records["annotations"]}
    by_name = zip(dataset.class_names, dataset.category_ids, strict=True)
    unknown = [name for name, number in by_name if number in used and number not in known]
    if unknown:
        what = f"the model has no class for {_names([quoted(name) for name in unknown])} (average precision 0)"
        problems.remark(f"{dataset.annotations}: categories", what, "unknown categories")


def failed(what: str, error: Exception) -> str:
    """The text of a problem for an image for which something, such as its detection, failed."""
    said = str(error).strip().partition("\n")[0] or type(error).__name__
    memory = isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "allocate memory" in said
    return f"{what} failed: {'not enough memory' if memory else said}"


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


def coco_rows(
    found: Mapping[str, Tensor],
    image_id: Identity,
    category_ids: Sequence[int | None],
    outlines: Sequence[RunLengths] = (),
) -> list[Row]:
    """The detections of one image in COCO's results format. Labels without a category are left out.

    For rotated boxes, `segmentation` is the polygon of the box, `area` its area, and `bbox` its upright hull. The masks
    are those of `found`, or `outlines`.
    """
    boxes = found["boxes"].cpu().double()
    boxes[:, 2:] -= boxes[:, :2]
    scores, labels = found["scores"].tolist(), found["labels"].tolist()
    rows: list[Row] = []
    for index, (box, score, label) in enumerate(zip(boxes.tolist(), scores, labels, strict=True)):
        category = category_ids[label - 1]
        if category is None:
            continue
        row: Row = {"image_id": image_id, "category_id": category, "bbox": box, "score": score}
        if "rotated_boxes" in found:
            rotated = found["rotated_boxes"][index].cpu().double()
            row |= {"segmentation": [corners(rotated).flatten().tolist()], "area": float(rotated[2] * rotated[3])}
        if "masks" in found:
            row["segmentation"] = encoded((found["masks"][index, 0] > MASK_THRESHOLD).cpu().numpy())
        if outlines:
            row["segmentation"] = outlines[index]
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
            f"classes: expected at least one class of the dataset, {_names(dataset.class_names)}, got "
            f"{_names(classes)}; give the model the names of the dataset (--classes)"
        )
    return matched


def _names(names: Sequence[str], most: int = 20) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
