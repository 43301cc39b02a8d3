"""Divides images into shards. The division depends only on the images and their boxes, not on the machines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

#: The approximate size of the features of a shard in bytes, and its largest number of images.
SHARD_BYTES, SHARD_IMAGES = 64 << 20, 1000


@dataclass(frozen=True, slots=True)
class Shard:
    """Consecutive images, and the file of their features."""

    file: str
    images: tuple[Path, ...]
    number: int
    """The place of the shard in its job, from 0."""


def cut_shards(
    images: Sequence[Path],
    count: Callable[[Path], int],
    row_bytes: int,
    ending: str,
    *,
    shard_bytes: int = SHARD_BYTES,
    shard_images: int = SHARD_IMAGES,
) -> list[Shard]:
    """Divide images into shards. Images are added to a shard until the next one would make it too large.

    Parameters
    ----------
    images : sequence of Path
        The images in the order of the result. Images without boxes are left out.
    count : function
        Returns the number of boxes of an image.
    row_bytes : int
        The size of the features of a box in bytes.
    ending : str
        The ending of the files.
    shard_bytes, shard_images : int
        The approximate size of the features of a shard in bytes, and its largest number of images.

    Returns
    -------
    list of Shard

    Examples
    --------
    >>> images = [Path("a.png"), Path("b.png"), Path("c.png")]
    >>> [len(shard.images) for shard in cut_shards(images, lambda _: 2, 1, "npz", shard_bytes=4)]
    [2, 1]
    """
    groups = list(_groups(images, count, max(shard_bytes // max(row_bytes, 1), 1), shard_images))
    width = max(len(str(len(groups))), 5)
    return [
        Shard(f"features-{number:0{width}}-of-{len(groups):0{width}}.{ending}", tuple(group), number)
        for number, group in enumerate(groups)
    ]


def _groups(
    images: Sequence[Path], count: Callable[[Path], int], most_boxes: int, most_images: int
) -> Iterator[list[Path]]:
    group: list[Path] = []
    boxes = 0
    for image in images:
        own = count(image)
        if own == 0:
            continue
        if group and (boxes + own > most_boxes or len(group) == most_images):
            yield group
            group, boxes = [], 0
        group.append(image)
        boxes += own
    if group:
        yield group
