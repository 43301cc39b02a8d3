"""The table of a call of the pointwise family: the frame of every RoI, its velocity, and the pixels that it touches.

Step 1 is computed here, once for every RoI. The other kernels read a row of `frames` for each RoI, and a row of `spans`
for each bin.
"""

from __future__ import annotations

from typing import NamedTuple

import triton
import triton.language as tl

from .bin_grid import bin_grid, integer_bin
from .map_boxes import (
    is_coordinate,
    level_scale,
    map_boxes,
    map_boxes_rounded,
    map_boxes_tangent,
    map_rotated_boxes,
    map_rotated_boxes_tangent,
    place,
    shift_axis,
    upright,
)
from .numbers import clamp, float64_of, plain_of_level
from .rois import place_of
from .taps import PLACE

#: Columns of the table: the eight numbers of the frame; the map's height and width; for a rotation-invariant RoI, the
#: whole steps by which its channels rotate, the fraction of the next step, the derivative of the angle along the
#: tangent, and steps per radian; the velocity along the tangent; and, if kept, the velocities along every number of the
#: box.
FRAME = tl.constexpr(20 + 5 * 6)
SIZE, TURN, VELOCITY, VELOCITIES = tl.constexpr(8), tl.constexpr(10), tl.constexpr(14), tl.constexpr(20)
#: The bits of 2 pi, because a literal in a kernel may become a float32.
TWO_PI = tl.constexpr(0x401921FB54442D18)


class Velocity(NamedTuple):
    """The velocity of points: (dy, dx) is this times (1, position along y, position along x)."""

    y: tl.tensor
    y_per_y: tl.tensor
    y_per_x: tl.tensor
    x: tl.tensor
    x_per_y: tl.tensor
    x_per_x: tl.tensor


@triton.jit
def map_frame(box, scale, offset, minimum_length, extra_pixels, MAPPING: tl.constexpr, CLOCKWISE: tl.constexpr):
    """Step 1 in two dimensions: map the geometry of a RoI to its frame on the map."""
    if MAPPING == "rotated":
        frame = map_rotated_boxes(box, scale, offset, minimum_length, CLOCKWISE)
    else:
        if MAPPING == "rounded":
            start_y, length_y = map_boxes_rounded(box[1], box[3], scale, extra_pixels)
            start_x, length_x = map_boxes_rounded(box[0], box[2], scale, extra_pixels)
        else:
            tl.static_assert(MAPPING == "box" or MAPPING == "inclusive", "map_frame: a mapping has no frame")
            beyond = 1.0 if MAPPING == "inclusive" else 0.0
            start_y, length_y = map_boxes(box[1], box[3] + beyond, scale, offset, minimum_length)
            start_x, length_x = map_boxes(box[0], box[2] + beyond, scale, offset, minimum_length)
        frame = upright(start_y, length_y, start_x, length_x, 1.0)
    return frame


@triton.jit
def map_frame_tangent(
    box, tangent, frame, scale, offset, minimum_length, MAPPING: tl.constexpr, CLOCKWISE: tl.constexpr
):
    """The derivative of :func:`map_frame` along a `tangent` of the box. `frame` is its result."""
    if MAPPING == "rotated":
        moving = map_rotated_boxes_tangent(box, tangent, frame, scale, minimum_length, CLOCKWISE)
    else:
        start_y, length_y = map_boxes_tangent(box[1], box[3], tangent[1], tangent[3], scale, offset, minimum_length)
        start_x, length_x = map_boxes_tangent(box[0], box[2], tangent[0], tangent[2], scale, offset, minimum_length)
        moving = upright(start_y, length_y, start_x, length_x, 0.0)
    return moving


@triton.jit
def moved(own_y, own_x, moving_y, moving_x, frame, moving):
    """The velocity on the map of a point on the RoI's own axes, without that of the centre."""
    carried_y, carried_x = place(moving_y, moving_x, frame.cosine, frame.sine, 0.0, 0.0)
    turned_y, turned_x = place(own_y, own_x, moving.cosine, moving.sine, 0.0, 0.0)
    return carried_y + turned_y, carried_x + turned_x


@triton.jit
def velocity_of(frame, moving):
    """The velocity of points when their frame moves. It is linear in their positions."""
    start_y, start_x = moved(frame.start_y, frame.start_x, moving.start_y, moving.start_x, frame, moving)
    y_per_y, x_per_y = moved(frame.length_y, 0.0, moving.length_y, 0.0, frame, moving)
    y_per_x, x_per_x = moved(0.0, frame.length_x, 0.0, moving.length_x, frame, moving)
    return Velocity(start_y + moving.centre_y, y_per_y, y_per_x, start_x + moving.centre_x, x_per_y, x_per_x)


