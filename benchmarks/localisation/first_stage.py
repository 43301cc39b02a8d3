"""Train a backbone and its proposals without a pooler, and store what the heads of all poolers receive."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from roialign.detection import CocoDataset, TrainSettings, TwoStageDetector, write_scenes
from roialign.detection.box_kinds import ROTATED, UPRIGHT, BoxKind, Coder
from roialign.detection.boxes import BoxCoder
from roialign.detection.matching import match
from roialign.detection.rotated_coders import RotatedBoxCoder
from roialign.detection.training.data import Stream, batches, places_of
from roialign.detection.training.optimisation import learning_rate, make_optimiser, set_learning_rate
from roialign.detection.training.randomness import SAMPLE, WEIGHTS, generator_of, seed_of

from .plan import IMAGE_SIZE, Cell, Plan

#: Number of moved copies of every object among the training proposals. On training images, the proposals are more
#: accurate than on test images.
MOVED = 6
#: Standard deviation of the moves, relative to the size, of the logarithm of the sides, and of the angle in radians.
SPREAD = 0.12
#: The boxes at such offsets from others.
MOVES_OF: dict[str, Coder] = {
    UPRIGHT.key: BoxCoder((1.0, 1.0, 1.0, 1.0)),
    ROTATED.key: RotatedBoxCoder((1.0, 1.0, 1.0, 1.0, 1.0)),
}
#: Random stream of this module, separate from those of training.
MOVES = 100

Target = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Seen:
    """The images of a split, as the heads receive them."""

    maps: Tensor
    """``[N, C, H, W]``."""
    proposals: list[Tensor]
    """``[P, 4]`` per image, best first; ``[P, 5]`` if they are rotated."""


class DenseDetector(nn.Module):
    """A detector's backbone and proposals with a dense classifier, which trains the map for classes and outlines.

    At every map pixel, the classifier predicts which digit an anchor there shows, and which of the image pixels below
    it are ink. The heads need the same information, but no pooler is involved.
    """

    def __init__(self, detector: TwoStageDetector) -> None:
        super().__init__()
        self.transform, self.backbone, self.rpn = detector.transform, detector.backbone, detector.rpn
        channels, stride = self.backbone.out_channels, self.backbone.strides[0]
        self.classifier = nn.Conv2d(channels, self.rpn.anchors.per_pixel * detector.roi_heads.num_classes, 1)
        self.outlines = nn.Sequential(nn.Conv2d(channels, (stride // 4) ** 2, 1), nn.PixelShuffle(stride // 4))

    def losses(
        self, images: list[Tensor], targets: list[Target], generators: list[torch.Generator]
    ) -> dict[str, Tensor]:
        """Losses of the proposals, the classes and the ink."""
        batch, sizes = self.transform.batch(images)
        maps = self.backbone(batch)
        size = (batch.shape[-2], batch.shape[-1])
        boxes = [target[self.rpn.kind.key] for target in targets]
        _, losses = self.rpn(maps, size, sizes, boxes, generators)
        anchors = torch.cat(self.rpn.anchors(maps, size))
        logits = self.classifier(maps[0]).permute(0, 2, 3, 1).reshape(len(images), len(anchors), -1)
        of_objects, labels = [], []
        for index, target in enumerate(targets):
            matches = match(target["boxes"], anchors, 0.4, 0.5, each_matched=True)
            objects = torch.where(matches >= 0)[0]
            of_objects.append(logits[index, objects])
            labels.append(target["labels"][matches[objects]])
        losses["loss_classes"] = functional.cross_entropy(torch.cat(of_objects), torch.cat(labels))
        ink = torch.stack([target["masks"].amax(dim=0) for target in targets])[:, None].float()
        losses["loss_ink"] = functional.binary_cross_entropy_with_logits(
            self.outlines(maps[0]), functional.avg_pool2d(ink, 4)
        )
        return losses

    @torch.no_grad()
    def see(self, dataset: CocoDataset) -> Seen:
        """Return maps and proposals of every image."""
        maps, proposals = [], []
        for index in range(len(dataset)):
            batch, sizes = self.transform.batch([dataset[index][0]])
            found = self.backbone(batch)
            maps.append(found[0])
            proposals += self.rpn(found, (batch.shape[-2], batch.shape[-1]), sizes)[0]
        return Seen(torch.cat(maps), proposals)


def dataset_of(folder: Path, plan: Plan, cell: Cell, split: str) -> CocoDataset:
    """Return the scenes of a cell, and draw them if they do not exist. Every seed has its own dataset."""
    scenes = folder / "scenes" / f"{cell.set}-seed{cell.seed}"
    counts = {"train": plan.train_images, "val": plan.test_images}
    if not (scenes / split / "annotations.json").exists():
        write_scenes(scenes, {split: counts[split]}, replace(plan.scenes[cell.set], seed=cell.seed), plan.objects)
    return plan.dataset(scenes, split)


def first_stage(folder: Path, plan: Plan, cell: Cell) -> dict[str, Seen]:
    """Return what the cell's backbone produces for the training and test images."""
    train = dataset_of(folder, plan, cell, "train")
    model = train_dense(plan, cell, train)
    seen = {split: model.see(dataset_of(folder, plan, cell, split)) for split in ("train", "val")}
    kind = model.rpn.kind
    moved = [
        torch.cat([proposals, moved_boxes(train[index][1][kind.key], kind, generator_of(cell.seed, MOVES, index))])
        for index, proposals in enumerate(seen["train"].proposals)
    ]
    return {**seen, "train": Seen(seen["train"].maps, moved)}


