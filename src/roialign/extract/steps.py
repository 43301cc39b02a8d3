"""Computes the steps of RoIAlign and RoIPool for one box with the reference, so that they can be drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._typing import Array
from ..files.boxes import Box
from ..files.drawing import Window
from ..ops.roi_align import roi_align_spec
from ..reference import bin_grid, integer_bins, map_boxes, roi_pool, sample_points
from .inputs import FeatureMap
from .pipeline import Settings, pool


@dataclass(frozen=True, slots=True)
class AxisSteps:
    """One axis of one RoI in feature coordinates, with pixel centres at integers."""

    size: int
    """The number of pixels of the map."""
    start: float
    length: float
    bin_edges: list[float]
    points: list[list[tuple[float, float]]]
    """For each bin, the (coordinate, weight) of its sample points."""
    rounded: list[tuple[int, int]]
    """For each bin, RoIPool's pixels [first, last)."""

    @property
    def ends(self) -> tuple[float, float]:
        """The ends of the mapped box, the smaller one first."""
        ends = (self.start, self.start + self.length)
        return min(ends), max(ends)

    @property
    def rounded_ends(self) -> tuple[float, float]:
        """The ends of the outline of RoIPool's pixels, half a pixel outside the centres."""
        return min(first for first, _ in self.rounded) - 0.5, max(last for _, last in self.rounded) - 0.5

    @property
    def bin_length(self) -> float:
        return abs(self.length) / len(self.points)


@dataclass(frozen=True, slots=True)
class RoiSteps:
    """The steps for one RoI."""

    y: AxisSteps
    x: AxisSteps
    aligned: Array
    """RoIAlign's output ``[C, PH, PW]``."""
    rounded: Array
    """RoIPool's output ``[C, PH, PW]``."""

    def bin_window(self, row: int, column: int) -> Window:
        """Return a bin of RoIAlign in feature coordinates."""
        (left, right), (top, bottom) = (
            sorted(self.x.bin_edges[column : column + 2]),
            sorted(self.y.bin_edges[row : row + 2]),
        )
        return Window(left, top, right, bottom)

    def bin_of_largest_difference(self) -> tuple[int, int]:
        """Return the row and column of the bin in which the two outputs differ the most."""
        with np.errstate(all="ignore"):  # a map may contain infinities
            difference = np.abs(self.aligned - self.rounded).mean(axis=0)
        row, column = np.unravel_index(int(np.argmax(np.nan_to_num(difference))), difference.shape)
        return int(row), int(column)


def roi_steps(feature_map: FeatureMap, boxes: list[Box], index: int, settings: Settings) -> RoiSteps:
    """Compute the steps for ``boxes[index]`` of one input."""
    features = feature_map.features
    x1, y1, x2, y2 = boxes[index].corners
    y = _axis_steps(y1, y2, 0, features.shape[2], index, settings)
    x = _axis_steps(x1, x2, 1, features.shape[3], index, settings)
    pooled = pool(feature_map, boxes[: index + 1], settings)[index]  # random points depend on the row
    aligned = pooled if settings.layout == "NCHW" else pooled.transpose(2, 0, 1)
    roi = np.array([[0.0, x1, y1, x2, y2]])
    return RoiSteps(y, x, aligned, roi_pool(features, roi, settings.output_size, settings.map_scale)[0])


def _axis_steps(lower: float, upper: float, axis: int, size: int, row: int, settings: Settings) -> AxisSteps:
    spec = roi_align_spec(settings.sampling_ratio, settings.aligned, "avg", settings.sampling)
    bins = settings.output_size[axis]
    start, length = map_boxes(lower, upper, settings.map_scale, spec.offset, spec.minimum_length)
    points = [
        [
            (point.x, point.share)
            for point in sample_points(
                size,
                start,
                length,
                bins,
                bin_index,
                spec.sampling_ratio[axis],
                spec.rule,  # type: ignore[arg-type]  # of the mean
                seed=settings.seed or 0,
                axis=axis,
                row=row,
            )
        ]
        for bin_index in range(bins)
    ]
    edges = [bin_grid(start, length, bins, index)[0] for index in range(bins + 1)]
    return AxisSteps(size, start, length, edges, points, integer_bins(lower, upper, settings.map_scale, bins, size))
