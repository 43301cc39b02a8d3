"""The pointwise family: the mean or maximum of the map interpolated at the points of every bin.

It has three functions, like the separable family. Let f(X, geometry) be the operator, and D_v its derivative along a
tangent v:

* :func:`forward`: f(X), or D_v f(X);
* :func:`adjoint_features`: the transpose of that in X;
* :func:`adjoint_geometry`: the gradient of <G, f(X)> in the boxes, the bin offsets and the bin masks.

A maximum is linear in X as long as the maxima are at the same points. To express second derivatives as well, all three
functions take the maps that determine the maxima, `deciding`, in addition to the maps that they are applied to.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np

from .._regions import Geometry
from .._spec import PointwiseSpec
from .._typing import Array, FloatArray
from .aggregate import aggregate_max
from .map_boxes import shift_frame, shift_frame_tangent
from .points import Pair, Taps, bin_points, map_frame, map_frame_tangent


def forward(
    spec: PointwiseSpec,
    features: Sequence[Array],
    scales: Sequence[float],
    images: Array,
    geometry: Geometry,
    levels: Array,
    output_size: Pair,
    tangent: Geometry | None = None,
    deciding: Sequence[Array] = (),
) -> FloatArray:
    """The operator, or its derivative along `tangent`, ``[K, C, PH, PW]`` in float64.

    `features` holds one ``[N, C, H, W]`` map per level. The images and levels have one value per RoI. A RoI with image
    -1 is zero. Concretely, out[k, c, i, j] is the mean or maximum of map c at the points of bin (i, j).
    """
    channels = features[0].shape[1] // (math.prod(output_size) if spec.channels == "position" else 1)
    out = np.zeros((len(images), channels, *output_size))
    for cut in _bins(spec, deciding or features, scales, images, geometry, levels, output_size):
        for mixing, shares, taps in cut.terms(tangent):
            values = np.where(shares != 0, sample(cut.channels_of(features), taps), 0.0)
            out[cut.place] += np.dot(mixing, shares * values)
    return out


def adjoint_features(
    spec: PointwiseSpec,
    grad_output: Array,
    deciding: Sequence[Array],
    scales: Sequence[float],
    images: Array,
    geometry: Geometry,
    levels: Array,
    tangent: Geometry | None = None,
) -> list[FloatArray]:
    """The transpose of :func:`forward`. Each pixel gets its weight in the mean of a bin, or in the maximal point.

    A mean uses only the shapes of `deciding`.
    """
    gradients = [np.zeros(level.shape) for level in deciding]
    bins = (grad_output.shape[2], grad_output.shape[3])
    for cut in _bins(spec, deciding, scales, images, geometry, levels, bins):
        target = cut.channels_of(gradients)
        for mixing, shares, taps in cut.terms(tangent):
            pooled = shares * np.dot(np.transpose(mixing), grad_output[cut.place])
            for row, column, weight in taps:
                target[:, row, column] += weight * pooled
    return gradients


def adjoint_geometry(
    spec: PointwiseSpec,
    grad_output: Array,
    features: Sequence[Array],
    scales: Sequence[float],
    images: Array,
    geometry: Geometry,
    levels: Array,
    deciding: Sequence[Array] = (),
) -> Geometry:
    """The gradient of <G, f(X)>: the derivatives in all numbers that describe the RoIs.

    The offset and mask of a bin affect that bin only, so the derivatives of all bins are computed at once.
    """
    bins = (grad_output.shape[2], grad_output.shape[3])

    def along(direction: Geometry) -> Array:
        return grad_output * forward(spec, features, scales, images, geometry, levels, bins, direction, deciding)

    still = geometry.still()
    boxes = [along(still._replace(boxes=unit)).sum(axis=(1, 2, 3)) for unit in _units(geometry.boxes)]
    grad_boxes = np.stack(boxes, axis=1)
    grad_offset, grad_mask = None, None
    if geometry.offset is not None:
        offset = [along(still._replace(offset=unit)).sum(axis=1) for unit in _units(geometry.offset)]
        grad_offset = np.stack(offset, axis=1)
    if geometry.mask is not None:
        grad_mask = along(still._replace(mask=np.ones(geometry.mask.shape))).sum(axis=1)
    return Geometry(grad_boxes, grad_offset, grad_mask)


def _units(array: Array) -> Iterator[Array]:
    """The unit directions along axis 1, for all rows and bins at once."""
    for coordinate in range(array.shape[1]):
        unit = np.zeros(array.shape)
        unit[:, coordinate] = 1.0
        yield unit


def sample(channels: Array, taps: Taps) -> FloatArray:
    """Interpolate channels ``[C, H, W]`` at a point. A pixel of weight 0 is ignored, even if it is NaN."""
    total: FloatArray = np.zeros(len(channels))
    for row, column, weight in taps:
        if weight != 0:
            total += weight * channels[:, row, column]
    return total


class _Bin:
    """One bin of one RoI, as a sum over its points that is linear in the map."""

    def __init__(
        self,
        spec: PointwiseSpec,
        features: Sequence[Array],
        scale: float,
        row: int,
        image: int,
        geometry: Geometry,
        level: int,
        bins: Pair,
        index: Pair,
    ) -> None:
        self.spec, self.geometry, self.row, self.image, self.level = spec, geometry, row, image, level
        self.scale, self.bins, self.index = scale, bins, index
        self.box = geometry.boxes[row].tolist()
        self.place = (row, slice(None), *index)
        self.place_of_mask = (row, *index)
        self.size: Pair = features[level].shape[2:]
        self.roi_frame = map_frame(spec, self.box, scale)
        shift = (0.0, 0.0) if geometry.offset is None else geometry.offset[self.place].tolist()
        self.frame = shift_frame(self.roi_frame, spec.gamma, shift)
        points, has_others = bin_points(spec, self.frame, self.size, bins, index, row)
        self.points = [point for point in points if point.taps(self.size)]
        self.has_zero = has_others or len(self.points) < len(points)
        if spec.reduction == "corner_max":
            corners = [point.corners(self.size) for point in self.points]
            self.points = list(chain.from_iterable(corners))
            self.has_zero |= any(len(of_point) < 4 for of_point in corners)
        self.shares = self._shares(self.channels_of(features))

    def channels_of(self, maps: Sequence[Array]) -> Array:
        """The part of a map that the bin reads: its image, with all channels or those of the bin's position."""
        channels: Array = maps[self.level][self.image]
        if self.spec.channels != "position":
            return channels
        own: Array = channels[self.index[0] * self.bins[1] + self.index[1] :: math.prod(self.bins)]
        return own

    def _shares(self, channels: Array) -> list[Array]:
        """The share of every point in every channel: its share of the mean, or 1 for the maximum and 0 otherwise."""
        if self.spec.reduction == "mean":
            return [np.full(len(channels), point.share) for point in self.points]
        if self.spec.reduction not in ("max", "corner_max"):
            raise NotImplementedError(f"pointwise: the reduction {self.spec.reduction!r} has no shares")
        samples = [sample(channels, point.taps(self.size)) for point in self.points]
        _, winner = aggregate_max(samples, self.has_zero)
        return [(winner == number).astype(np.float64) for number in range(len(self.points))]

    def terms(self, tangent: Geometry | None) -> Iterator[tuple[Array, Array, Taps]]:
        """(mixing of the channels, share per channel, taps) of every point, or of the derivative."""
        geometry = self.geometry
        mask = 1.0 if geometry.mask is None else float(geometry.mask[self.place_of_mask])
        mixing, mixing_slope = self._mixing()
        if tangent is None:
            for point, shares in zip(self.points, self.shares, strict=True):
                yield mixing, mask * shares, point.taps(self.size)
            return
        mask_slope = 0.0 if tangent.mask is None else float(tangent.mask[self.place_of_mask])
        moving = map_frame_tangent(self.spec, self.box, tangent.boxes[self.row].tolist(), self.scale)
        if geometry.offset is not None and tangent.offset is not None:
            shifts = geometry.offset[self.place].tolist(), tangent.offset[self.place].tolist()
            moving = shift_frame_tangent(self.roi_frame, moving, self.spec.gamma, *shifts)
        turning = tangent.boxes[self.row, 4] * mixing_slope if mixing_slope.any() else mixing_slope
        for point, shares in zip(self.points, self.shares, strict=True):
            speed_y, speed_x = point.velocity(self.frame, moving)
            yield mixing, mask * speed_y * shares, point.taps(self.size, (1, 0))
            yield mixing, mask * speed_x * shares, point.taps(self.size, (0, 1))
            yield mask_slope * mixing + mask * turning, shares, point.taps(self.size)

    def _mixing(self) -> tuple[Array, Array]:
        """The matrix from pooled channels to the channels of the result, and its derivative in the angle.

        Channels form groups of O orientations. Channel o of a group reads the channel at o minus the RoI's angle, in
        steps of 2 pi / O and modulo O. Between two channels, it interpolates linearly.
        """
        count = len(self.shares[0]) if self.shares else 0
        if self.spec.channels != "orientation":
            return np.array(1.0), np.array(0.0)
        orientations = self.spec.orientations
        turned = self.box[4] * orientations / (2.0 * math.pi)
        steps = math.floor(turned)
        between = turned - steps
        # out[o] = (1 - between) * pooled[o - steps] + between * pooled[o - steps + 1], modulo the group size
        here, beyond = (np.roll(np.eye(orientations), turn % orientations, axis=0) for turn in (steps, steps - 1))
        every_group = np.eye(count // orientations)
        return (
            np.kron(every_group, (1.0 - between) * here + between * beyond),
            np.kron(every_group, (beyond - here) * (orientations / (2.0 * math.pi))),
        )


def _bins(
    spec: PointwiseSpec,
    features: Sequence[Array],
    scales: Sequence[float],
    images: Array,
    geometry: Geometry,
    levels: Array,
    bins: Pair,
) -> Iterator[_Bin]:
    """Iterate over the bins of all RoIs that have an image."""
    for row, (image, level) in enumerate(zip(images.tolist(), levels.tolist(), strict=True)):
        if image >= 0:
            for index in np.ndindex(*bins):
                yield _Bin(spec, features, scales[level], row, int(image), geometry, level, bins, index)
