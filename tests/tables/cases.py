"""The one table of cases that every backend is tested on, and what the reference answers for each."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import ml_dtypes
import numpy as np

from roialign._spec import SeparableSpec
from tests.tables.boxes import KINDS, draw_box

Array = np.ndarray[Any, np.dtype[Any]]

EVERY_KIND = tuple(KINDS)


def roi_align_spec(rule: Any = "grid", ratio: tuple[int, int] = (0, 0), aligned: bool = True) -> SeparableSpec:
    """RoIAlign's conventions: half-pixel shift, or at least one pixel long."""
    return SeparableSpec(
        rule=rule,
        sampling_ratio=ratio,
        offset=0.5 if aligned else 0.0,
        minimum_length=-math.inf if aligned else 1.0,
        seed=20170322 + 2**40,
    )


PRROI = SeparableSpec(rule="prroi", minimum_length=0.0)
CROP = SeparableSpec(rule="crop", normalised_boxes=True)
NEAREST = SeparableSpec(rule="nearest", normalised_boxes=True, fill=-1.5)
CROP_FILL = SeparableSpec(rule="crop", normalised_boxes=True, fill=-1.5)


@dataclass(frozen=True)
class Inputs:
    """Arrays for a backend, float64."""

    features: list[Array]
    rois: Array
    levels: Array
    grad_output: Array
    tangents: list[Array]


@dataclass(frozen=True)
class Case:
    """One call of a backend, described; `draw` makes its arrays."""

    family = "separable"

    name: str
    reason: str
    spec: Any = field(default_factory=roi_align_spec)
    maps: tuple[tuple[int, int], ...] = ((9, 12),)
    scales: tuple[float, ...] = (0.25,)
    images: int = 2
    channels: int = 3
    output_size: tuple[int, int] = (3, 4)
    kinds: tuple[str, ...] = EVERY_KIND
    boxes_per_kind: int = 1
    unknown_images: bool = False

    def draw(self) -> Inputs:
        """The arrays of the case, always the same; their values fit every dtype, so all dtypes see the same numbers."""
        rng = np.random.default_rng(sum(map(ord, self.name)))
        features = [values(rng, (self.images, self.channels, *size)) for size in self.maps]
        rows, levels = [], []
        for kind in self.kinds * self.boxes_per_kind:
            level = int(rng.integers(len(self.maps)))
            image = -1 if self.unknown_images and len(rows) % 3 == 1 else int(rng.integers(self.images))
            rows.append([image, *self._to_image(draw_box(kind, rng, *self.maps[level]), level)])
            levels.append(level)
        count = len(rows)
        return Inputs(
            features,
            np.array(rows, dtype=np.float64).reshape(count, 5),
            np.array(levels, dtype=np.int64),
            values(rng, (count, self.channels, *self.output_size)),
            [rng.standard_normal((count, 4)) for _ in range(2)],
        )

    def _to_image(self, box: tuple[float, float, float, float], level: int) -> list[float]:
        """Feature coordinates to the coordinates that the spec maps back onto them."""
        height, width = self.maps[level]
        scale: Any = getattr(self.spec, "scale", lambda scale, _size: scale)
        scales = [scale(self.scales[level], size) or 1.0 for size in (width, height)]
        return [(value + self.spec.offset) / scales[axis % 2] for axis, value in enumerate(box)]


