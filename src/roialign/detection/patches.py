"""Large images are cut into overlapping patches of one size: where the patches are, and their pixels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .._validate import check_int, set_checked
from ..files.images import OpenPicture
from ..files.problems import DatasetError
from .coco import read_part
from .transform import MEAN

#: The default side of a patch and the default overlap, those of DOTA's and mmrotate's tools.
USUAL_SIZE, USUAL_OVERLAP = 1024, 200
#: The largest side of a patch. A larger one does not fit into memory.
LARGEST_SIZE = 2**15
#: The largest side of a patch that is more than twice as large as its image. It is padding for the most part.
LARGEST_PADDED = 2**13
#: The most patches of a dataset.
MOST_PATCHES = 10**7
#: The default overlap is at most this share of a patch.
USUAL_SHARE = 5
#: The number of rows that are read at once to reduce an image.
STRIP_ROWS = 256


class Patch(NamedTuple):
    """A square part of an image. It ends beyond an image that is smaller."""

    x: int
    y: int
    size: int

    @property
    def corners(self) -> tuple[int, int, int, int]:
        """x1, y1, x2, y2."""
        return self.x, self.y, self.x + self.size, self.y + self.size


@dataclass(frozen=True, slots=True)
class PatchSettings:
    """How large images are cut into overlapping patches.

    Concretely, ``PatchSettings(1024, 200)`` has a patch of 1024 x 1024 pixels every 824 pixels. The last patch of a row
    or a column is moved so that it ends at the border of the image. An image that is smaller than a patch has one patch
    in that direction, which is padded. These are the patches of mmrotate's `img_split.py` and of DOTA's `ImgSplit`.

    An object lies whole in a patch if neither side of its upright hull is larger than `overlap`. So choose an overlap
    that is as large as the largest objects.

    Parameters
    ----------
    size : int, default 1024
        The side of a patch in pixels, at most 32768.
    overlap : int, default 200, but at most a fifth of `size`
        The pixels that two neighbours share, less than `size`. mmrotate calls it `gap`.

    Raises
    ------
    TypeError, ValueError
        If a number is not whole or out of range.

    Examples
    --------
    >>> from roialign.detection import PatchSettings
    >>> [(patch.x, patch.y) for patch in PatchSettings(100, 20).patches(230, 90)]
    [(0, 0), (80, 0), (130, 0)]

    References
    ----------
    Xia et al., "DOTA: A Large-scale Dataset for Object Detection in Aerial Images", CVPR 2018,
    https://arxiv.org/abs/1711.10398
    """

    size: int = USUAL_SIZE
    overlap: int | None = None

    def __post_init__(self) -> None:
        set_checked(self, size=check_int(self.size, "size", 1, LARGEST_SIZE))
        overlap = min(USUAL_OVERLAP, self.size // USUAL_SHARE) if self.overlap is None else self.overlap
        set_checked(self, overlap=check_int(overlap, "overlap", 0))
        if self.shared >= self.size:
            raise ValueError(f"overlap: expected less than {self.size}, the size of a patch, got {self.shared}")

    @property
    def shared(self) -> int:
        """The overlap, which is never None."""
        assert self.overlap is not None
        return self.overlap

    def patches(self, width: int, height: int) -> Iterator[Patch]:
        """The patches of an image, row by row."""
        columns = self._starts(width)
        return (Patch(x, y, self.size) for y in self._starts(height) for x in columns)

    def count(self, width: int, height: int) -> int:
        """The number of patches of an image."""
        return len(self._starts(width)) * len(self._starts(height))

    def total(self, sizes: Iterable[tuple[int, int]]) -> int:
        """The number of patches of all images of a dataset, from their widths and heights.

        Raises
        ------
        ValueError
            If there are more than 10 million.
        """
        total = sum(self.count(width, height) for width, height in sizes)
        if total > MOST_PATCHES:
            raise ValueError(
                f"size, overlap: expected at most {MOST_PATCHES} patches in all, got {total}: patches of "
                f"{self.size} pixels that share {self.shared}; use larger patches or less overlap"
            )
        return total

    def _starts(self, length: int) -> list[int]:
        """The first pixels of the patches along one side of an image."""
        last = max(length - self.size, 0)
        return [*range(0, last, self.size - self.shared), last]


def read_patch(picture: OpenPicture, patch: Patch) -> Tensor:
    """Read a patch as ``[3, size, size]`` float32 from 0 to 1.

    Beyond the image, it has ImageNet's mean colour, which is 0 for the network, like the padding of a batch.

    Raises
    ------
    DatasetError
        As :func:`roialign.detection.coco.read_part` does. If a patch of more than 8192 pixels per side is also more
        than twice as large as the image.
    """
    most = max(LARGEST_PADDED, 2 * max(picture.width, picture.height))
    if patch.size > most:
        raise DatasetError(
            f"{picture.path}: expected patches of at most {most} pixels per side for an image of {picture.width} x "
            f"{picture.height} pixels, got {patch.size}, which would be padding for the most part"
        )
    width, height = min(patch.size, picture.width - patch.x), min(patch.size, picture.height - patch.y)
    pixels = read_part(picture, (patch.x, patch.y, width, height))
    if (width, height) == (patch.size, patch.size):
        return pixels
    padded = pixels.new_tensor(MEAN)[:, None, None].repeat(1, patch.size, patch.size)
    padded[:, :height, :width] = pixels
    return padded


def read_reduced(picture: OpenPicture, longest: int) -> tuple[Tensor, tuple[int, int]]:
    """Read an image whose longer side is reduced to at most `longest` pixels, strip by strip.

    Returns
    -------
    pixels : Tensor
        ``[3, H, W]`` float32 from 0 to 1. Each pixel is the mean of a block of pixels of the image.
    block : (height, width)
        The size of a block. Pixels of the image beyond the last whole block are left out.

    Raises
    ------
    DatasetError
        As :func:`roialign.detection.coco.read_part` does.
    """
    factor = -(-max(picture.width, picture.height) // longest)
    down, across = min(factor, picture.height), min(factor, picture.width)
    height, width = picture.height // down, picture.width // across
    rows = max(STRIP_ROWS // down, 1)
    strips = []
    for first in range(0, height, rows):
        count = min(rows, height - first)
        strip = read_part(picture, (0, first * down, width * across, count * down))
        strips.append(strip.reshape(3, count, down, width, across).mean(dim=(2, 4)))
    return torch.cat(strips, dim=1), (down, across)
