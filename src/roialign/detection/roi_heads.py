"""RoI heads, from proposals to detections: one box stage or a cascade of them, and masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .._validate import check_int, check_number_in, set_checked
from ..ops.roi_align import roi_align
from .box_kinds import UPRIGHT, BoxKind, Size
from .boxes import padded_nms
from .heads import BoxStage, MaskBranch
from .matching import match, sample
from .processes import mean_over_processes
from .rpn import BETA

Target = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RoISettings:
    """Settings of the RoI heads of Faster R-CNN, with torchvision's defaults.

    Raises
    ------
    TypeError, ValueError
        If a value has another type or is out of range. The message names it.
    """

    sample_size: int = 512
    """The number of proposals per image that are sampled for the loss of each stage."""
    object_share: float = 0.25
    """The maximum share of proposals in the sample that belong to an object."""
    score_threshold: float = 0.05
    """Detections need a score, from 0 to 1, of more than this."""
    nms_threshold: float = 0.5
    """A detection is removed if its intersection over union with a better one of its class is more than this."""
    detections: int = 100
    """The maximum number of detections per image. Those with the best scores are kept."""
    smallest_side: float = 1e-2
    """Boxes with a shorter side than this are left out. It is in pixels of the resized image."""

    def __post_init__(self) -> None:
        for name in ("sample_size", "detections"):
            set_checked(self, **{name: check_int(getattr(self, name), name, 1)})
        for name, highest in (
            ("object_share", 1),
            ("nms_threshold", 1),
            ("score_threshold", None),
            ("smallest_side", None),
        ):
            set_checked(self, **{name: check_number_in(getattr(self, name), name, 0, highest)})


@dataclass(frozen=True, slots=True)
class Sample:
    """The boxes of one image that are sampled for a loss, objects first."""

    boxes: Tensor
    labels: Tensor
    """The label of each box. 0 is background."""
    matches: Tensor
    """The ground-truth index of each object. The objects come first."""


class RoIHeads(nn.Module):
    """Predict boxes, scores and masks from proposals.

    Proposals and boxes are upright or rotated, with B = 4 or 5 numbers each. Masks need upright boxes.

    References
    ----------
    Cai and Vasconcelos, "Cascade R-CNN", CVPR 2018, https://arxiv.org/abs/1712.00726
    He et al., "Mask R-CNN", ICCV 2017, https://arxiv.org/abs/1703.06870
    """

    def __init__(
        self,
        box_pooler: nn.Module,
        stages: Sequence[BoxStage],
        settings: RoISettings,
        mask_pooler: nn.Module | None = None,
        mask_branch: MaskBranch | None = None,
        kind: BoxKind = UPRIGHT,
    ) -> None:
        super().__init__()
        self.kind = kind
        self.box_pooler = box_pooler
        self.stages = nn.ModuleList(stages)
        self.settings = settings
        self.mask_pooler = mask_pooler
        self.mask_branch = mask_branch

    @property
    def _stages(self) -> list[BoxStage]:
        return [stage for stage in self.stages if isinstance(stage, BoxStage)]

    @property
    def num_classes(self) -> int:
        """The number of classes, including the background."""
        return self._stages[0].box_predictor.cls_score.out_features

    def losses(
        self,
        maps: Sequence[Tensor],
        sizes: Sequence[Size],
        proposals: Sequence[Tensor],
        targets: Sequence[Target],
        generators: Sequence[torch.Generator | None] = (),
    ) -> dict[str, Tensor]:
        """The losses of every stage, and the mask loss of the objects of the first stage."""
        generators = generators or [None] * len(targets)
        losses: dict[str, Tensor] = {}
        boxes = [torch.cat([found, target[self.kind.key]]) for found, target in zip(proposals, targets, strict=True)]
        first: list[Sample] = []
        offsets = torch.zeros(0, device="cpu")
        for number, stage in enumerate(self._stages):
            if number:
                boxes = self._refined(self._stages[number - 1], offsets, boxes, sizes)
                boxes = [of_image[self.kind.large_enough(of_image, self.settings.smallest_side)] for of_image in boxes]
            samples = [
                self._sample(of_image, target, stage, generator)
                for of_image, target, generator in zip(boxes, targets, generators, strict=True)
            ]
            first = first or samples
            boxes = [chosen.boxes for chosen in samples]
            scores, offsets = stage(self.box_pooler(maps, boxes))
            suffix = f"_{number + 1}" if number else ""
            truth = [target[self.kind.key] for target in targets]
            losses |= {f"{name}{suffix}": loss for name, loss in _box_losses(stage, scores, offsets, samples, truth)}
        if self.mask_branch is not None:
            losses["loss_mask"] = self._mask_loss(maps, first, targets)
        return losses

    def detect(
        self, maps: Sequence[Tensor], sizes: Sequence[Size], proposals: Sequence[Tensor], *, masks: bool = True
    ) -> list[dict[str, Tensor]]:
        """For each image: boxes ``[D, B]``, scores, labels, and mask probabilities ``[D, M, M]`` within the boxes."""
        moved = self.moved(maps, sizes, proposals)
        detections = [_existing(*self.best_of(boxes, scores)) for boxes, scores in moved]
        if masks and self.mask_branch is not None:
            self._add_masks(maps, detections)
        return detections

    def moved(
        self, maps: Sequence[Tensor], sizes: Sequence[Size], proposals: Sequence[Tensor]
    ) -> list[tuple[Tensor, Tensor]]:
        """For each image: the boxes ``[K, D, B]`` after all stages, and their class scores."""
        boxes = list(proposals)
        probabilities, offsets = torch.zeros((), device="cpu"), torch.zeros(0, device="cpu")
        for number, stage in enumerate(self._stages):
            if number:
                boxes = self._refined(self._stages[number - 1], offsets, boxes, sizes)
            scores, offsets = stage(self.box_pooler(maps, boxes))
            probabilities = probabilities.to(scores) + scores.softmax(-1)
        moved = self._stages[-1].coder.decode(offsets, torch.cat(boxes))
        scores = probabilities / len(self.stages)
        parts = zip(_split(moved, boxes), _split(scores, boxes), sizes, strict=True)
        return [(self.kind.clip(part, size), scores_of_part) for part, scores_of_part, size in parts]

    @torch.no_grad()
    def _sample(self, boxes: Tensor, target: Target, stage: BoxStage, generator: torch.Generator | None) -> Sample:
        truth = target[self.kind.key]
        matches = match(truth, boxes, stage.object_from, stage.object_from, overlaps_of=self.kind.overlaps)
        objects, background = sample(matches, self.settings.sample_size, self.settings.object_share, generator)
        labels = torch.cat([target["labels"][matches[objects]], torch.zeros_like(background)])
        return Sample(boxes[torch.cat([objects, background])], labels, matches[objects])

    @torch.no_grad()
    def _refined(
        self, stage: BoxStage, offsets: Tensor, boxes: Sequence[Tensor], sizes: Sequence[Size]
    ) -> list[Tensor]:
        """The boxes after one stage of the cascade."""
        moved = stage.coder.decode(offsets, torch.cat(list(boxes)))[:, 0]
        return [self.kind.clip(part, size) for part, size in zip(_split(moved, boxes), sizes, strict=True)]

    def best_of(self, boxes: Tensor, scores: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Select the detections of one image from boxes ``[K, D, B]`` and scores ``[K, classes]``.

        Returns a fixed number of rows, given by the settings, best first, and a mask that tells which rows are
        detections. A padded proposal must have scores of 0.
        """
        classes = scores.shape[1]
        # One extra empty row, used as padding even if there is no proposal at all.
        boxes, scores = functional.pad(boxes, (0, 0, 0, 0, 0, 1)), functional.pad(scores, (0, 0, 0, 1))
        boxes = boxes.expand(-1, classes, -1)[:, 1:].flatten(0, 1)
        labels = torch.arange(1, classes, device=scores.device).repeat(len(scores))
        scores = scores[:, 1:].reshape(-1)
        kept = (scores > self.settings.score_threshold) & self.kind.large_enough(boxes, self.settings.smallest_side)
        competing = torch.where(kept, scores, -torch.inf)
        settings = self.settings
        best = padded_nms(boxes, competing, labels, settings.nms_threshold, settings.detections)
        row = best.clamp(min=0)
        return {**self.kind.found(boxes[row]), "scores": scores[row], "labels": labels[row]}, best >= 0

    def mask_logits(self, maps: Sequence[Tensor], boxes: Sequence[Tensor], labels: Tensor) -> Tensor:
        """``[K, M, M]``: for each box, the mask logits of its own class."""
        assert self.mask_branch is not None
        assert self.mask_pooler is not None
        logits: Tensor = self.mask_branch(self.mask_pooler(maps, boxes))
        return logits[torch.arange(len(labels), device=labels.device), labels]

    def _mask_loss(self, maps: Sequence[Tensor], samples: Sequence[Sample], targets: Sequence[Target]) -> Tensor:
        boxes = [chosen.boxes[: len(chosen.matches)] for chosen in samples]
        labels = torch.cat([chosen.labels[: len(chosen.matches)] for chosen in samples])
        logits = self.mask_logits(maps, boxes, labels)
        count = mean_over_processes(len(labels), logits.device)
        if len(labels) == 0:
            return logits.sum() * 0
        wanted = [
            roi_align(
                target["masks"][:, None].float(),
                of_image,
                logits.shape[-1],
                sampling="exact",
                batch_indices=chosen.matches,
            )[:, 0]
            for of_image, chosen, target in zip(boxes, samples, targets, strict=True)
            if len(of_image)
        ]
        loss = functional.binary_cross_entropy_with_logits(logits, torch.cat(wanted), reduction="sum")
        return loss / (count * logits[0].numel())

    def _add_masks(self, maps: Sequence[Tensor], detections: list[dict[str, Tensor]]) -> None:
        labels = torch.cat([found["labels"] for found in detections])
        probabilities = self.mask_logits(maps, [found["boxes"] for found in detections], labels).sigmoid()
        parts = _split(probabilities, [found["labels"] for found in detections])
        for found, masks in zip(detections, parts, strict=True):
            found["masks"] = masks