def values(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.standard_normal(shape).astype(ml_dtypes.bfloat16).astype(np.float64)


def _grid_of_rules() -> list[Case]:
    """Every rule and convention on every kind of box."""
    return [
        Case("grid, adaptive", "the default of roi_align"),
        Case("grid, adaptive, not aligned", "lengthens short boxes to a pixel", roi_align_spec(aligned=False)),
        Case("grid, 2 x 2", "the commonest fixed count", roi_align_spec(ratio=(2, 2))),
        Case("grid, 1 x 3, not aligned", "unequal counts on the axes", roi_align_spec(ratio=(1, 3), aligned=False)),
        Case("grid, fixed and adaptive", "adaptive on one axis only", roi_align_spec(ratio=(0, 5))),
        Case("grid, 70 points", "more points than are enumerated one by one", roi_align_spec(ratio=(70, 65))),
        Case("random, adaptive", "counters beyond the points that touch the map", roi_align_spec("random")),
        Case("random, 3 x 2", "a fixed count of jittered points", roi_align_spec("random", (3, 2))),
        Case("random, not aligned", "random points in lengthened boxes", roi_align_spec("random", (2, 0), False)),
        Case("exact", "the closed form", roi_align_spec("exact")),
        Case("exact, not aligned", "the closed form, lengthened boxes", roi_align_spec("exact", aligned=False)),
        Case("prroi", "zero padding, zero for empty boxes", PRROI),
        Case("crop", "normalised boxes, points off the image rejected", CROP),
        Case("crop, fill", "a fill value in every bin that no point reaches", CROP_FILL),
        Case("nearest", "the nearest pixel", NEAREST),
        Case("crop to one row", "one bin takes the middle of the box", CROP_FILL, output_size=(1, 5)),
        Case("crop to one pixel", "the middle on both axes", CROP, output_size=(1, 1)),
    ]


def _shapes() -> list[Case]:
    """Sizes at which kernels change their way: channels, bins, maps, spans, RoIs, levels."""
    exact, some = roi_align_spec("exact"), ("inside", "border", "covering", "inverted", "integer")
    pyramid: dict[str, Any] = {"maps": ((16, 20), (8, 10), (4, 5)), "scales": (1 / 4, 1 / 8, 1 / 16)}
    return [
        Case("1 channel", "less than any vector", channels=1),
        Case("16 channels", "a whole number of vectors", channels=16, kinds=some),
        Case("17 channels", "a vector and one left over", channels=17, kinds=some),
        Case("257 channels", "many vectors and one left over", channels=257, images=1, kinds=some[:3]),
        Case("257 channels, exact", "the same with wide taps", exact, channels=257, images=1, kinds=some[:3]),
        Case("17 channels, fill", "the fill value in left-over channels", CROP_FILL, channels=17, kinds=some),
        Case("wide span", "taps of a RoI span more than 32 pixels", exact, ((41, 70),), kinds=some, images=1),
        Case("wide span, adaptive", "and many merge into one bin", maps=((70, 41),), kinds=some, images=1),
        Case(
            "one bin over all", "a bin's taps cover the whole map", exact, ((37, 45),), output_size=(1, 1), kinds=some
        ),
        Case("more bins than pixels", "dozens of bins read the same pixel", maps=((3, 4),), output_size=(14, 17)),
        Case("one bin", "no grid at all", output_size=(1, 1)),
        Case("one row of bins", "PH = 1", roi_align_spec("exact"), output_size=(1, 9)),
        Case("one column of bins", "PW = 1", PRROI, output_size=(8, 1)),
        Case(
            "random, one bin",
            "the bin of a counter is 0",
            roi_align_spec("random", (2, 3)),
            output_size=(1, 1),
            kinds=some,
        ),
        Case(
            "prroi, one bin", "the whole box", PRROI, output_size=(1, 1), channels=17, kinds=some, unknown_images=True
        ),
        Case("map of one pixel", "H = W = 1", maps=((1, 1),), scales=(1.0,)),
        Case("map of one pixel, exact", "H = W = 1, two borders in one cell", exact, ((1, 1),), (1.0,)),
        Case("map of one pixel, prroi", "H = W = 1 between zeros", PRROI, ((1, 1),), (1.0,)),
        Case("map of one pixel, crop", "normalised by H - 1 = 0", CROP_FILL, ((1, 1),), (1.0,)),
        Case("map of one row", "H = 1, W > 1", exact, ((1, 11),), (1.0,)),
        Case("map of one column", "H > 1, W = 1", maps=((11, 1),), scales=(1.0,)),
        Case("stride 14", "a scale that is no power of two", scales=(1 / 14,)),
        Case("four images", "batch strides", images=4, maps=((5, 6),), boxes_per_kind=2),
        Case("many boxes on one map", "gradients of many RoIs meet in a pixel", images=1, boxes_per_kind=5),
        Case(
            "small boxes on a tall map",
            "a window sweeps down a planar map",
            maps=((90, 10),),
            channels=20,
            images=1,
            kinds=("small",),
            boxes_per_kind=150,
        ),
        Case("boxes of no image", "image -1 gives zeros", CROP_FILL, unknown_images=True, boxes_per_kind=2),
        Case("boxes of no image, aligned", "and adds nothing to a gradient", unknown_images=True, boxes_per_kind=2),
        Case("no boxes", "an empty answer and gradients of zeros", kinds=()),
        Case("pyramid", "a level for every RoI", **pyramid, boxes_per_kind=2),
        Case("pyramid, not aligned", "levels and lengthened boxes", roi_align_spec("grid", (2, 2), False), **pyramid),
        Case("pyramid, exact", "levels and closed form", exact, **pyramid, unknown_images=True),
        Case(
            "pyramid, random", "the counter is the row, whatever the level", roi_align_spec("random", (2, 2)), **pyramid
        ),
    ]


#: Of a small case: RoIs, pixels and bins along an axis, and channels: more than 64, and some left over of any vector.
SMALL_ROWS, SMALL_MAP, SMALL_BINS, SMALL_CHANNELS = 4, 9, 8, 73


def small(cases: list[Any]) -> list[Any]:
    """The same cases for a backend that takes its time. Neighbours in the table keep other kinds of boxes."""
    return [_small(case, index) for index, case in enumerate(cases)]


def _small(case: Any, index: int) -> Any:
    step = -(-len(case.kinds) // SMALL_ROWS) or 1
    kinds = case.kinds[index % step :: step]
    return replace(
        case,
        name=f"small: {case.name}",
        maps=tuple((min(height, SMALL_MAP), min(width, SMALL_MAP)) for height, width in case.maps),
        channels=min(case.channels, SMALL_CHANNELS),
        output_size=tuple(min(bins, SMALL_BINS) for bins in case.output_size),
        kinds=kinds,
        boxes_per_kind=min(case.boxes_per_kind, SMALL_ROWS // max(len(kinds), 1)),
    )


CASES = _grid_of_rules() + _shapes()
SMALL_CASES = small(CASES)
BY_NAME = {case.name: case for case in CASES}
assert len(BY_NAME) == len(CASES), "names of cases are unique"
