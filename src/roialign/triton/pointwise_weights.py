"""The weights of the pixels of a tile in bins of the pointwise family, for the gradient to the features."""

from __future__ import annotations

import triton
import triton.language as tl

from .bilinear import bilinear, is_on_map, on_map, weight_beside
from .point_values import point_of_winner, weight_of
from .points import point_of, row_of, speed_of, taps_of_point
from .sample_points import numbered_point


@triton.jit
def entry(values, index):
    """One entry along the first axis."""
    place = tl.arange(0, values.shape[0])
    if len(values.shape) == 3:
        place = place[:, None, None]
    return tl.sum(tl.where(place == index, values, 0), 0)


@triton.jit
def points_in_line(values, BINS: tl.constexpr, POINTS: tl.constexpr):
    """The values of two rows of points of every bin as a vector: one point per thread."""
    return tl.reshape(tl.broadcast_to(values, (BINS, 2, POINTS)), (BINS * 2 * POINTS,))


@triton.jit
def from_nearest(coordinate, BINS: tl.constexpr, POINTS: tl.constexpr):
    """The nearest pixels of coordinates, and the rest, as in :func:`points_in_line`."""
    nearest = tl.floor(coordinate + 0.5)
    return points_in_line(nearest, BINS, POINTS), points_in_line(coordinate - nearest, BINS, POINTS)


