"""Files of detectors: settings and weights, loaded without executing code from the file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .._text import counted
from .._validate import check_instance, check_path
from ..files.coco import category_of, read_sections
from ..files.problems import FileError, Problems
from ..files.rows import good_rows
from ..files.text import lines_of, read_json, read_text, shown
from ..files.weights import SAVE_OWN, read_checkpoint, state_dict_of
from ..files.writing import atomic_write
from ..torch.devices import check_device
from .checkpoints import rename_weights
from .coco_classes import COCO_CLASSES
from .models import TwoStageDetector
from .settings import DetectorSettings

#: The name of the weight file in the folder of a training run.
MODEL_FILE = "model.pt"
#: The weights of torchvision's files that show the number of classes, and whether there are masks.
CLASS_WEIGHT, MASK_WEIGHT = "roi_heads.box_predictor.cls_score.weight", "roi_heads.mask_predictor.conv5_mask.weight"
#: Prefixes of weight names that only this package uses.
OWN_WEIGHTS = ("roi_heads.stages.", "roi_heads.mask_branch.")
#: torchvision's COCO detectors have a label for every id up to 90. Ten of them are unused.
COCO_LABELS = 91
#: The dtypes of weights, and of the counters of normalisation layers.
PLAIN_TYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32)
#: Prefixes of weight names of other libraries, whose files cannot be loaded.
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
    """A weight file cannot be used. The message names it."""


def save_model(path: str | Path, model: TwoStageDetector, settings: DetectorSettings) -> None:
    """Save a detector as ``{"settings": ..., "model": state_dict}``. The file is replaced atomically.

    Parameters
    ----------
    path : path
        The file to write.
    model : TwoStageDetector
        The detector.
    settings : DetectorSettings
        The settings that it was built with.

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
    check_instance(model, "model", nn.Module)
    check_instance(settings, "settings", DetectorSettings)
    with atomic_write(check_path(path, "path")) as file:
        torch.save({"settings": settings.to_dict(), "model": model.state_dict()}, file)


def load_model(
    path: str | Path,
    *,
    model: str | None = None,
    pooler: str | None = None,
    classes: Sequence[str] | None = None,
    device: str | torch.device = "cpu",
) -> tuple[TwoStageDetector, DetectorSettings]:
    """Load a detector in evaluation mode, and its settings, from a weight file.

    Parameters
    ----------
    path : path
        A file written by :func:`save_model`, or the folder of a training run. It can also be a file with the weights
        of torchvision's `fasterrcnn_resnet50_fpn` or `maskrcnn_resnet50_fpn`, in either of its layouts, alone or in the
        checkpoint of a training script.
    model : str, optional
        "faster-rcnn" or "mask-rcnn", for torchvision's weights. By default it is inferred from the file.
    pooler : str, optional
        A pooler to use instead of the one in the file. torchvision's is "align-unshifted".
    classes : sequence of str, optional
        The names of the labels from 1, without the background. By default, those of the file. torchvision's files have
        no names: COCO's names are used if the file has COCO's labels, and numbers otherwise.
    device : str or torch.device, default "cpu"
        The device to load the model on.

    Returns
    -------
    (model, settings) : TwoStageDetector in evaluation mode, DetectorSettings

    Raises
    ------
    ModelFileError
        If the file cannot be used. The message names the file and says what is wrong with it.
    ValueError
        If the device is not available.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from roialign.detection import DetectorSettings, load_model, save_model
    >>> settings = DetectorSettings("faster-rcnn", "resnet18-fpn", classes=("cat", "dog"), width=8, hidden=16)
    >>> path = Path(tempfile.mkdtemp()) / "model.pt"
    >>> save_model(path, settings.build(), settings)
    >>> model, settings = load_model(path)
    >>> model.training, settings.classes
    (False, ('cat', 'dog'))
    """
    path, device = find_weights(check_path(path, "path")), check_device(device)
    try:
        content = read_checkpoint(path)
    except FileError as error:
        raise ModelFileError(f"{path}: cannot be read as a weight file: {error}") from error
    try:
        weights = state_dict_of(content)
        if "settings" in content:
            settings = _settings_of_file(content["settings"], model)
        else:
            settings = _settings_of_torchvision(content, weights, model)
        settings = _changed(settings, pooler, classes)
        _check_weights(settings, weights)
        with torch.device("cpu"):
            detector = settings.build()
        detector.load_state_dict(weights)
    except ModuleNotFoundError:  # the package of a backbone is missing; the command line reports it
        raise
    except (ValueError, TypeError) as error:
        raise ModelFileError(f"{path}: {error}") from error
    except (RuntimeError, MemoryError) as error:
        why = str(error).partition("\n")[0] or "not enough memory"
        raise ModelFileError(f"{path}: cannot be loaded: {why}") from error
    return detector.to(device).eval(), settings


