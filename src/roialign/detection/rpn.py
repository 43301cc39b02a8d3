"""The region proposal network: anchors on every map, scored and refined by a small network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from .._validate import check_int, check_number_in, check_two, set_checked
from .box_kinds import UPRIGHT, BoxKind
from .boxes import padded_nms
from .matching import BACKGROUND, match, sample
from .processes import mean_over_processes

#: The threshold (beta) of the smooth L1 loss of offsets.
BETA = 1 / 9


@dataclass(frozen=True, slots=True)
class ProposalSettings:
    """Settings of the region proposal network, with torchvision's defaults. Pairs are for (training, detection).

    Overlaps are intersections over union.

    Raises
    ------
    TypeError, ValueError
        If a value has another type or is out of range. The message names it.
    """

    before_nms: tuple[int, int] = (2000, 1000)
    """The maximum number of proposals per level before non-maximum suppression."""
    after_nms: tuple[int, int] = (2000, 1000)
    """The maximum number of proposals per image, of all levels together, after non-maximum suppression."""
    nms_threshold: float = 0.7
    """A proposal is removed if its overlap with a better one of the same level is more than this."""
    score_threshold: float = 0.0
    """Proposals with a lower score, from 0 to 1, are left out."""
    background_below: float = 0.3
    """An anchor is background if its largest overlap with an object is less than this."""
    object_from: float = 0.7
    """An anchor belongs to the object that it overlaps most, if the overlap is at least this."""
    sample_size: int = 256
    """The number of anchors per image that are sampled for the loss."""
    object_share: float = 0.5
    """The maximum share of anchors in the sample that belong to an object."""

    def __post_init__(self) -> None:
        for name in ("before_nms", "after_nms"):
            pair = check_two(getattr(self, name), name, "(training, detection)", partial(check_int, lowest=1))
            set_checked(self, **{name: pair})
        for name in ("nms_threshold", "background_below", "object_from", "object_share"):
            set_checked(self, **{name: check_number_in(getattr(self, name), name, 0, 1)})
        set_checked(
            self,
            score_threshold=check_number_in(self.score_threshold, "score_threshold", 0),
            sample_size=check_int(self.sample_size, "sample_size", 1),
        )
        if self.background_below > self.object_from:
            raise ValueError(
                f"background_below: expected at most object_from, {self.object_from}, got {self.background_below}"
            )


def anchors_of(size: float, aspect_ratios: Sequence[float]) -> Tensor:
    """``[A, 4]`` boxes of area size^2 centred at the origin, rounded to whole pixels. A ratio is height / width."""
    heights = torch.tensor(aspect_ratios, dtype=torch.float32, device="cpu").sqrt()
    widths = size * (1 / heights)
    heights = size * heights
    return (torch.stack([-widths, -heights, widths, heights], dim=1) / 2).round()


class Anchors(nn.Module):
    """Anchor boxes at every pixel of every map. ``sizes[l]`` are the sizes on level l."""

    def __init__(self, sizes: Sequence[Sequence[float]], aspect_ratios: Sequence[float] = (0.5, 1.0, 2.0)) -> None:
        super().__init__()
        self.per_pixel = len(sizes[0]) * len(aspect_ratios)
        # Numbers and not buffers: bfloat16 would move the anchors, and a model made on the meta device would lose them.
        # The sizes are the inner loop, as in the order of torchvision's weights.
        self._cells: list[list[list[float]]] = [
            torch.stack([anchors_of(size, aspect_ratios) for size in of_level], dim=1).flatten(0, 1).tolist()
            for of_level in sizes
        ]

    def forward(self, maps: Sequence[Tensor], image_size: tuple[int, int]) -> list[Tensor]:
        """The anchors of each level, float32 ``[H * W * A, 4]``."""
        per_level = []
        for level, features in enumerate(maps):
            cells = torch.tensor(self._cells[level], dtype=torch.float32, device=features.device)
            height, width = features.shape[-2:]
            y = torch.arange(height, device=cells.device) * (image_size[0] // height)
            x = torch.arange(width, device=cells.device) * (image_size[1] // width)
            y, x = torch.meshgrid(y, x, indexing="ij")
            corners = torch.stack([x, y, x, y], dim=-1).reshape(-1, 1, 4)
            per_level.append((corners + cells).reshape(-1, 4))
        return per_level


class ProposalHead(nn.Module):
    """A convolution, then a score and the offsets, `numbers` each, of every anchor at every pixel."""

    def __init__(self, channels: int, per_pixel: int, numbers: int = 4) -> None:
        super().__init__()
        self.numbers = numbers
        self.conv = nn.Sequential(nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU()))
        self.cls_logits = nn.Conv2d(channels, per_pixel, 1)
        self.bbox_pred = nn.Conv2d(channels, per_pixel * numbers, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """For each level, scores ``[N, H * W * A]`` and offsets ``[N, H * W * A, numbers]``."""
        scores, offsets = [], []
        for features in maps:
            hidden = self.conv(features)
            count = len(features)
            scores.append(self.cls_logits(hidden).permute(0, 2, 3, 1).reshape(count, -1))
            offsets.append(self.bbox_pred(hidden).permute(0, 2, 3, 1).reshape(count, -1, self.numbers))
        return scores, offsets


class RegionProposals(nn.Module):
    """The region proposal network. Its proposals are upright or rotated, with P = 4 or 5 numbers each.

    The anchors are upright. Rotated boxes are matched to anchors, and suppress each other, by their upright hulls.

    References
    ----------
    Ren et al., "Faster R-CNN", NeurIPS 2015, https://arxiv.org/abs/1506.01497
    Xie et al., "Oriented R-CNN for Object Detection", ICCV 2021, https://arxiv.org/abs/2108.05699
    """

    def __init__(self, channels: int, anchors: Anchors, settings: ProposalSettings, kind: BoxKind = UPRIGHT) -> None:
        super().__init__()
        self.kind = kind
        self.coder = kind.proposal_coder()
        self.anchors = anchors
        self.head = ProposalHead(channels, anchors.per_pixel, self.coder.numbers)
        self.settings = settings

    def forward(
        self,
        maps: Sequence[Tensor],
        batch_size: tuple[int, int],
        image_sizes: Sequence[tuple[int, int]],
        truth: Sequence[Tensor] | None = None,
        generators: Sequence[torch.Generator | None] = (),
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """The proposals ``[K, P]`` of each image, best first, and the losses if `truth` is given."""
        scores, offsets = self.head(maps)
        anchors = self.anchors(maps, batch_size)
        padded = [self.best_of(index, scores, offsets, anchors, size) for index, size in enumerate(image_sizes)]
        proposals = [boxes[exists] for boxes, exists in padded]
        if truth is None:
            return proposals, {}
        every_score, every_offset = torch.cat(scores, 1).float(), torch.cat(offsets, 1).float()
        return proposals, self._losses(every_score, every_offset, anchors, truth, generators or [None] * len(truth))

    @torch.no_grad()
    def best_of(
        self,
        index: int,
        scores: Sequence[Tensor],
        offsets: Sequence[Tensor],
        anchors: Sequence[Tensor],
        size: tuple[int, int],
    ) -> tuple[Tensor, Tensor]:
        """Return the proposals ``[K, P]`` of one image, best first, and a mask of the rows that are not padding.

        K is given by the settings.
        """
        phase = 0 if self.training else 1
        best: list[tuple[Tensor, Tensor, Tensor]] = []
        for level, of_level in enumerate(anchors):
            most = self.settings.before_nms[phase]
            score, top = functional.pad(scores[level][index].float(), (0, most), value=-torch.inf).topk(most)
            top = top.clamp(max=of_level.shape[0] - 1)
            boxes = self.coder.decode(offsets[level][index, top, None].float(), of_level[top])[:, 0]
            best.append((boxes, score, torch.full_like(top, level)))
        boxes, score, levels = map(torch.cat, zip(*best, strict=True))
        boxes = self.kind.clip(boxes, size)
        kept = self.kind.large_enough(boxes, 1e-3) & (score.sigmoid() >= self.settings.score_threshold)
        score = torch.where(kept, score.sigmoid(), -torch.inf).where(score > -torch.inf, -torch.inf)
        hulls = self.kind.hulls(boxes)
        best_boxes = padded_nms(hulls, score, levels, self.settings.nms_threshold, self.settings.after_nms[phase])
        return boxes[best_boxes.clamp(min=0)], best_boxes >= 0

    def _losses(
        self,
        scores: Tensor,
        offsets: Tensor,
        anchors: Sequence[Tensor],
        truth: Sequence[Tensor],
        generators: Sequence[torch.Generator | None],
    ) -> dict[str, Tensor]:
        every = torch.cat(list(anchors))
        settings = self.settings
        score_loss, offset_loss, count = scores.sum() * 0, offsets.sum() * 0, 0
        for index, (boxes, generator) in enumerate(zip(truth, generators, strict=True)):
            matches = match(
                self.kind.hulls(boxes), every, settings.background_below, settings.object_from, each_matched=True
            )
            objects, background = sample(matches, settings.sample_size, settings.object_share, generator)
            chosen = torch.cat([objects, background])
            is_object = (matches[chosen] != BACKGROUND).to(scores)
            score_loss = score_loss + functional.binary_cross_entropy_with_logits(
                scores[index, chosen], is_object, reduction="sum"
            )
            if len(objects):
                wanted = self.coder.encode(boxes[matches[objects]], every[objects])
                offset_loss = offset_loss + functional.smooth_l1_loss(
                    offsets[index, objects], wanted, beta=BETA, reduction="sum"
                )
            count += len(chosen)
        mean = mean_over_processes(count, scores.device)
        return {"loss_objectness": score_loss / mean, "loss_rpn_box_reg": offset_loss / mean}
