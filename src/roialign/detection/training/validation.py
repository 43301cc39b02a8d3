"""Average precision while a detector learns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ...files.problems import DatasetError, Problems
from ..coco import CocoDataset
from ..evaluation import KINDS, average_precision, has_masks, match_categories, predict
from ..models import TwoStageDetector
from ..processes import gathered, process_count, process_rank
from .randomness import VALIDATION, seed_of
from .settings import TrainSettings

#: The figures that the log gets, of each kind.
LOGGED = ("AP", "AP50", "AP75")


@dataclass(frozen=True, slots=True)
class Validation:
    """A set that a run is measured on, and how often.

    Concretely, the average precision is measured after every `every` iterations and after the last. It changes
    nothing about what the run learns. An image that cannot be read is a problem of the data set, once.
    """

    dataset: CocoDataset
    every: int = 500
    """Iterations from one measurement to the next."""

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"every: expected at least 1, got {self.every}")
        if len(self.dataset) == 0:
            raise DatasetError(f"{self.dataset.annotations}: no image to measure average precision on")

    def is_due(self, iteration: int, settings: TrainSettings) -> bool:
        """Whether to measure after this iteration, counted from 1."""
        return iteration % self.every == 0 or iteration == settings.iterations

    def measure(self, model: TwoStageDetector, settings: TrainSettings, iteration: int) -> dict[str, Any] | None:
        """The figures of a model; the processes share the images, and only the first has the figures.

        None also where no image could be read.
        """
        torch.manual_seed(seed_of(settings.seed, VALIDATION, iteration, process_rank()))
        problems = Problems()
        rows, images = predict(
            model,
            self.dataset,
            category_ids=match_categories(settings.detector.classes, self.dataset, settings.detector.category_ids),
            problems=problems,
            indices=range(process_rank(), len(self.dataset), process_count()),
        )
        self.dataset.problems.include(problems)
        shares = gathered((rows, images))
        rows, images = [row for share in shares for row in share[0]], [image for share in shares for image in share[1]]
        if process_rank() != 0 or not images:
            return None
        kinds = KINDS if has_masks(model) else ("box",)
        return {"images": len(images), **{kind: average_precision(self.dataset, rows, kind, images) for kind in kinds}}

    def names(self, settings: TrainSettings) -> list[str]:
        """What the log calls the figures."""
        return [f"{kind}_{name}" for kind in KINDS if kind == "box" or settings.detector.has_masks for name in LOGGED]


def logged(figures: Mapping[str, Any] | None) -> dict[str, float]:
    """The figures that the log gets; those that the set does not give are left out."""
    if figures is None:
        return {}
    return {
        f"{kind}_{name}": figures[kind][name]
        for kind in KINDS
        if kind in figures
        for name in LOGGED
        if figures[kind][name] is not None
    }