@triton.jit
def at_point(values, index, BINS: tl.constexpr, dtype: tl.constexpr):
    """The values of one point of every bin, ``[bins, 1, 1]``."""
    first = tl.arange(0, BINS) * (values.shape[0] // BINS)
    return tl.gather(values.to(dtype), first + index, 0)[:, None, None]


@triton.jit
def merged_weights(
    roi,
    bins,
    velocity,
    mask,
    mask_moved,
    y,
    x,
    dtype: tl.constexpr,
    SPEC: tl.constexpr,
    TANGENT: tl.constexpr,
    BINS: tl.constexpr,
    POINTS: tl.constexpr,
):
    """The weights ``[bins, y, x]`` of the pixels of a tile in the means of some bins, with and without the tangent.

    The bins are blocks ``[bins, 1, 1]``. Points of two rows are visited together, because they are independent.
    """
    moving = tl.zeros((BINS, y.shape[0], x.shape[0]), dtype)
    still = moving
    y, x = y.to(tl.float64), x.to(tl.float64)
    own, own_moved = points_in_line(mask, BINS, POINTS), points_in_line(mask_moved, BINS, POINTS)
    rows, columns = tl.arange(0, 2)[None, :, None], tl.arange(0, POINTS)[None, None, :]
    for first_row in range(0, largest(bins.end_y - bins.first_y), 2):
        line = row_of(roi, bins, (first_row + rows).to(tl.float64), SPEC)
        for first_column in range(0, largest(line.end_x - line.first_x), POINTS):
            point = point_of(roi, bins, line, (first_column + columns).to(tl.float64), SPEC)
            share = points_in_line(tl.where(point.is_inside, point.share, 0.0), BINS, POINTS)
            masked = tl.where(share == 0.0, 0.0, share * own)
            if TANGENT:
                speed_y, speed_x = speed_of(point, velocity)
                masked_moved = tl.where(share == 0.0, 0.0, share * own_moved)
                speed_y = tl.where(share == 0.0, 0.0, points_in_line(speed_y, BINS, POINTS) * masked)
                speed_x = tl.where(share == 0.0, 0.0, points_in_line(speed_x, BINS, POINTS) * masked)
                point_y, point_x = points_in_line(point.y, BINS, POINTS), points_in_line(point.x, BINS, POINTS)
                for index in tl.static_range(2 * POINTS):
                    wy, slope_y = axis_weights(
                        at_point(point_y, index, BINS, tl.float64), y[None, :, None], bins.height
                    )
                    wx, slope_x = axis_weights(at_point(point_x, index, BINS, tl.float64), x[None, None, :], bins.width)
                    weight = weight_of(
                        wy,
                        slope_y,
                        wx,
                        slope_x,
                        at_point(speed_y, index, BINS, tl.float64),
                        at_point(speed_x, index, BINS, tl.float64),
                        1.0,
                        at_point(masked_moved, index, BINS, tl.float64),
                        TANGENT,
                    )
                    moving += weight.to(dtype)
                    still += (at_point(masked, index, BINS, tl.float64) * (wy * wx)).to(dtype)
            else:
                # Relative to the tile and to the nearest pixel, float32 is enough.
                near_y, rest_y = from_nearest(on_map(point.y, bins.height) - tl.min(y, 0), BINS, POINTS)
                near_x, rest_x = from_nearest(on_map(point.x, bins.width) - tl.min(x, 0), BINS, POINTS)
                pixel_y = (y - tl.min(y, 0)).to(dtype)[None, :, None]
                pixel_x = (x - tl.min(x, 0)).to(dtype)[None, None, :]
                for index in range(2 * POINTS):  # not unrolled, because all points at once take too many registers
                    wy = weight_beside(
                        pixel_y, at_point(near_y, index, BINS, dtype), at_point(rest_y, index, BINS, dtype)
                    )
                    wx = weight_beside(
                        pixel_x, at_point(near_x, index, BINS, dtype), at_point(rest_x, index, BINS, dtype)
                    )
                    moving += at_point(masked, index, BINS, dtype) * wy * wx
    return moving, still


@triton.jit
def axis_sums(
    roi,
    ends,
    frame,
    of_bin,
    bins,
    bin_index,
    pixel,
    size,
    dtype: tl.constexpr,
    RULE: tl.constexpr,
    AXIS: tl.constexpr,
):
    """The weights of pixels along one axis, summed over the points of bins whose axes are those of the map.

    `ends` are the first and the end of the points and their count; `frame` and `of_bin` a start and a length each.
    """
    first, end, count = ends
    axis = (0 * roi.number).to(tl.int32) + AXIS
    origin = tl.min(tl.min(tl.min(pixel, 2), 1), 0)
    total = (0.0 * (pixel + first)).to(dtype)
    for step in range(largest(end - first)):
        coordinate, _, share, _, exists = numbered_point(
            tl.cast(step, tl.float64),
            first,
            end,
            count,
            frame[0],
            frame[1],
            of_bin[0],
            of_bin[1],
            bins,
            bin_index,
            roi.seed,
            axis,
            roi.number,
            RULE,
        )
        exists = exists & is_on_map(coordinate, size, "replicate")
        # Relative to the tile and to the nearest pixel, float32 is enough.
        within = on_map(coordinate, size) - origin
        nearest = tl.floor(within + 0.5)
        weight = weight_beside((pixel - origin).to(dtype), nearest.to(dtype), (within - nearest).to(dtype))
        total += tl.where(exists, share, 0.0).to(dtype) * weight
    return total


@triton.jit
def upright_weights(roi, bins, mask, y, x, dtype: tl.constexpr, SPEC: tl.constexpr):
    """The same as the weights of :func:`merged_weights` without a tangent, if the axes of the RoIs are those of the
    map: the product of those of both axes."""
    RULE: tl.constexpr = SPEC.RULE
    frame = bins.frame
    wy = axis_sums(
        roi,
        (bins.first_y, bins.end_y, bins.count_y),
        (frame.start_y, frame.length_y),
        (bins.start_y, bins.length_y),
        SPEC.PH * 1.0,
        bins.index_y,
        y.to(tl.float64)[None, :, None],
        bins.height,
        dtype,
        RULE,
        0,
    )
    wx = axis_sums(
        roi,
        (bins.first_x, bins.end_x, bins.count_x),
        (frame.start_x, frame.length_x),
        (bins.start_x, bins.length_x),
        SPEC.PW * 1.0,
        bins.index_x,
        x.to(tl.float64)[None, None, :],
        bins.width,
        dtype,
        RULE,
        1,
    )
    wy = tl.where(wy == 0.0, 0.0, mask.to(dtype) * wy)
    return tl.where(wx == 0.0, 0.0, wy * wx)


@triton.jit
def largest(count):
    """The maximum of a block of counts with three axes."""
    return tl.max(tl.max(tl.max(count, 2), 1), 0).to(tl.int32)


@triton.jit
def axis_weights(coordinate, pixel, size):
    """The weights of pixels along one axis at points, and their derivatives."""
    return bilinear(coordinate, tl.floor(coordinate), pixel, size, "replicate")


@triton.jit
def shared_weights(pixels, mask, y, x, dtype: tl.constexpr):
    """The weights ``[bins, y, x]`` of the pixels of a tile in the means of bins of whole pixels, which are equal."""
    first_y, end_y, first_x, end_x = pixels
    y, x = y.to(tl.int32)[None, :], x.to(tl.int32)[None, :]
    is_row, is_column = (y >= first_y[:, None]) & (y < end_y[:, None]), (x >= first_x[:, None]) & (x < end_x[:, None])
    count_y, count_x = tl.maximum(end_y - first_y, 1).to(tl.float64), tl.maximum(end_x - first_x, 1).to(tl.float64)
    share = (mask / (count_y * count_x)).to(dtype)
    return tl.where(is_row[:, :, None] & is_column[:, None, :], share[:, None, None], 0.0)


@triton.jit
def winners_weights(
    roi,
    bins,
    velocity,
    mask,
    mask_moved,
    winner,
    y,
    x,
    dtype: tl.constexpr,
    SPEC: tl.constexpr,
    REDUCTION: tl.constexpr,
    TANGENT: tl.constexpr,
    SHIFT: tl.constexpr,
):
    """The weights ``[y, x, C]`` of the pixels of a tile in the winner of one bin, for every channel."""
    point, corner = point_of_winner(roi, bins, winner, SPEC, SHIFT)
    speed_y, speed_x = speed_of(point, velocity)
    y, x = y.to(tl.float64)[:, None, None], x.to(tl.float64)[None, :, None]
    wy, slope_y = axis_weights(point.y, y, bins.height)
    wx, slope_x = axis_weights(point.x, x, bins.width)
    weight = weight_of(
        wy.to(dtype),
        slope_y.to(dtype),
        wx.to(dtype),
        slope_x.to(dtype),
        speed_y.to(dtype),
        speed_x.to(dtype),
        mask.to(dtype),
        mask_moved.to(dtype),
        TANGENT,
    )
    takes = winner >= 0
    if REDUCTION == "corner_max":
        taps_y, taps_x = taps_of_point(point, bins)
        takes = takes & (taps_y.pixel + (corner >> 1) == y) & (taps_x.pixel + (corner & 1) == x)
    return tl.where(takes, weight, 0.0)


@triton.jit
def is_winner(first_y, first_x, winner, y, x, SHIFT: tl.constexpr):
    """Whether pixels ``[y, x, C]`` of a tile are the winners of a bin of whole pixels.

    The number that a pixel would have is compared. That of a pixel before the bin is no winner's, because steps are
    far fewer than their bits can count.
    """
    step_y = y[:, None, None].to(winner.dtype) - first_y
    step_x = x[None, :, None].to(winner.dtype) - first_x
    return winner == (step_y << SHIFT) + (step_x << 2)
