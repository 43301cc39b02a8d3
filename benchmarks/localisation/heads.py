"""Train and evaluate box and mask heads with a given pooler on stored maps and proposals."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from roialign.detection import CocoDataset, TrainSettings
from roialign.detection.average_precision import Row, average_precision, kinds_measured
from roialign.detection.evaluation import coco_rows
from roialign.detection.roi_heads import RoIHeads
from roialign.detection.training.data import places_of
from roialign.detection.training.optimisation import OFFSET_RATE, learning_rate, make_optimiser
from roialign.detection.training.randomness import ORDER, SAMPLE, WEIGHTS, generator_of, seed_of
from roialign.detection.transform import paste_masks

from .first_stage import Seen, step
from .plan import IMAGE_SIZE, Cell, Plan

SIZE = (IMAGE_SIZE, IMAGE_SIZE)


def new_heads(plan: Plan, cell: Cell, pooler: str) -> RoIHeads:
    """Create heads with the seed's weights, the same for every pooler. Only poolers with parameters have additional
    weights."""
    seed = seed_of(cell.seed, WEIGHTS)
    torch.manual_seed(seed)
    shared = plan.detector_settings(cell.stride, plan.poolers[0]).build().roi_heads.state_dict()
    torch.manual_seed(seed)
    heads = plan.detector_settings(cell.stride, pooler).build().roi_heads
    heads.load_state_dict({**heads.state_dict(), **{k: v for k, v in shared.items() if "_pooler" not in k}})
    return heads


def train_heads(
    plan: Plan,
    cell: Cell,
    pooler: str,
    dataset: CocoDataset,
    seen: Seen,
    heads: RoIHeads | None = None,
    offset_rate: float = OFFSET_RATE,
) -> RoIHeads:
    """Train the heads. The order of images and the sampling of boxes do not depend on the pooler."""
    heads = (heads or new_heads(plan, cell, pooler)).train()
    settings = TrainSettings(
        plan.detector_settings(cell.stride, pooler),
        iterations=plan.head_iterations,
        batch_size=plan.batch_size,
        warmup=20,
        seed=cell.seed,
    )
    optimiser = make_optimiser(settings, heads, offset_rate)
    targets = [dataset[index][1] for index in range(len(dataset))]
    for iteration in range(plan.head_iterations):
        places = places_of(iteration, plan.batch_size)
        chosen = [_image_at(cell.seed, place, len(dataset)) for place in places]
        losses = heads.losses(
            [seen.maps[chosen]],
            [SIZE] * len(chosen),
            [seen.proposals[index] for index in chosen],
            [targets[index] for index in chosen],
            [generator_of(cell.seed, SAMPLE, place) for place in places],
        )
        step(heads, optimiser, learning_rate(settings, iteration), losses)
    return heads.eval()


def _image_at(seed: int, place: int, images: int) -> int:
    """Return the image at a place in the order. Every `images` places are a permutation of the images."""
    epoch, index = divmod(place, images)
    return int(torch.randperm(images, generator=generator_of(seed, ORDER, epoch))[index])


@torch.no_grad()
def detections(heads: RoIHeads, dataset: CocoDataset, seen: Seen) -> list[Row]:
    """Return detections in COCO's result format."""
    rows: list[Row] = []
    for index in range(len(dataset)):
        found = heads.detect([seen.maps[index : index + 1]], [SIZE], [seen.proposals[index]])[0]
        whole: dict[str, Tensor] = {**found, "masks": paste_masks(found["masks"], found["boxes"], SIZE)}
        rows += coco_rows(whole, int(dataset.rows[index]["id"]), dataset.category_ids)
    return rows


def figures(dataset: CocoDataset, rows: list[Row]) -> dict[str, Any]:
    """Compute COCO's average precision for boxes and masks."""
    return {kind: average_precision(dataset, rows, kind) for kind in kinds_measured(masks=True, rotated=False)}
