"""The points of the bins of a RoI, from the five steps of both axes. Blocks of bins, steps and channels may have any
broadcastable shapes.

A point is identified by its steps: along y from the first row of points that may lie on the map, and along x from the
first point of the row. The winner of a maximum is therefore two numbers, which every kernel converts to the same point.
"""

from __future__ import annotations

from typing import NamedTuple

import triton
import triton.language as tl

from .bilinear import is_on_map, neighbours
from .bin_grid import bin_grid
from .frames import SIZE, VELOCITY, Velocity
from .map_boxes import Frame, place, shift_axis
from .point_rows import of_bin
from .sample_points import numbered_point, numbers_of, stratum, touching, uniform


class Part(NamedTuple):
    """A rectangle of the map. The points in it, and a few around it, are visited."""

    low_y: tl.tensor
    high_y: tl.tensor
    low_x: tl.tensor
    high_x: tl.tensor


class Bins(NamedTuple):
    """Bins, with their extents and numbers of points."""

    frame: Frame
    part: Part
    height: tl.tensor
    width: tl.tensor
    number: tl.tensor
    index_y: tl.tensor
    index_x: tl.tensor
    start_y: tl.tensor
    length_y: tl.tensor
    start_x: tl.tensor
    length_x: tl.tensor
    shift_y: tl.tensor
    shift_x: tl.tensor
    first_y: tl.tensor
    end_y: tl.tensor
    count_y: tl.tensor
    first_x: tl.tensor
    end_x: tl.tensor
    count_x: tl.tensor


class Row(NamedTuple):
    """A row of points of every bin: the indices ``[first, end)`` of its points along x, and their values along y.

    All points of a row have the same values along y. For joint axes, the only one is the index of the row.
    """

    first_x: tl.tensor
    end_x: tl.tensor
    y: tl.tensor
    position_y: tl.tensor
    share_y: tl.tensor
    moves_y: tl.tensor
    exists: tl.tensor


class Point(NamedTuple):
    """Points, one per bin."""

    y: tl.tensor
    x: tl.tensor
    position_y: tl.tensor
    position_x: tl.tensor
    share: tl.tensor
    moves_y: tl.tensor
    moves_x: tl.tensor
    exists: tl.tensor
    is_inside: tl.tensor


class Taps(NamedTuple):
    """The pixels that points read along one axis of the map: a pixel and the next one, whose weight is `next`."""

    pixel: tl.tensor
    weight: tl.tensor
    next: tl.tensor
    slope: tl.tensor
    has_next: tl.tensor


@triton.jit
def frame_of(roi):
    """The frame of the RoI."""
    at = roi.frame
    return Frame(
        tl.load(at),
        tl.load(at + 1),
        tl.load(at + 2),
        tl.load(at + 3),
        tl.load(at + 4),
        tl.load(at + 5),
        tl.load(at + 6),
        tl.load(at + 7),
    )


@triton.jit
def whole_map(roi):
    """The whole area on which a point may lie."""
    height, width = tl.load(roi.frame + SIZE), tl.load(roi.frame + SIZE + 1)
    return Part(0.0 * height - 1.0, height, 0.0 * width - 1.0, width)