@triton.jit
def pixels_around(low_y, high_y, low_x, high_x, frame, height, width):
    """The pixels ``[first, end)`` of y and x that points between these ends of the RoI's own axes may depend on."""
    reach = tl.maximum(tl.maximum(tl.abs(low_y), tl.abs(high_y)), tl.maximum(tl.abs(low_x), tl.abs(high_x)))
    reach = tl.maximum(reach, tl.maximum(tl.abs(frame.centre_y), tl.abs(frame.centre_x)))
    # The larger a coordinate is, the farther rounding may move a point beyond its bin.
    margin = 2.0**-20 + 2.0**-48 * reach
    least_y, least_x = place(low_y, low_x, frame.cosine, frame.sine, frame.centre_y, frame.centre_x)
    most_y, most_x = least_y, least_x
    for corner in tl.static_range(1, 4):
        along_y = high_y if corner % 2 == 1 else low_y
        along_x = high_x if corner >= 2 else low_x
        y, x = place(along_y, along_x, frame.cosine, frame.sine, frame.centre_y, frame.centre_x)
        least_y, most_y = tl.minimum(least_y, y), tl.maximum(most_y, y)
        least_x, most_x = tl.minimum(least_x, x), tl.maximum(most_x, x)
    first_y, end_y = pixels_between(least_y - margin, most_y + margin, height)
    first_x, end_x = pixels_between(least_x - margin, most_x + margin, width)
    return first_y, end_y, first_x, end_x


@triton.jit
def pixels_between(low, high, size):
    """The pixels of an axis that points in ``[low, high]`` may depend on, clipped to the map."""
    exists = (high >= -1.0) & (low <= size)
    first, end = clamp(tl.floor(low), 0.0, size - 1.0), clamp(tl.floor(high) + 1.0, 0.0, size - 1.0) + 1.0
    return tl.where(exists, first, 0.0), tl.where(exists, end, 0.0)