def train_dense(plan: Plan, cell: Cell, dataset: CocoDataset) -> DenseDetector:
    """Train backbone, proposals and dense classifier. The pooler in the settings is never called."""
    settings = plan.detector_settings(cell.stride, plan.poolers[0])
    training = TrainSettings(
        settings, iterations=plan.backbone_iterations, batch_size=plan.batch_size, learning_rate=2e-3, seed=cell.seed
    )
    torch.manual_seed(seed_of(cell.seed, WEIGHTS))
    model = DenseDetector(settings.build()).train()
    optimiser = make_optimiser(training, model)
    for iteration, examples in enumerate(batches(Stream(dataset, training), 0, 0)):
        generators = [generator_of(cell.seed, SAMPLE, place) for place in places_of(iteration, plan.batch_size)]
        images, targets = zip(*examples, strict=True)
        step(
            model, optimiser, learning_rate(training, iteration), model.losses(list(images), list(targets), generators)
        )
    return model.eval()


def step(model: nn.Module, optimiser: torch.optim.Optimizer, rate: float, losses: dict[str, Tensor]) -> float:
    """Make one gradient step on the sum of the losses, and return the sum."""
    set_learning_rate(optimiser, rate)
    total = torch.stack(list(losses.values())).sum()
    optimiser.zero_grad()
    total.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    return float(total.detach())


def moved_boxes(boxes: Tensor, kind: BoxKind, generator: torch.Generator) -> Tensor:
    """Return copies of boxes, moved and resized at random, and turned if they are rotated."""
    offsets = torch.randn(len(boxes) * MOVED, 1, kind.numbers, generator=generator) * SPREAD
    copies = boxes.repeat_interleave(MOVED, dim=0)
    moved = kind.clip(MOVES_OF[kind.key].decode(offsets, copies)[:, 0], (IMAGE_SIZE, IMAGE_SIZE))
    return moved[kind.large_enough(moved, 1.0)]


def to_file(seen: dict[str, Seen]) -> dict[str, Any]:
    """Convert to types that `torch.load(weights_only=True)` can read."""
    return {split: {"maps": of_split.maps, "proposals": of_split.proposals} for split, of_split in seen.items()}


def from_file(content: dict[str, Any]) -> dict[str, Seen]:
    return {split: Seen(**of_split) for split, of_split in content.items()}
