"""The points of a bin in two dimensions, from the steps of both axes, for the pointwise family."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

from .._spec import PointwiseSpec
from .bilinear import bilinear
from .bin_grid import bin_grid, integer_bin
from .map_boxes import (
    Frame,
    map_boxes,
    map_boxes_rounded,
    map_boxes_tangent,
    map_rotated_boxes,
    map_rotated_boxes_tangent,
)
from .philox import uniform
from .sample_points import SamplePoint, lattice, sample_count, sample_points, stratum, touching

Pair = tuple[int, int]
Taps = list[tuple[int, int, float]]
"""``(row, column, weight)`` of the pixels that a point depends on."""


class Point(NamedTuple):
    """A point of a bin: its positions on the RoI's own axes, and its coordinates on the map."""

    along_y: SamplePoint
    along_x: SamplePoint
    y: float
    x: float
    corner: int | None = None
    """The pixel that this sample stands for, if each pixel of a point is its own sample."""

    @property
    def share(self) -> float:
        return self.along_y.share * self.along_x.share

    def taps(self, size: Pair, derivative: Pair = (0, 0)) -> Taps:
        """The weight of every pixel at the point, or its derivative of the given orders in y and x."""
        neighbours = [
            bilinear(place, pixels, "replicate", derivative=order)
            for place, pixels, order in zip((self.y, self.x), size, derivative, strict=True)
        ]
        pairs = product(*neighbours)
        taps = [(row, column, weight_y * weight_x) for (row, weight_y), (column, weight_x) in pairs]
        return taps if self.corner is None else taps[self.corner : self.corner + 1]

    def corners(self, size: Pair) -> list[Point]:
        """Each pixel of the point as its own sample: four, or fewer beyond the edge of the map."""
        return [self._replace(corner=number) for number in range(len(self.taps(size)))]

    def velocity(self, frame: Frame, tangent: Frame) -> tuple[float, float]:
        """The velocity ``(dy, dx)`` of the point when the frame moves along `tangent`."""
        own = (_speed(self.along_y, tangent.y), _speed(self.along_x, tangent.x))
        carried = frame._replace(centre_y=0.0, centre_x=0.0).place(*own)
        turned = tangent.place(self.along_y.x, self.along_x.x)
        return carried[0] + turned[0], carried[1] + turned[1]


def _speed(point: SamplePoint, tangent: tuple[float, float]) -> float:
    return tangent[0] + point.position * tangent[1] if point.moves else 0.0


def map_frame(spec: PointwiseSpec, box: Sequence[float], scale: float) -> Frame:
    """Step 1 in two dimensions: map the geometry of a RoI to its frame on the map."""
    if spec.mapping == "rotated":
        return map_rotated_boxes(box, scale, spec.offset, spec.minimum_length, spec.clockwise)
    x1, y1, x2, y2 = box
    if spec.mapping == "rounded":
        rounded = [map_boxes_rounded(*ends, scale, spec.extra_pixels) for ends in ((y1, y2), (x1, x2))]
        return Frame(rounded[0], rounded[1])
    if spec.mapping not in ("box", "inclusive"):
        raise NotImplementedError(f"map_frame: the mapping {spec.mapping!r} has no frame")
    beyond = 1.0 if spec.mapping == "inclusive" else 0.0
    ends = ((y1, y2 + beyond), (x1, x2 + beyond))
    axes = [map_boxes(*pair, scale, spec.offset, spec.minimum_length) for pair in ends]
    return Frame(axes[0], axes[1])


def map_frame_tangent(spec: PointwiseSpec, box: Sequence[float], tangent: Sequence[float], scale: float) -> Frame:
    """The derivative of :func:`map_frame` along a `tangent` of the box."""
    if spec.mapping == "rotated":
        return map_rotated_boxes_tangent(box, tangent, scale, spec.minimum_length, spec.clockwise)
    axes = [
        map_boxes_tangent(
            box[low], box[low + 2], tangent[low], tangent[low + 2], scale, spec.offset, spec.minimum_length
        )
        for low in (1, 0)
    ]
    return Frame(axes[0], axes[1], cosine=0.0)


