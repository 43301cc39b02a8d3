"""The sizes to which images are resized, and the strides of the maps of a backbone."""

from __future__ import annotations

import re

import numpy as np
import pytest

from roialign.features import BackboneError, ImageSize
from roialign.features.backbone import check_map_sizes, probed


def test_sizes_of_images() -> None:
    assert ImageSize().of(11, 13) == (11, 13)
    assert ImageSize(64, 32).of(100, 150) == (64, 96)
    assert ImageSize(64, 32).of(10_000, 10) == (256, 32), "a strip is made smaller, and is never nothing"
    assert ImageSize(64, 32, longer=128).of(300, 100) == (128, 32), "the longer side has a limit of its own"
    assert ImageSize(fixed=(7, 9)).of(100, 150) == (7, 9)


def maps_of_sides(*sides: int) -> list[np.ndarray]:
    return [np.zeros((1, 8, side, side)) for side in sides]


def test_strides_are_those_that_a_model_states() -> None:
    """Layers round the sizes of maps up or down: 224 / 64 is 3.5, and 4 x 4 pixels still have stride 64."""
    assert probed(maps_of_sides(14, 7, 4), (224, 224), "levit", [16, 32, 64]) == ((16, 32, 64), (8, 8, 8))
    assert probed(maps_of_sides(27), (224, 224), "pit", [8])[0] == (8,)
    assert probed(maps_of_sides(14, 7), (224, 224), "inferred")[0] == (16, 32)


@pytest.mark.parametrize(
    ("sides", "stated", "why"),
    [
        ((14, 7, 5), None, "pixels evenly, got 5 x 5 in output 2 of 'a'; give another --image-size"),
        ((14, 7, 4), None, "strides that are multiples of finer ones, got [16, 32, 56] from 'a': a layer has rounded"),
        ((28, 0), [8, 32], "maps of at least 1 x 1 pixels, got [(28, 28), (0, 0)] from 'a'"),
        ((28, 14), [8, 32], "by its stride 32, got 14 x 14 in output 1 of 'a'"),
        ((109, 53), [2, 4], "by its stride 2, got 109 x 109 in output 0 of 'a'"),
        ((28, 14, 14), None, "one map of each stride, got outputs 1, 2 of strides [16, 16] from 'a': save the model"),
        ((7, 14), [32, 16], "maps with increasing strides, got [32, 16]"),
    ],
)
def test_maps_that_do_not_fit_the_strides(sides: tuple[int, ...], stated: list[int] | None, why: str) -> None:
    with pytest.raises(BackboneError, match=re.escape(why)):
        probed(maps_of_sides(*sides), (224, 224), "a", stated)


def test_a_pooled_image_is_no_map() -> None:
    pooled = np.zeros((1, 16, 1, 1))
    assert probed([*maps_of_sides(28, 14), pooled], (224, 224), "a") == ((8, 16), (8, 8))
    assert probed(maps_of_sides(2, 1), (32, 32), "of a small image") == ((16, 32), (8, 8))
    with pytest.raises(BackboneError, match=re.escape("a map with several pixels, got [(1, 1)] from 'a', in which")):
        probed([pooled], (224, 224), "a")


def test_maps_follow_the_size_of_images() -> None:
    check_map_sizes(maps_of_sides(56, 28, 7), (4, 8, 32), (224, 224))
    check_map_sizes(maps_of_sides(4), (64,), (288, 224))  # a layer has rounded 4.5 and 3.5
    check_map_sizes(maps_of_sides(27, 15), (8, 16), (224, 224), strides_are_stated=True)
    with pytest.raises(BackboneError, match="7 x 8 pixels for an image of 224 x 256 pixels"):
        check_map_sizes(maps_of_sides(7), (32,), (224, 256))
    with pytest.raises(BackboneError, match=r"56 x 112 pixels for an image of 224 x 448 pixels.* got 56 x 56"):
        check_map_sizes(maps_of_sides(56), (4,), (224, 448))
