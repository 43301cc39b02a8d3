"""Train and evaluate box and mask heads with a given pooler on stored maps and proposals."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from roialign.detection import CocoDataset, RotatedDataset, TrainSettings
from roialign.detection.average_precision import ROTATED_BOX, Row, average_precision, kinds_measured
from roialign.detection.box_kinds import ROTATED, UPRIGHT
from roialign.detection.evaluation import coco_rows
from roialign.detection.roi_heads import RoIHeads
from roialign.detection.training.data import places_of
from roialign.detection.training.optimisation import OFFSET_RATE, learning_rate, make_optimiser
from roialign.detection.training.randomness import ORDER, SAMPLE, WEIGHTS, generator_of, seed_of
from roialign.detection.transform import paste_masks

from .aspect_ratios import by_aspect_ratio
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
    own = heads.state_dict()
    alike = {name: value for name, value in shared.items() if "_pooler" not in name and name in own}
    heads.load_state_dict(own | {name: value for name, value in alike.items() if value.shape == own[name].shape})
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
    proposals = proposals_for(heads, seen)
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
            [proposals[index] for index in chosen],
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
    for index, proposals in enumerate(proposals_for(heads, seen)):
        found: dict[str, Tensor] = heads.detect([seen.maps[index : index + 1]], [SIZE], [proposals])[0]
        if "masks" in found:
            found["masks"] = paste_masks(found["masks"], found["boxes"], SIZE)
        rows += coco_rows(found, int(dataset.rows[index]["id"]), dataset.category_ids)
    return rows


def proposals_for(heads: RoIHeads, seen: Seen) -> list[Tensor]:
    """Return the proposals of every image. Heads of upright boxes receive the upright hulls of rotated proposals."""
    if heads.kind is UPRIGHT and seen.proposals[0].shape[1] == ROTATED.numbers:
        return [UPRIGHT.clip(ROTATED.hulls(proposals), SIZE) for proposals in seen.proposals]
    return seen.proposals


def figures(dataset: CocoDataset, rows: list[Row]) -> dict[str, Any]:
    """Compute COCO's average precision for boxes and masks, or for rotated boxes by aspect ratio."""
    if isinstance(dataset, RotatedDataset):
        return {ROTATED_BOX: average_precision(dataset, rows, ROTATED_BOX), **by_aspect_ratio(dataset, rows)}
    return {kind: average_precision(dataset, rows, kind) for kind in kinds_measured(masks=True, rotated=False)}
