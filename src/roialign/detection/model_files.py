"""Detectors as files: their settings and weights, read without running what a file says."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..extract.output import atomic_write
from ..files.coco import category_of, good_rows, read_sections
from ..files.problems import FileError, Problems
from ..files.text import read_json, read_text, shown
from ..files.weights import SAVE_OWN, read_checkpoint, state_dict_of
from ..torch.devices import check_device
from .checkpoints import rename_weights
from .coco_classes import COCO_CLASSES
from .models import TwoStageDetector
from .settings import DetectorSettings

#: The name of the weights in the folder of a training run.
MODEL_FILE = "model.pt"
#: By which a file of torchvision's weights says how many classes it has, and whether it has masks.
CLASS_WEIGHT, MASK_WEIGHT = "roi_heads.box_predictor.cls_score.weight", "roi_heads.mask_predictor.conv5_mask.weight"
#: How names begin that only this package gives.
OWN_WEIGHTS = ("roi_heads.stages.", "roi_heads.mask_branch.")
#: torchvision's detectors on COCO have a label for every number up to 90, ten of them unused.
COCO_LABELS = 91
#: Of weights and of the counters of normalisations.
PLAIN_TYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32)
#: By how a name begins: whose weights these are. None of them can be loaded.
STRANGERS = (
    ("roi_heads.keypoint_", "torchvision's Keypoint R-CNN"),
    ("rpn.head.conv.1.0.", "torchvision's models of version 2 (_v2)"),
    ("backbone.body.0.", "torchvision's detectors on MobileNet"),
    ("backbone.bottom_up.", "detectron2"),
    ("head.classification_head.", "torchvision's RetinaNet or FCOS"),
    ("rpn_head.", "mmdetection"),
    ("bbox_head.", "mmdetection"),
    ("roi_head.", "mmdetection"),
    ("transformer.", "DETR or a model like it"),
    ("0.conv.", "YOLO"),
    ("layer1.0.conv1.", "a ResNet that classifies images: a backbone without a detector"),
)


class ModelFileError(FileError):
    """A file of weights cannot be used; the message names it."""


def save_model(path: Path, model: TwoStageDetector, settings: DetectorSettings) -> None:
    """Write a detector as ``{"settings": ..., "model": state dict}``, in one step.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from roialign.detection import DetectorSettings, load_model, save_model
    >>> settings = DetectorSettings("faster-rcnn", "resnet18-fpn", classes=("cat", "dog"), width=8, hidden=16)
    >>> path = Path(tempfile.mkdtemp()) / "model.pt"
    >>> save_model(path, settings.build(), settings)
    >>> load_model(path)[1] == settings
    True
    """
    with atomic_write(path) as file:
        torch.save({"settings": settings.to_dict(), "model": model.state_dict()}, file)


def load_model(
    path: str | Path,
    *,
    model: str | None = None,
    pooler: str | None = None,
    classes: Sequence[str] | None = None,
    device: str | torch.device = "cpu",
) -> tuple[TwoStageDetector, DetectorSettings]:
    """A detector from a file of weights, ready to detect, and its settings.

    Parameters
    ----------
    path : path
        What :func:`save_model` wrote, or the folder of a training run. Or the weights of torchvision's
        `fasterrcnn_resnet50_fpn` or `maskrcnn_resnet50_fpn`, in either of its layouts, alone or in a checkpoint of a
        training script.
    model : str, optional
        For torchvision's weights: "faster-rcnn" or "mask-rcnn"; by default what the file holds.
    pooler : str, optional
        Another pooler than the one that the file names; torchvision's is "align-unshifted".
    classes : sequence of str, optional
        Names of the labels from 1, without the background. By default those of the file; torchvision's files have none,
        and their labels are called by their numbers but for those of COCO.
    device : str or torch.device, default "cpu"

    Returns
    -------
    (model, settings) : TwoStageDetector in evaluation mode, DetectorSettings

    Raises
    ------
    ModelFileError
        Naming the file and what is wrong with it.
    ValueError
        For a device that is not there.
    """
    path, device = find_weights(Path(path)), check_device(device)
    try:
        content = read_checkpoint(path)
    except FileError as error:
        raise ModelFileError(f"{path}: cannot be read as a file of weights: {error}") from error
    try:
        weights = state_dict_of(content)
        if "settings" in content:
            settings = _settings_of_file(content["settings"], model)
        else:
            settings = _settings_of_torchvision(content, weights, model)
        settings = _changed(settings, pooler, classes)
        _check_weights(settings, weights)
        detector = settings.build()
        detector.load_state_dict(weights)
    except ModuleNotFoundError:  # of a backbone: said by the command line
        raise
    except (ValueError, TypeError) as error:
        raise ModelFileError(f"{path}: {error}") from error
    except (RuntimeError, MemoryError) as error:
        why = str(error).partition("\n")[0] or "not enough memory"
        raise ModelFileError(f"{path}: cannot be loaded: {why}") from error
    return detector.to(device).eval(), settings


def find_weights(path: Path) -> Path:
    """The file itself, or that in the folder of a training run."""
    found = path / MODEL_FILE if os.path.isdir(path) else path  # false for names that no file can have
    if not os.path.exists(found):
        raise ModelFileError(f"{found}: no such file")
    return found


def read_classes(text: str) -> list[str]:
    """Names of classes: ``cat,dog``, or those of a file, of text with a name a line, or of COCO json.

    Raises
    ------
    FileError
        Naming the file that cannot be read, or where there is no name.
    """
    path = Path(text)
    if not text.strip():
        raise FileError(f"classes: expected names, as cat,dog, or a file of them, got {text!r}")
    if "," in text or not (path.suffix or os.path.exists(path)):
        names = text.split(",")
    else:
        try:
            names = _classes_of_file(path)
        except FileError as error:
            raise FileError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error
    names = [name.strip() for name in names if name.strip()]
    if not names:
        raise FileError(f"classes: expected names, as cat,dog, or a file of them, got {text!r}")
    return names


def _classes_of_file(path: Path) -> list[str]:
    if path.suffix.lower() != ".json":
        return read_text(path).splitlines()
    content = read_json(path)
    if isinstance(content, list) and all(isinstance(name, str) for name in content):
        return content
    rows = read_sections(path, ["categories"])["categories"]
    return [row["name"] for row in sorted(_categories(path, rows), key=lambda row: int(row["id"]))]


def _categories(path: Path, rows: list[Any]) -> list[dict[str, Any]]:
    problems = Problems()
    good = good_rows(path, "categories", rows, problems, category_of).rows
    for problem in problems:
        raise FileError(str(problem))
    return good


def _settings_of_file(values: object, model: str | None) -> DetectorSettings:
    if not isinstance(values, Mapping):
        raise ValueError(f"settings: expected names and values, got {shown(values)}")
    settings = DetectorSettings.of(values)
    if model not in (None, settings.model):
        raise ValueError(f"model: the file holds {settings.model}, not {model}")
    return settings


def _settings_of_torchvision(content: Any, weights: Mapping[str, Tensor], model: str | None) -> DetectorSettings:
    """What torchvision's own function of the model would build."""
    if {"iteration", "optimiser"} <= set(content):
        raise ValueError(f"a checkpoint to go on training from, without settings: take {MODEL_FILE} beside it")
    if CLASS_WEIGHT not in weights or weights[CLASS_WEIGHT].ndim != 2 or len(weights[CLASS_WEIGHT]) < 2:
        if any(name.startswith(OWN_WEIGHTS) for name in weights):
            raise ValueError(f"weights of a detector of this package, without its settings: {SAVE_OWN}")
        whose = _whose(weights)
        raise ValueError(
            f"neither settings nor {CLASS_WEIGHT}: not torchvision's fasterrcnn_resnet50_fpn or "
            f"maskrcnn_resnet50_fpn{f'; its names are those of {whose}' if whose else ''}"
        )
    count = len(weights[CLASS_WEIGHT])
    frozen = not any(name.endswith("num_batches_tracked") for name in weights)
    names = COCO_CLASSES if count == COCO_LABELS else {number: str(number) for number in range(1, count)}
    return DetectorSettings(
        model=model or ("mask-rcnn" if MASK_WEIGHT in weights else "faster-rcnn"),
        pooler="align-unshifted",
        classes=tuple(names.get(number, "unused") for number in range(1, count)),
        category_ids=tuple(range(1, count)),
        frozen_norm=frozen,
        # So torchvision sets it for its published files of COCO, whose statistics are frozen.
        norm_epsilon=0.0 if frozen and count == COCO_LABELS else 1e-5,
    )


