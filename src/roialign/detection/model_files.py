"""Detectors as files: their settings and weights, read without running what a file says."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..extract.output import atomic_write
from .coco_classes import COCO_CLASSES
from .models import TwoStageDetector
from .settings import DetectorSettings

#: The name of the weights in the folder of a training run.
MODEL_FILE = "model.pt"
#: By which a file of torchvision's weights says how many classes it has, and whether it has masks.
CLASS_WEIGHT, MASK_WEIGHT = "roi_heads.box_predictor.cls_score.weight", "roi_heads.mask_predictor.conv5_mask.weight"
#: torchvision's detectors on COCO have a label for every number up to 90, ten of them unused.
COCO_LABELS = 91


class ModelFileError(ValueError):
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
    path: str | Path, *, model: str | None = None, pooler: str | None = None, device: str | torch.device = "cpu"
) -> tuple[TwoStageDetector, DetectorSettings]:
    """A detector from a file of weights, ready to detect, and its settings.

    Parameters
    ----------
    path : path
        What :func:`save_model` wrote, or the folder of a training run. Or the weights of torchvision's
        `fasterrcnn_resnet50_fpn` or `maskrcnn_resnet50_fpn`, in either of its layouts.
    model : str, optional
        For torchvision's weights: "faster-rcnn" or "mask-rcnn"; by default what the file holds.
    pooler : str, optional
        Another pooler than the one that the file names; torchvision's is "align-unshifted".
    device : str or torch.device, default "cpu"

    Returns
    -------
    (model, settings) : TwoStageDetector in evaluation mode, DetectorSettings

    Raises
    ------
    ModelFileError
        Naming the file and what is wrong with it.
    """
    path = find_weights(Path(path))
    content = _read(path)
    try:
        if "settings" in content:
            settings = DetectorSettings.of(content["settings"])
            if model not in (None, settings.model):
                raise ValueError(f"model: the file holds {settings.model}, not {model}")
        else:
            settings = _settings_of_torchvision(content["model"], model)
        if pooler is not None:
            settings = replace(settings, pooler=pooler)
        detector = settings.build()
        detector.load_state_dict(content["model"])
    except (ValueError, TypeError, RuntimeError) as error:
        raise ModelFileError(f"{path}: {_short(error)}") from error
    return detector.to(device).eval(), settings


def find_weights(path: Path) -> Path:
    """The file itself, or that in the folder of a training run."""
    found = path / MODEL_FILE if path.is_dir() else path
    if not found.is_file():
        raise ModelFileError(f"{found}: no such file")
    return found


def _read(path: Path) -> dict[str, Any]:
    """``{"model": weights}`` and perhaps settings."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise ModelFileError(f"{path}: cannot be read as a file of weights: {_short(error)}") from error
    if isinstance(content, dict) and "model" not in content:
        content = {"model": content}
    weights = content["model"] if isinstance(content, dict) else None
    if not isinstance(weights, Mapping) or not weights or not all(isinstance(v, Tensor) for v in weights.values()):
        raise ModelFileError(f"{path}: expected weights by name, or 'settings' and 'model'")
    return dict(content)


def _settings_of_torchvision(weights: Mapping[str, Tensor], model: str | None) -> DetectorSettings:
    """What torchvision's own function of the model would build."""
    if CLASS_WEIGHT not in weights:
        raise ValueError(f"neither settings nor {CLASS_WEIGHT}: not torchvision's Faster or Mask R-CNN")
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


def _short(error: Exception) -> str:
    """The first lines of a long message, as one."""
    lines = re.sub(r"\s+", " ", str(error)) or type(error).__name__
    return lines if len(lines) <= 300 else f"{lines[:297]}..."