def _existing(found: dict[str, Tensor], exists: Tensor) -> dict[str, Tensor]:
    return {name: values[exists] for name, values in found.items()}


def _split(rows: Tensor, like: Sequence[Tensor]) -> Sequence[Tensor]:
    """Split the rows of all images into rows per image."""
    parts: Sequence[Tensor] = torch.split(rows, [len(of_image) for of_image in like])
    return parts


def _box_losses(
    stage: BoxStage, scores: Tensor, offsets: Tensor, samples: Sequence[Sample], truth: Sequence[Tensor]
) -> list[tuple[str, Tensor]]:
    labels = torch.cat([chosen.labels for chosen in samples])
    boxes = torch.cat([chosen.boxes for chosen in samples])
    matched = torch.cat([of_image[chosen.matches] for chosen, of_image in zip(samples, truth, strict=True)])
    count = mean_over_processes(len(labels), scores.device)
    objects = torch.where(labels > 0)[0]
    score_loss = functional.cross_entropy(scores, labels, reduction="sum") / count
    which = labels[objects] if offsets.shape[1] > 1 else torch.zeros_like(objects)
    wanted = stage.coder.encode(matched, boxes[objects])
    offset_loss = functional.smooth_l1_loss(offsets[objects, which], wanted, beta=BETA, reduction="sum") / count
    return [("loss_classifier", score_loss), ("loss_box_reg", offset_loss)]