def _changed(settings: DetectorSettings, pooler: str | None, classes: Sequence[str] | None) -> DetectorSettings:
    if classes is not None:
        if len(classes) != len(settings.classes):
            many = f"{len(settings.classes)} names, one per class without the background"
            raise ValueError(f"classes: expected {many}, got {len(classes)}")
        settings = replace(settings, classes=tuple(classes))
    return settings if pooler is None else replace(settings, pooler=pooler)


def _check_weights(settings: DetectorSettings, weights: Mapping[str, Tensor]) -> None:
    """That a detector of these settings takes these weights: told without its memory, whatever the settings say.

    Raises
    ------
    ValueError
        Naming the first weights that are missing, unknown, of another shape, or not finite.
    """
    with torch.device("meta"):
        detector = settings.build()
    expected, given = detector.state_dict(), dict(weights)
    rename_weights(detector, given, "")
    wrong = {
        "missing": [name for name in expected if name not in given],
        "unknown": [name for name in given if name not in expected],
        "of another shape": [
            f"{name}, {list(given[name].shape)} instead of {list(value.shape)}"
            for name, value in expected.items()
            if name in given and given[name].shape != value.shape
        ],
    }
    if any(wrong.values()):
        parts = [f"{len(names)} weights {kind} ({names[0]})" for kind, names in wrong.items() if names]
        whose = _whose(weights)
        more = f"; they are those of {whose}" if whose else ""
        raise ValueError(
            f"the weights are not those of {settings.model} on {settings.backbone}: {', '.join(parts)}{more}"
        )
    for name, value in given.items():
        if value.layout != torch.strided or value.is_meta or value.dtype not in PLAIN_TYPES:
            kind = "without values" if value.is_meta else f"of {value.dtype}, {value.layout}"
            raise ValueError(f"{name}: expected a plain tensor of floats or whole numbers, found one {kind}")
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise ValueError(f"{name}: expected finite weights, found NaN or infinity: the training has diverged")


def _whose(weights: Mapping[str, Tensor]) -> str | None:
    return next((whose for start, whose in STRANGERS if any(name.startswith(start) for name in weights)), None)
