"""How a set of images is cut into shards: by the images and their boxes alone, whoever does the work."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

#: Features of a shard have about so many bytes, and it has at most so many images.
SHARD_BYTES, SHARD_IMAGES = 64 << 20, 1000


@dataclass(frozen=True, slots=True)
class Shard:
    """Images that follow each other, and the file of their features."""

    file: str
    images: tuple[Path, ...]


def cut_shards(
    images: Sequence[Path],
    count: Callable[[Path], int],
    row_bytes: int,
    ending: str,
    *,
    shard_bytes: int = SHARD_BYTES,
    shard_images: int = SHARD_IMAGES,
) -> list[Shard]:
    """The shards of a job: images are added to one until another would make it too large.

    Parameters
    ----------
    images : sequence of Path
        In the order in which they are written; those without boxes are left out.
    count : function
        How many boxes an image has.
    row_bytes : int
        Of the features of a box.

    Examples
    --------
    >>> images = [Path("a.png"), Path("b.png"), Path("c.png")]
    >>> [len(shard.images) for shard in cut_shards(images, lambda _: 2, 1, "npz", shard_bytes=4)]
    [2, 1]
    """
    groups = list(_groups(images, count, max(shard_bytes // max(row_bytes, 1), 1), shard_images))
    width = max(len(str(len(groups))), 5)
    return [
        Shard(f"features-{number:0{width}}-of-{len(groups):0{width}}.{ending}", tuple(group))
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
