"""The pointwise family's part of the one table of cases."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from roialign._regions import Geometry
from roialign._spec import PointwiseSpec
from tests.tables.boxes import SMOOTH_KINDS
from tests.tables.cases import EVERY_KIND, Array, Case, small, values

SEED = 20170322 + 2**40
#: Kinds whose points never lie so close together that float32 cannot tell which of them is the maximum.
APART = ("inside", "border", "border along x", "off the map", "inverted", "inverted along x", "covering", "large")


@dataclass(frozen=True)
class PointInputs:
    """Arrays for a backend, float64."""

    features: list[Array]
    images: Array
    geometry: Geometry
    levels: Array
    grad_output: Array
    tangents: list[Geometry]


@dataclass(frozen=True)
class PointCase(Case):
    """One call of the pointwise family, described."""

    family = "pointwise"

    spec: Any = field(default_factory=PointwiseSpec)
    has_offset: bool = False
    has_mask: bool = False

    @property
    def tells_winners(self) -> bool:
        """Whether every dtype must find the same maxima."""
        return self.spec.reduction == "mean" or set(self.kinds) <= set(APART)

    def draw(self) -> Any:
        """The arrays of the case, always the same; their values fit every dtype."""
        boxes = super().draw()
        rng = np.random.default_rng(sum(map(ord, self.name)) + 1)
        images, corners = boxes.rois[:, 0].astype(np.int64), np.ascontiguousarray(boxes.rois[:, 1:])
        count = len(images)
        if self.spec.mapping == "rotated":
            x1, y1, x2, y2 = corners.T
            angles = rng.choice([0.0, math.pi / 2, -math.pi, 7.0, *rng.uniform(-4, 4, 12)], count)
            corners = np.column_stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, angles])
        channels = self.channels // math.prod(self.output_size) if self.spec.channels == "position" else self.channels
        per_bin = (count, *self.output_size)

        def geometry(numbers: Array) -> Geometry:
            offset = rng.standard_normal((count, 2, *self.output_size)) if self.has_offset else None
            return Geometry(numbers, offset, rng.random(per_bin) if self.has_mask else None)

        return PointInputs(
            boxes.features,
            images,
            geometry(corners),
            boxes.levels,
            values(rng, (count, channels, *self.output_size)),
            [geometry(rng.standard_normal(corners.shape))],
        )


def roi_align_max(rule: Any = "grid", ratio: tuple[int, int] = (0, 0), aligned: bool = True) -> PointwiseSpec:
    return PointwiseSpec(
        rule=rule,
        reduction="max",
        sampling_ratio=ratio,
        offset=0.5 if aligned else 0.0,
        minimum_length=-math.inf if aligned else 1.0,
        seed=SEED,
    )


def corner_max(ratio: tuple[int, int] = (0, 0), aligned: bool = True) -> PointwiseSpec:
    return roi_align_max("grid", ratio, aligned)._replace(reduction="corner_max")


def rotated(ratio: tuple[int, int] = (0, 0), aligned: bool = True, **more: Any) -> PointwiseSpec:
    offset, minimum_length = (0.5, -math.inf) if aligned else (0.0, 1.0)
    numbers: Any = {"offset": offset, "minimum_length": minimum_length, "seed": SEED, **more}
    return PointwiseSpec(mapping="rotated", sampling_ratio=ratio, jitters_points=True, **numbers)


RIROI = rotated(aligned=False, channels="orientation", orientations=4)
DEFORM = PointwiseSpec(offset=0.5, gamma=0.1, jitters_points=True, seed=SEED)
DEFORM_2 = PointwiseSpec(sampling_ratio=(2, 2), offset=0.5, gamma=0.3, jitters_points=True, seed=SEED)
DEFORM_RANDOM = PointwiseSpec(
    rule="random", sampling_ratio=(2, 0), offset=0.5, gamma=0.3, jitters_points=True, seed=SEED
)
PS_ALIGN = PointwiseSpec(channels="position", offset=0.5)
PS_POOL = PointwiseSpec(mapping="rounded", rule="pixels", channels="position", unused_border=1)
ROI_POOL = PointwiseSpec(mapping="rounded", rule="pixels", reduction="max", extra_pixels=1)
ROI_POOL_INCLUSIVE = PointwiseSpec(mapping="inclusive", rule="pixels", reduction="max")

#: A box that is cut into fewer points, for operators that look at every one.
NOT_HUGE = tuple(kind for kind in EVERY_KIND if kind not in ("large", "huge"))
SOME = ("inside", "border", "covering", "inverted")
FEW_BINS: Any = {"kinds": ("border", "large"), "output_size": (1, 2), "channels": 2}


MOVES: Any = {"has_offset": True, "has_mask": True}
ONE_BIN: Any = {"output_size": (1, 1), "kinds": SOME}
NO_IMAGE: Any = {"unknown_images": True}


def _grid_of_operators() -> list[PointCase]:
    """Every operator and convention on every kind of box."""
    return [
        PointCase("max, adaptive", "roi_align(mode='max')", roi_align_max()),
        PointCase("max, well apart", "the same where every dtype finds the same maxima", roi_align_max(), kinds=APART),
        PointCase("max, 2 x 3", "a fixed count", roi_align_max(ratio=(2, 3), aligned=False), kinds=APART),
        PointCase("max, random", "jittered rows and columns of points", roi_align_max("random", (2, 0)), kinds=APART),
        PointCase("max, exact", "the lattice and the ends of a bin", roi_align_max("lattice")),
        PointCase("max, exact, apart", "the same where every dtype agrees", roi_align_max("lattice"), kinds=SOME),
        PointCase("max, 70 points", "more than are looked at one by one", roi_align_max(ratio=(70, 1)), **FEW_BINS),
        PointCase("max of corners", "ONNX's maximum", corner_max((2, 2)), kinds=APART),
        PointCase("max of corners, adaptive", "the same, not aligned", corner_max(aligned=False), kinds=APART),
        PointCase("rotated, adaptive", "roi_align_rotated", rotated()),
        PointCase("rotated, not aligned", "lengthens short sides", rotated((2, 2), False)),
        PointCase("rotated, clockwise", "the other way round", rotated((1, 3), clockwise=True)),
        PointCase("rotated, random", "points jittered one by one", rotated((3, 0), rule="random"), kinds=NOT_HUGE),
        PointCase("rotated, 66 points", "strata that a margin leaves out", rotated((2, 66)), **FEW_BINS),
        PointCase("rotated, max", "the maximum over turned bins", rotated((2, 2), reduction="max"), kinds=APART),
        PointCase("rotation-invariant", "channels that turn with the box", RIROI, channels=8),
        PointCase("deformable", "bins that move", DEFORM, has_offset=True),
        PointCase("deformable, no offsets", "bins that stay", DEFORM),
        PointCase("deformable, modulated", "bins with weights", DEFORM_2, has_offset=True, has_mask=True),
        PointCase("deformable, random", "jittered points that move", DEFORM_RANDOM, has_offset=True, kinds=NOT_HUGE),
        PointCase("position-sensitive", "a channel for every bin", PS_ALIGN, channels=24),
        PointCase("position-sensitive pool", "whole pixels, one less at the end", PS_POOL, channels=24),
        PointCase("RoIPool", "rounded bins", ROI_POOL),
        PointCase("RoIPool, inclusive", "bins that are not rounded", ROI_POOL_INCLUSIVE),
    ]


def _pairs() -> list[PointCase]:
    """Options that meet nowhere else in the table."""
    row, column, lattice = {"output_size": (1, 4)}, {"output_size": (4, 1)}, roi_align_max("lattice")
    jittered, riroi = rotated((2, 2), rule="random"), RIROI._replace(orientations=3)
    cases: list[tuple[str, str, PointwiseSpec, dict[str, Any]]] = [
        ("max, random, one row of bins", "with boxes of no image", roi_align_max("random", (2, 2)), row | NO_IMAGE),
        ("max, exact, one bin", "the lattice of a box", lattice, ONE_BIN | {"channels": 17}),
        ("rotated, max, one bin", "the maximum of a turned box", rotated((2, 2), reduction="max"), ONE_BIN),
        ("rotated, random, one bin", "jitter in a turned box", jittered, ONE_BIN | {"channels": 17}),
        ("rotation-invariant, 3 orientations", "no power of two", riroi, row | NO_IMAGE | {"channels": 9}),
        ("deformable, modulated, random", "jitter that moves and has a weight", DEFORM_RANDOM, column | MOVES),
        ("deformable, modulated, map of one pixel", "bins beyond it", DEFORM_2, MOVES | {"maps": ((1, 1),)}),
        ("position-sensitive, one row of bins", "a block of channels", PS_ALIGN, row | NO_IMAGE | {"channels": 8}),
        ("position-sensitive pool, one bin", "a bin with all channels", PS_POOL, ONE_BIN | {"channels": 17}),
        ("RoIPool, one column of bins", "with boxes of no image", ROI_POOL, column | NO_IMAGE | {"channels": 17}),
    ]
    return [PointCase(name, reason, spec, **{"kinds": SOME, **more}) for name, reason, spec, more in cases]


def _shapes() -> list[PointCase]:
    """Sizes at which kernels change their way."""
    pyramid: Any = {"maps": ((16, 20), (8, 10), (4, 5)), "scales": (1 / 4, 1 / 8, 1 / 16), "kinds": SOME}
    two = roi_align_max(ratio=(2, 2))
    return [
        PointCase("max, 17 channels", "a vector and one left over", two, channels=17, kinds=SOME),
        PointCase("max, 16 channels", "whole vectors", two, channels=16, kinds=SOME[:2]),
        PointCase("deformable, 16 channels", "the same of means", DEFORM_2, channels=16, kinds=SOME[:2], **MOVES),
        PointCase("max, 257 channels", "many vectors and one left over", two, channels=257, images=1, kinds=SOME[:2]),
        PointCase("rotated, 67 channels", "vectors of every width", rotated(), channels=67, images=1, kinds=SOME[:2]),
        PointCase("rotation-invariant, 72 channels", "groups in blocks", RIROI, channels=72, kinds=SOME[:2]),
        PointCase("deformable, 33 channels", "two vectors and one", DEFORM, channels=33, has_offset=True, kinds=SOME),
        PointCase("rotated, map of one pixel", "H = W = 1", rotated(), maps=((1, 1),), scales=(1.0,)),
        PointCase("max, exact, map of one pixel", "H = W = 1", roi_align_max("lattice"), maps=((1, 1),), scales=(1.0,)),
        PointCase("RoIPool, map of one row", "H = 1", ROI_POOL, maps=((1, 11),), scales=(1.0,)),
        PointCase("position-sensitive pool, map of one pixel", "no bin at all", PS_POOL, channels=24, maps=((1, 1),)),
        PointCase(
            "rotated, one bin", "taps of many pixels", rotated(), maps=((37, 45),), output_size=(1, 1), kinds=SOME
        ),
        PointCase("max, one bin", "the same of maxima", two, output_size=(1, 1), kinds=SOME),
        PointCase("rotation-invariant, one bin", "a bin of channels that turn", RIROI, channels=8, **ONE_BIN),
        PointCase("deformable, one bin", "a bin that moves", DEFORM, has_offset=True, **ONE_BIN),
        PointCase("deformable, modulated, one bin", "and has a weight", DEFORM_2, **MOVES, **ONE_BIN),
        PointCase("deformable, weighted, one bin", "a weight and no offset", DEFORM_2, has_mask=True, **ONE_BIN),
        PointCase("deformable, weighted", "the same for many bins", DEFORM_2, has_mask=True, kinds=SOME),
        PointCase("position-sensitive, one bin", "a bin with all channels", PS_ALIGN, channels=2, **ONE_BIN),
        PointCase("RoIPool, one bin", "the maximum of a box", ROI_POOL, **ONE_BIN),
        PointCase(
            "max, more bins than pixels",
            "dozens of bins read a pixel",
            two,
            maps=((3, 4),),
            output_size=(14, 17),
            kinds=SOME,
        ),
        PointCase("rotated, pyramid", "a level for every RoI", rotated((2, 2)), **pyramid, boxes_per_kind=2),
        PointCase("max, pyramid", "the same", two, **pyramid, unknown_images=True),
        PointCase(
            "deformable, boxes of no image",
            "image -1 gives zeros",
            DEFORM,
            has_offset=True,
            unknown_images=True,
            kinds=SOME,
        ),
        PointCase(
            "rotated, many boxes",
            "gradients of many RoIs meet",
            rotated((2, 2)),
            images=1,
            kinds=SOME,
            boxes_per_kind=6,
        ),
        PointCase("RoIPool, many boxes", "the same of maxima", ROI_POOL, images=1, kinds=SOME, boxes_per_kind=6),
        PointCase("rotated, no boxes", "an empty answer", rotated(), kinds=()),
    ]


POINT_CASES = _grid_of_operators() + _shapes() + _pairs()
SMALL_POINT_CASES = small(POINT_CASES)
SMOOTH: dict[str, PointCase] = {
    case.name: case
    for case in (
        PointCase("rotated", "", rotated(), kinds=SMOOTH_KINDS, maps=((6, 8), (4, 5)), scales=(0.5, 0.25)),
        PointCase("rotated, clockwise, not aligned", "", rotated((2, 3), False, clockwise=True), kinds=SMOOTH_KINDS),
        PointCase("rotated, random, smooth", "", rotated((2, 2), rule="random"), kinds=SMOOTH_KINDS),
        PointCase("rotated, max, smooth", "", rotated((2, 2), reduction="max"), kinds=SMOOTH_KINDS),
        PointCase("rotation-invariant, smooth", "", RIROI, kinds=SMOOTH_KINDS, channels=8),
        PointCase("deformable, smooth", "", DEFORM, has_offset=True, kinds=SMOOTH_KINDS),
        PointCase("deformable, modulated, smooth", "", DEFORM_2, has_offset=True, has_mask=True, kinds=SMOOTH_KINDS),
        PointCase("max", "", roi_align_max(), kinds=SMOOTH_KINDS),
        PointCase("max of corners", "", corner_max(), kinds=SMOOTH_KINDS),
        PointCase("max, exact, smooth", "", roi_align_max("lattice"), kinds=SMOOTH_KINDS),
        PointCase("position-sensitive, smooth", "", PS_ALIGN, channels=24, kinds=SMOOTH_KINDS),
    )
}
