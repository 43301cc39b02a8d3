"""Measure the average precision during training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..._validate import check_instance, check_int, set_checked
from ...files.problems import DatasetError, Problems
from ..average_precision import KINDS, kinds_measured, precisions
from ..coco import CocoDataset
from ..evaluation import kinds_of, match_categories, predict
from ..models import TwoStageDetector
from ..processes import gathered, process_count, process_rank
from .randomness import VALIDATION, seed_of
from .settings import TrainSettings

#: The values of each kind that are logged.
LOGGED = ("AP", "AP50", "AP75")


@dataclass(frozen=True, slots=True)
class Validation:
    """A dataset for validation during training, and how often to use it.

    Concretely, the average precision is measured every `every` iterations and after the last one. The measurement does
    not affect the training. A model that is trained on patches is measured on whole images, which are cut into the same
    patches. An image that cannot be read is reported once as a problem of the dataset.
    """

    dataset: CocoDataset
    """The images to measure on, and their objects."""
    every: int = 500
    """The number of iterations between measurements."""

    def __post_init__(self) -> None:
        check_instance(self.dataset, "dataset", CocoDataset)
        set_checked(self, every=check_int(self.every, "every", 1))
        if len(self.dataset) == 0:
            raise DatasetError(f"{self.dataset.annotations}: expected at least one image for validation, got none")

    def is_due(self, iteration: int, settings: TrainSettings) -> bool:
        """Whether to measure after this iteration, counted from 1."""
        return iteration % self.every == 0 or iteration == settings.iterations

    def measure(self, model: TwoStageDetector, settings: TrainSettings, iteration: int) -> dict[str, Any] | None:
        """Measure the average precision of a model. The processes share the images.

        Returns None in all processes but the first, and if no image could be read.
        """
        torch.manual_seed(seed_of(settings.seed, VALIDATION, iteration, process_rank()))
        problems = Problems()
        rows, images = predict(
            model,
            self.dataset,
            category_ids=match_categories(settings.detector.classes, self.dataset, settings.detector.category_ids),
            problems=problems,
            indices=range(process_rank(), len(self.dataset), process_count()),
            patches=settings.patches,
        )
        self.dataset.problems.include(problems)
        shares = gathered((rows, images))
        rows, images = [row for share in shares for row in share[0]], [image for share in shares for image in share[1]]
        if process_rank() != 0 or not images:
            return None
        return {"images": len(images), **precisions(self.dataset, rows, kinds_of(model), images)}

    def names(self, settings: TrainSettings) -> list[str]:
        """The names of the values in the log."""
        detector = settings.detector
        kinds = kinds_measured(masks=detector.has_masks, rotated=detector.has_rotated_boxes)
        return [f"{kind}_{name}" for kind in kinds for name in LOGGED]


def logged(figures: Mapping[str, Any] | None) -> dict[str, float]:
    """The values for the log. Values that the dataset does not determine are left out."""
    if figures is None:
        return {}
    return {
        f"{kind}_{name}": figures[kind][name]
        for kind in KINDS
        if kind in figures
        for name in LOGGED
        if figures[kind][name] is not None
    }
