"""Batch images of different sizes, and map the results back to the images."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from .._validate import check_int
from .box_kinds import KINDS, ROTATED, UPRIGHT, Size
from .processes import largest_over_processes
from .roi_heads import Target

#: The mean and standard deviation of ImageNet, as used by the published weights.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: A batch is padded to a multiple of this, so that every stride divides it.
DIVISOR = 32


class Transform(nn.Module):
    """Normalise images, resize them (shorter side `min_size`, longer at most `max_size`) and pad them to a batch."""

    def __init__(self, min_size: int, max_size: int) -> None:
        super().__init__()
        self.min_size, self.max_size = check_int(min_size, "min_size", 1), check_int(max_size, "max_size", 1)

    def batch(self, images: Sequence[Tensor]) -> tuple[Tensor, list[Size]]:
        """Return the batch ``[N, 3, H, W]`` and the size of each image in it."""
        resized = [self._resize(image) for image in images]
        sizes = [(image.shape[-2], image.shape[-1]) for image in resized]
        height, width = (-(-max(side) // DIVISOR) * DIVISOR for side in zip(*sizes, strict=True))
        if self.training:  # group normalisation sees the padding, so it must be the same in every process
            height, width = largest_over_processes((height, width), resized[0].device)
        batch = resized[0].new_zeros(len(images), 3, height, width)
        for index, image in enumerate(resized):
            batch[index, :, : image.shape[-2], : image.shape[-1]] = image
        return batch, sizes

    def _resize(self, image: Tensor) -> Tensor:
        image = normalise(image)
        height, width = image.shape[-2:]
        factor = min(self.min_size / min(height, width), self.max_size / max(height, width))
        # A narrow strip may be scaled to less than one pixel.
        size = (max(math.floor(height * factor), 1), max(math.floor(width * factor), 1))
        return functional.interpolate(image[None], size=size, mode="bilinear", align_corners=False)[0]

    def target(self, target: Target, size: Size, new_size: Size) -> dict[str, Tensor]:
        """Scale the boxes and masks of an image to its size in the batch."""
        moved = {kind.key: kind.resize(target[kind.key], size, new_size) for kind in KINDS if kind.key in target}
        moved["labels"] = target["labels"]
        if "masks" in target:
            masks = target["masks"][:, None].float()
            moved["masks"] = functional.interpolate(masks, size=new_size)[:, 0] if len(masks) else masks[:, 0]
        return moved

    def restore(self, found: dict[str, Tensor], size: Size, new_size: Size) -> dict[str, Tensor]:
        """Scale detections back to the original image. Masks become ``[D, 1, H, W]`` probabilities."""
        kind = ROTATED if ROTATED.key in found else UPRIGHT
        restored = {**found, **kind.found(kind.resize(found[kind.key], new_size, size))}
        if "masks" in found:
            restored["masks"] = paste_masks(found["masks"], restored["boxes"], size)
        return restored


def normalise(images: Tensor) -> Tensor:
    """Normalise images ``[..., 3, H, W]`` with values from 0 to 1, as the published weights expect."""
    return (images - images.new_tensor(MEAN)[:, None, None]) / images.new_tensor(DEVIATION)[:, None, None]


def paste_masks(masks: Tensor, boxes: Tensor, size: Size) -> Tensor:
    """Paste masks ``[D, M, M]`` into their boxes, giving ``[D, 1, H, W]``, by torchvision's rule."""
    # Each mask is padded by one empty cell, and its box is rounded to whole pixels.
    side = masks.shape[-1]
    half = (boxes[:, 2:] - boxes[:, :2]) * 0.5 * ((side + 2) / side)
    centre = (boxes[:, :2] + boxes[:, 2:]) * 0.5
    corners = torch.cat([centre - half, centre + half], dim=1).to(torch.int64).tolist()
    pasted = masks.new_zeros(len(masks), 1, *size)
    for index, (left, top, right, bottom) in enumerate(corners):
        shape = (max(bottom - top + 1, 1), max(right - left + 1, 1))
        padded = functional.pad(masks[index], (1, 1, 1, 1))[None, None]
        image = functional.interpolate(padded, size=shape, mode="bilinear", align_corners=False)[0, 0]
        y = slice(max(top, 0), min(bottom + 1, size[0]))
        x = slice(max(left, 0), min(right + 1, size[1]))
        pasted[index, 0, y, x] = image[y.start - top : y.stop - top, x.start - left : x.stop - left]
    return pasted
