"""The cut into shards: by images and boxes alone."""

from __future__ import annotations

import itertools
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from roialign.features.shards import cut_shards

COUNTS = st.lists(st.integers(0, 12), max_size=40)


@given(COUNTS, st.integers(1, 8), st.integers(1, 20))
def test_every_image_with_boxes_is_in_one_shard(counts: list[int], most_images: int, most_boxes: int) -> None:
    images = [Path(f"{index}.jpg") for index in range(len(counts))]
    of = dict(zip(images, counts, strict=True))
    shards = cut_shards(images, of.__getitem__, 10, "npz", shard_bytes=10 * most_boxes, shard_images=most_images)
    assert [image for shard in shards for image in shard.images] == [image for image in images if of[image]]
    assert len({shard.file for shard in shards}) == len(shards)
    for shard in shards:
        boxes = sum(of[image] for image in shard.images)
        assert 1 <= len(shard.images) <= most_images
        assert boxes <= most_boxes or len(shard.images) == 1, "an image is never cut"
    for one, other in itertools.pairwise(shards):
        boxes = sum(of[image] for image in (*one.images, other.images[0]))
        assert len(one.images) == most_images or boxes > most_boxes, "no shard ends early"


def test_names_sort_as_the_images_do() -> None:
    images = [Path(f"{index}.jpg") for index in range(123)]
    names = [shard.file for shard in cut_shards(images, lambda _: 1, 1, "parquet", shard_images=1)]
    assert names == sorted(names)
    assert names[7] == "features-00007-of-00123.parquet"