def bin_points(
    spec: PointwiseSpec, frame: Frame, size: Pair, bins: Pair, index: Pair, row: int
) -> tuple[list[Point], bool]:
    """The points of bin `index` that may touch a map of `size`, and whether the bin has other points."""
    if spec.rule not in ("grid", "random"):
        axes = [list(_whole_axis(spec, frame, size, bins, index, axis)) for axis in (0, 1)]
        return [Point(y, x, y.x, x.x) for y, x in product(*axes)], False
    counts = [
        sample_count(bin_grid(*along, bins[axis], index[axis])[1], spec.sampling_ratio[axis])
        for axis, along in enumerate((frame.y, frame.x))
    ]
    points = [Point(y, x, *frame.place(y.x, x.x)) for y, x in _strata(spec, frame, size, bins, index, counts, row)]
    return points, len(points) < counts[0] * counts[1]


def _whole_axis(
    spec: PointwiseSpec, frame: Frame, size: Pair, bins: Pair, index: Pair, axis: int
) -> Iterator[SamplePoint]:
    start, length = (frame.y, frame.x)[axis]
    if spec.rule == "lattice":
        yield from lattice(size[axis], start, length, bins[axis], index[axis])
        return
    if spec.rule != "pixels":
        raise NotImplementedError(f"bin_points: the rule {spec.rule!r} has no points")
    first, last = integer_bin(start, length, bins[axis], index[axis], size[axis] - spec.unused_border)
    for pixel in range(first, last):
        yield SamplePoint(float(pixel), pixel, 0.0, 1.0 / (last - first), moves=False)


def _strata(
    spec: PointwiseSpec, frame: Frame, size: Pair, bins: Pair, index: Pair, counts: list[float], row: int
) -> Iterator[tuple[SamplePoint, SamplePoint]]:
    """Regular and random points, in row-major order on the RoI's own axes."""
    if spec.mapping != "rotated" and not (spec.rule == "random" and spec.jitters_points):
        rule = "random" if spec.rule == "random" else "grid"
        axes = [
            sorted(
                sample_points(
                    size[axis],
                    *along,
                    bins[axis],
                    index[axis],
                    spec.sampling_ratio[axis],
                    rule,  # type: ignore[arg-type]
                    seed=spec.seed,
                    axis=axis,
                    row=row,
                ),
                key=lambda point: point.x,
            )
            for axis, along in enumerate((frame.y, frame.x))
        ]
        yield from product(*axes)
        return
    grid = [bin_grid(*along, bins[axis], index[axis]) for axis, along in enumerate((frame.y, frame.x))]
    rows, columns = _map_along(frame, size)
    for sample_y in touching(*rows, *grid[0], counts[0]):
        part = _part_of_row_on_map(frame, size, columns, grid[0], counts[0], sample_y)
        for sample_x in touching(*part, *grid[1], counts[1]):
            within = [0.5, 0.5]
            if spec.rule == "random":
                place = sample_y * int(counts[1]) + sample_x, index[0] * bins[1] + index[1]
                within = [uniform(spec.seed, *place, axis, row) for axis in (0, 1)]
            samples = (sample_y, sample_x)
            y, x = (
                stratum(*grid[axis], bins[axis], index[axis], counts[axis], samples[axis], within[axis])
                for axis in (0, 1)
            )
            yield y, x


def _map_along(frame: Frame, size: Pair) -> tuple[tuple[float, float], tuple[float, float]]:
    """The ranges of the RoI's own axes, y and x, that the map and a margin of one pixel cover."""
    ys, xs = ((-1.0 - frame.centre_y, size[0] - frame.centre_y), (-1.0 - frame.centre_x, size[1] - frame.centre_x))
    along_y = [y * frame.cosine + x * frame.sine for y, x in product(ys, xs)]
    along_x = [x * frame.cosine - y * frame.sine for y, x in product(ys, xs)]
    return (min(along_y), max(along_y)), (min(along_x), max(along_x))


def _part_of_row_on_map(
    frame: Frame,
    size: Pair,
    columns: tuple[float, float],
    grid: tuple[float, float],
    count: float,
    sample: int,
) -> tuple[float, float]:
    """The range of the RoI's own x axis in which a row of points, and the adjacent rows, may lie on the map."""
    bin_start, bin_length = grid
    low, high = columns
    rows = [bin_start + (sample + side) * (bin_length / count) for side in (-1, 2)]
    # On the map, -1 <= y = along_y * cosine - along_x * sine + centre_y <= height. This and the same for x bound
    # along_x.
    for divisor, factor, centre, pixels in (
        (-frame.sine, frame.cosine, frame.centre_y, size[0]),
        (frame.cosine, frame.sine, frame.centre_x, size[1]),
    ):
        if divisor != 0:
            ends = [(edge - centre - row * factor) / divisor for edge, row in product((-1.0, pixels), rows)]
            low, high = max(low, min(ends)), min(high, max(ends))
    return low, max(low, high)