def find_weights(path: Path) -> Path:
    """Return `path` itself, or the weight file in it if it is the folder of a training run."""
    found = path / MODEL_FILE if os.path.isdir(path) else path  # False for an invalid file name
    if not os.path.exists(found):
        raise ModelFileError(f"{found}: no such file")
    return found


def read_classes(text: str) -> list[str]:
    """Read class names from a list such as ``cat,dog``, a text file with one name per line, or a COCO JSON file.

    Raises
    ------
    FileError
        If the file cannot be read or has no names. The message names the file.
    """
    path = Path(text)
    if not text.strip():
        raise FileError(f"classes: expected names such as cat,dog, or a file of names, got {text!r}")
    if "," in text or not (path.suffix or os.path.exists(path)):
        names = text.split(",")
    else:
        try:
            names = _classes_of_file(path)
        except FileError as error:
            raise FileError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error
    names = [name.strip() for name in names if name.strip()]
    if not names:
        raise FileError(f"classes: expected names such as cat,dog, or a file of names, got {text!r}")
    return names


def _classes_of_file(path: Path) -> list[str]:
    if path.suffix.lower() != ".json":
        return lines_of(read_text(path))
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
        raise ValueError(f"settings: expected a dict, got {shown(values)}")
    settings = DetectorSettings.of(values)
    if model not in (None, settings.model):
        raise ValueError(f"model: expected {settings.model}, the model in the file, got {model}")
    return settings


def _settings_of_torchvision(content: Any, weights: Mapping[str, Tensor], model: str | None) -> DetectorSettings:
    """The settings of the model that torchvision's own function would build."""
    if {"iteration", "optimiser"} <= set(content):
        raise ValueError(f"expected a model file, got a training checkpoint; use {MODEL_FILE} in the same folder")
    shape = list(weights[CLASS_WEIGHT].shape) if CLASS_WEIGHT in weights else None
    if shape is not None and (len(shape) != 2 or shape[0] < 2):
        raise ValueError(f"{CLASS_WEIGHT}: expected the shape [classes + 1, features], got {shape}")
    if shape is None:
        if any(name.startswith(OWN_WEIGHTS) for name in weights):
            raise ValueError(f"expected settings and weights, got only the weights of a roialign detector; {SAVE_OWN}")
        whose = _whose(weights)
        raise ValueError(
            f"expected a roialign detector, or torchvision's fasterrcnn_resnet50_fpn or maskrcnn_resnet50_fpn, got "
            f"{f'the weights of {whose}' if whose else f'weights without {CLASS_WEIGHT}'}"
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
        # torchvision uses this value for its published COCO weights, whose statistics are frozen.
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
    """Check that a detector with these settings fits these weights, without allocating its memory.

    Raises
    ------
    ValueError
        If weights are missing, unknown, of the wrong shape, or not finite. The message names the first ones.
    """
    with torch.device("meta"):
        detector = settings.build()
    expected, given = detector.state_dict(), dict(weights)
    rename_weights(detector, given, "")
    wrong = {
        "missing": [name for name in expected if name not in given],
        "unknown": [name for name in given if name not in expected],
        "of the wrong shape": [
            f"{name}, {list(given[name].shape)} instead of {list(value.shape)}"
            for name, value in expected.items()
            if name in given and given[name].shape != value.shape
        ],
    }
    if any(wrong.values()):
        parts = [f"{counted(len(names), 'weight')} {kind} ({names[0]})" for kind, names in wrong.items() if names]
        whose = _whose(weights)
        more = f"; they are the weights of {whose}" if whose else ""
        raise ValueError(f"the weights do not fit {settings.model} on {settings.backbone}: {', '.join(parts)}{more}")
    for name, value in given.items():
        if value.dtype in (torch.int8, torch.uint8):
            kind = str(value.dtype).removeprefix("torch.")
            raise ValueError(f"{name}: expected float weights, got {kind}: a quantised model cannot be read")
        if value.layout != torch.strided or value.is_meta or value.dtype not in PLAIN_TYPES:
            kind = "without values" if value.is_meta else f"of {value.dtype}, {value.layout}"
            raise ValueError(f"{name}: expected a dense tensor of floats or 32- or 64-bit integers, got one {kind}")
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise ValueError(f"{name}: expected finite weights, got NaN or infinity; the training has diverged")


def _whose(weights: Mapping[str, Tensor]) -> str | None:
    return next((whose for start, whose in STRANGERS if any(name.startswith(start) for name in weights)), None)