@triton.jit
def spans_of(
    rois,
    frame,
    height,
    width,
    gamma,
    unused_border,
    number,
    is_bin,
    GEOMETRY: tl.constexpr,
    PH: tl.constexpr,
    PW: tl.constexpr,
    RULE: tl.constexpr,
    HAS_OFFSET: tl.constexpr,
):
    """The pixels ``[first, end)`` of y and x that bins may touch, possibly with a few more."""
    index_y, index_x = (number // PW).to(tl.float64), (number % PW).to(tl.float64)
    if RULE == "pixels":
        first_y, end_y = integer_bin(frame.start_y, frame.length_y, PH * 1.0, index_y, height - unused_border)
        first_x, end_x = integer_bin(frame.start_x, frame.length_x, PW * 1.0, index_x, width - unused_border)
    else:
        start_y, start_x = frame.start_y, frame.start_x
        if HAS_OFFSET:
            offset = rois + 1 + GEOMETRY + number
            shift_x = tl.load(offset, mask=is_bin, other=0.0).to(tl.float64)
            shift_y = tl.load(offset + PH * PW, mask=is_bin, other=0.0).to(tl.float64)
            start_y = shift_axis(start_y, frame.length_y, gamma, shift_y)
            start_x = shift_axis(start_x, frame.length_x, gamma, shift_x)
        low_y, length_y = bin_grid(start_y, frame.length_y, PH * 1.0, index_y)
        low_x, length_x = bin_grid(start_x, frame.length_x, PW * 1.0, index_x)
        first_y, end_y, first_x, end_x = pixels_around(
            low_y, low_y + length_y, low_x, low_x + length_x, frame, height, width
        )
    return first_y, end_y, first_x, end_x


@triton.jit
def write_row(frames, values):
    """Write consecutive numbers."""
    for index in tl.static_range(len(values)):
        tl.store(frames + index, values[index])


@triton.jit(do_not_specialize=["images", "extra_pixels", "unused_border", "orientations"])
def frames_kernel(
    rois,
    levels,
    tangent,
    frames,
    places,
    spans,
    heights,
    widths,
    scales,
    canonical,
    strides_log2,
    images,
    offset_bits,
    minimum_bits,
    gamma_bits,
    extra_pixels,
    unused_border,
    orientations,
    PH: tl.constexpr,
    PW: tl.constexpr,
    MAPPING: tl.constexpr,
    RULE: tl.constexpr,
    CLOCKWISE: tl.constexpr,
    HAS_OFFSET: tl.constexpr,
    TANGENT: tl.constexpr,
    KEEPS: tl.constexpr,
    COLUMNS: tl.constexpr,
    HAS_LEVELS: tl.constexpr,
    LEVELS: tl.constexpr,
    BINS: tl.constexpr,
):
    """Write the rows of a RoI in `frames` (float64 ``[K, FRAME]``), `places` and `spans` (int32 ``[K, bins, 4]``)."""
    GEOMETRY: tl.constexpr = 5 if MAPPING == "rotated" else 4
    row = tl.program_id(0).to(tl.int64)
    image, level, one, two, three, four, five = place_of(
        rois, levels, row, images, canonical, strides_log2, COLUMNS, HAS_LEVELS, LEVELS, MAPPING == "rotated"
    )
    own = rois + row * COLUMNS
    if HAS_OFFSET:  # a RoI with an offset that is not finite is invalid too
        for first in range(0, 2 * PH * PW, BINS):
            column = first + tl.arange(0, BINS)
            shift = tl.load(own + 1 + GEOMETRY + column, mask=column < 2 * PH * PW, other=0.0).to(tl.float64)
            bad = tl.max(tl.where(is_coordinate(shift), 0, 1), 0)
            image = tl.where(bad > 0, -1, image)
    scale, offset, minimum_length = (
        level_scale(scales, level, LEVELS),
        float64_of(offset_bits),
        float64_of(minimum_bits),
    )
    height = plain_of_level(heights, level, LEVELS).to(tl.float64)
    width = plain_of_level(widths, level, LEVELS).to(tl.float64)
    box = (one, two, three, four, five)
    frame = map_frame(box, scale, offset, minimum_length, tl.cast(extra_pixels, tl.float64), MAPPING, CLOCKWISE)
    groups = tl.cast(orientations, tl.float64)
    per_radian = groups / float64_of(TWO_PI)
    turned = five * groups / float64_of(TWO_PI)
    steps = tl.floor(turned)
    turn = clamp(steps - tl.floor(steps / groups) * groups, 0.0, groups - 1.0)

    table = frames + row * FRAME
    write_row(table, frame)
    angle_moved = tl.load(tangent + row * COLUMNS + 5) if TANGENT and MAPPING == "rotated" else 0.0 * turned
    write_row(table + SIZE, (height, width, turn, turned - steps, angle_moved, per_radian))
    if TANGENT:
        moved_along = tangent + row * COLUMNS + 1
        direction = (
            tl.load(moved_along),
            tl.load(moved_along + 1),
            tl.load(moved_along + 2),
            tl.load(moved_along + 3),
            angle_moved,
        )
        moving = map_frame_tangent(box, direction, frame, scale, offset, minimum_length, MAPPING, CLOCKWISE)
        write_row(table + VELOCITY, velocity_of(frame, moving))
    if KEEPS:
        for column in tl.static_range(GEOMETRY):
            zero = 0.0 * one
            unit = (
                zero + 1.0 if column == 0 else zero,
                zero + 1.0 if column == 1 else zero,
                zero + 1.0 if column == 2 else zero,
                zero + 1.0 if column == 3 else zero,
                zero + 1.0 if column == 4 else zero,
            )
            moving = map_frame_tangent(box, unit, frame, scale, offset, minimum_length, MAPPING, CLOCKWISE)
            write_row(table + VELOCITIES + 6 * column, velocity_of(frame, moving))

    least_y, most_y, least_x, most_x = height, 0.0 * height, width, 0.0 * width
    border, gamma = tl.cast(unused_border, tl.float64), float64_of(gamma_bits)
    for first in range(0, PH * PW, BINS):
        number = first + tl.arange(0, BINS)
        is_bin = (number < PH * PW) & (image >= 0)
        first_y, end_y, first_x, end_x = spans_of(
            own, frame, height, width, gamma, border, number, is_bin, GEOMETRY, PH, PW, RULE, HAS_OFFSET
        )
        exists = is_bin & (end_y > first_y) & (end_x > first_x)
        span = spans + (row * (PH * PW) + number) * 4
        tl.store(span, tl.where(exists, first_y, 0.0).to(tl.int32), mask=number < PH * PW)
        tl.store(span + 1, tl.where(exists, end_y, 0.0).to(tl.int32), mask=number < PH * PW)
        tl.store(span + 2, tl.where(exists, first_x, 0.0).to(tl.int32), mask=number < PH * PW)
        tl.store(span + 3, tl.where(exists, end_x, 0.0).to(tl.int32), mask=number < PH * PW)
        least_y = tl.minimum(least_y, tl.min(tl.where(exists, first_y, height), 0))
        most_y = tl.maximum(most_y, tl.max(tl.where(exists, end_y, 0.0), 0))
        least_x = tl.minimum(least_x, tl.min(tl.where(exists, first_x, width), 0))
        most_x = tl.maximum(most_x, tl.max(tl.where(exists, end_x, 0.0), 0))
    around = places + row * PLACE
    write_row(
        around,
        (
            level.to(tl.int32),
            image.to(tl.int32),
            least_y.to(tl.int32),
            most_y.to(tl.int32),
            least_x.to(tl.int32),
            most_x.to(tl.int32),
        ),
    )