@triton.jit
def bins_of(roi, part, number, is_bin, SPEC: tl.constexpr):
    """Step 2, and the numbers of points."""
    PH: tl.constexpr = SPEC.PH
    PW: tl.constexpr = SPEC.PW
    RULE: tl.constexpr = SPEC.RULE
    frame = frame_of(roi)
    height, width = tl.load(roi.frame + SIZE), tl.load(roi.frame + SIZE + 1)
    index_y, index_x = (number // PW).to(tl.float64), (number % PW).to(tl.float64)
    shift_y, shift_x = 0.0 * index_y, 0.0 * index_x
    start_y, start_x = frame.start_y + shift_y, frame.start_x + shift_x
    if SPEC.HAS_OFFSET:
        offset_x = of_bin(roi, SPEC.first_offset, number, is_bin)
        offset_y = of_bin(roi, SPEC.first_offset + SPEC.bins, number, is_bin)
        start_y = shift_axis(frame.start_y, frame.length_y, roi.gamma, offset_y)
        start_x = shift_axis(frame.start_x, frame.length_x, roi.gamma, offset_x)
        shift_y, shift_x = roi.gamma * offset_y, roi.gamma * offset_x
    cut = Frame(
        start_y,
        frame.length_y + 0.0 * index_y,
        start_x,
        frame.length_x + 0.0 * index_x,
        frame.cosine,
        frame.sine,
        frame.centre_y,
        frame.centre_x,
    )
    if SPEC.JOINT:
        low_y, high_y, low_x, high_x = along_axes(cut, part)
    else:
        low_y, high_y, low_x, high_x = part.low_y, part.high_y, part.low_x, part.high_x
    first_y, end_y, count_y = numbers_of(
        low_y, high_y, cut.start_y, cut.length_y, PH * 1.0, index_y, roi.ratio_y, height - roi.unused_border, RULE
    )
    first_x, end_x, count_x = numbers_of(
        low_x, high_x, cut.start_x, cut.length_x, PW * 1.0, index_x, roi.ratio_x, width - roi.unused_border, RULE
    )
    end_y, end_x = tl.where(is_bin, end_y, first_y), tl.where(is_bin, end_x, first_x)
    bin_y, length_y = bin_grid(cut.start_y, cut.length_y, PH * 1.0, index_y)
    bin_x, length_x = bin_grid(cut.start_x, cut.length_x, PW * 1.0, index_x)
    return Bins(
        cut,
        part,
        height,
        width,
        number,
        index_y,
        index_x,
        bin_y,
        length_y,
        bin_x,
        length_x,
        shift_y,
        shift_x,
        first_y,
        end_y,
        count_y,
        first_x,
        end_x,
        count_x,
    )


@triton.jit
def along_axes(frame, part):
    """The ranges ``(low, high)`` of the RoI's own axes, y and x, that a part of the map covers."""
    y, x = part.low_y - frame.centre_y, part.low_x - frame.centre_x
    low_y = y * frame.cosine + x * frame.sine
    low_x = x * frame.cosine - y * frame.sine
    high_y, high_x = low_y, low_x
    for corner in tl.static_range(1, 4):
        y = (part.high_y if corner % 2 == 1 else part.low_y) - frame.centre_y
        x = (part.high_x if corner >= 2 else part.low_x) - frame.centre_x
        along_y, along_x = y * frame.cosine + x * frame.sine, x * frame.cosine - y * frame.sine
        low_y, high_y = tl.minimum(low_y, along_y), tl.maximum(high_y, along_y)
        low_x, high_x = tl.minimum(low_x, along_x), tl.maximum(high_x, along_x)
    return low_y, high_y, low_x, high_x


@triton.jit
def bounded(low, high, divisor, factor, centre, edge_low, edge_high, row_low, row_high):
    """The range of the RoI's own x axis in which points of the given rows lie between two edges of the map."""
    # One division instead of four. If its result might be infinite, the range is not bounded.
    is_flat = tl.abs(divisor) < 1e-100
    slope = 1.0 / tl.where(is_flat, 1.0, divisor)
    one, two = (edge_low - centre - row_low * factor) * slope, (edge_high - centre - row_low * factor) * slope
    three, four = (edge_low - centre - row_high * factor) * slope, (edge_high - centre - row_high * factor) * slope
    least = tl.minimum(tl.minimum(one, two), tl.minimum(three, four))
    most = tl.maximum(tl.maximum(one, two), tl.maximum(three, four))
    return tl.where(is_flat, low, tl.maximum(low, least)), tl.where(is_flat, high, tl.minimum(high, most))


@triton.jit
def row_of(roi, bins, step_y, SPEC: tl.constexpr):
    """A row of points, given its step. For joint axes, it has only the points at which the row, and the adjacent rows,
    may lie on the part of the map."""
    PH: tl.constexpr = SPEC.PH
    RULE: tl.constexpr = SPEC.RULE
    if SPEC.JOINT:
        frame, part = bins.frame, bins.part
        step = bins.length_y / tl.maximum(bins.count_y, 1.0)
        y = bins.first_y + step_y
        low, high = bins.start_y + (y - 1.0) * step, bins.start_y + (y + 2.0) * step
        _, _, low_x, high_x = along_axes(frame, part)
        low_x, high_x = bounded(
            low_x, high_x, -frame.sine, frame.cosine, frame.centre_y, part.low_y, part.high_y, low, high
        )
        low_x, high_x = bounded(
            low_x, high_x, frame.cosine, frame.sine, frame.centre_x, part.low_x, part.high_x, low, high
        )
        first_x, end_x = touching(low_x, tl.maximum(low_x, high_x), bins.start_x, bins.length_x, bins.count_x)
        exists = y < bins.end_y
        end_x = tl.where(exists & (bins.end_x > bins.first_x), end_x, first_x)
        position_y, share_y, moves_y = y, 1.0 / tl.maximum(bins.count_y, 1.0), exists
    else:
        first_x, end_x = bins.first_x, bins.end_x
        y, position_y, share_y, moves_y, exists = numbered_point(
            step_y,
            bins.first_y,
            bins.end_y,
            bins.count_y,
            bins.frame.start_y,
            bins.frame.length_y,
            bins.start_y,
            bins.length_y,
            PH * 1.0,
            bins.index_y,
            roi.seed,
            (0 * roi.number).to(tl.int32),
            roi.number,
            RULE,
        )
    return Row(first_x, end_x, y, position_y, share_y, moves_y, exists)


@triton.jit
def point_of(roi, bins, row, step_x, SPEC: tl.constexpr):
    """Step 3, and the position part of step 4: a point of every bin, given its row and its step in the row."""
    PH: tl.constexpr = SPEC.PH
    PW: tl.constexpr = SPEC.PW
    RULE: tl.constexpr = SPEC.RULE
    if SPEC.JOINT:
        sample_x = row.first_x + step_x
        sample_y = row.y + 0.0 * sample_x
        exists = row.exists & (sample_x < row.end_x)
        count_y, count_x = tl.maximum(bins.count_y, 1.0), tl.maximum(bins.count_x, 1.0)
        within_y, within_x = 0.5, 0.5
        if RULE == "random":
            sample = sample_y.to(tl.int64) * count_x.to(tl.int64) + sample_x.to(tl.int64)
            number, axis = bins.number.to(tl.int64) + 0 * sample, (0 * roi.number).to(tl.int32)
            within_y = uniform(roi.seed, sample, number, axis, roi.number)
            within_x = uniform(roi.seed, sample, number, axis + 1, roi.number)
        along_y, position_y = stratum(bins.start_y, bins.length_y, PH * 1.0, bins.index_y, count_y, sample_y, within_y)
        along_x, position_x = stratum(bins.start_x, bins.length_x, PW * 1.0, bins.index_x, count_x, sample_x, within_x)
        frame = bins.frame
        y, x = place(along_y, along_x, frame.cosine, frame.sine, frame.centre_y, frame.centre_x)
        share_x, moves_y, moves_x = 1.0 / count_x, exists, exists
    else:
        y, position_y, moves_y = row.y + 0.0 * step_x, row.position_y, row.moves_y
        x, position_x, share_x, moves_x, exists = numbered_point(
            step_x,
            row.first_x,
            row.end_x,
            bins.count_x,
            bins.frame.start_x,
            bins.frame.length_x,
            bins.start_x,
            bins.length_x,
            PW * 1.0,
            bins.index_x,
            roi.seed,
            (0 * roi.number).to(tl.int32) + 1,
            roi.number,
            RULE,
        )
        exists = row.exists & exists
    is_inside = exists & is_on_map(y, bins.height, "replicate") & is_on_map(x, bins.width, "replicate")
    position_y, position_x = position_y + bins.shift_y, position_x + bins.shift_x
    return Point(y, x, position_y, position_x, row.share_y * share_x, moves_y, moves_x, exists, is_inside)


@triton.jit
def taps_of(x, size):
    """Step 4 along one axis: the pixels that points on the map read."""
    pixel, above, has_next = neighbours(x, tl.floor(x), size)
    return Taps(pixel, 1.0 - above, above, tl.where(has_next, 1.0, 0.0), has_next)


@triton.jit
def tap(taps, SIDE: tl.constexpr):
    """One of the two pixels: its index, weight and derivative."""
    if SIDE == 1:
        pixel, weight, slope = taps.pixel + 1.0, taps.next, taps.slope
    else:
        pixel, weight, slope = taps.pixel, taps.weight, -taps.slope
    return pixel, weight, slope


@triton.jit
def taps_of_point(point, bins):
    """The same along y and along x."""
    return taps_of(point.y, bins.height), taps_of(point.x, bins.width)


@triton.jit
def pixel_of(taps_y, taps_x, CORNER: tl.constexpr):
    """One of the four pixels that points read: its indices, and the weight and derivative of each axis."""
    pixel_y, wy, slope_y = tap(taps_y, CORNER // 2)
    pixel_x, wx, slope_x = tap(taps_x, CORNER % 2)
    return (pixel_y, pixel_x), wy, slope_y, wx, slope_x


@triton.jit
def velocity_along(roi, bins, tangent, number, is_bin, SPEC: tl.constexpr, TANGENT: tl.constexpr):
    """The velocity of the points of bins along the tangent of the call. `tangent` points to the row of the tangent."""
    at = roi.frame + VELOCITY
    y, x = tl.load(at), tl.load(at + 3)
    if SPEC.HAS_OFFSET and TANGENT:
        column = tangent + SPEC.first_offset + number
        moved_x = tl.load(column, mask=is_bin, other=0.0)
        moved_y = tl.load(column + SPEC.bins, mask=is_bin, other=0.0)
        y = shift_axis(y, bins.frame.length_y, roi.gamma, moved_y)
        x = shift_axis(x, bins.frame.length_x, roi.gamma, moved_x)
    return Velocity(y, tl.load(at + 1), tl.load(at + 2), x, tl.load(at + 4), tl.load(at + 5))


@triton.jit
def speed_of(point, velocity):
    """The velocity ``(dy, dx)`` of points."""
    dy = velocity.y + velocity.y_per_y * point.position_y + velocity.y_per_x * point.position_x
    dx = velocity.x + velocity.x_per_y * point.position_y + velocity.x_per_x * point.position_x
    return tl.where(point.moves_y, dy, 0.0), tl.where(point.moves_x, dx, 0.0)
