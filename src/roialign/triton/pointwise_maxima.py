"""The forward kernels of maxima in the pointwise family: the maximum and its point (the winner), and the values of
winners on other maps. A program computes a block of bins and channels of one RoI, as in pointwise_means.py.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .aggregate import aggregate_max, aggregate_zero, is_larger
from .blocks import channel_block, channels_side, places_side, zeros
from .order import row_at
from .point_values import (
    PIXELS,
    channels_read,
    in_output,
    in_winners,
    map_of_row,
    masks_of,
    most_of,
    pixels_of,
    point_of_winner,
    weight_of,
)
from .points import (
    SAMPLING,
    bins_of,
    of_bin,
    point_of,
    roi_of,
    row_of,
    speed_of,
    tap,
    taps_of,
    velocity_along,
    whole_map,
)


@triton.jit
def largest_pixels(
    pixels,
    takes_channel,
    stride_y,
    stride_x,
    dtype: tl.constexpr,
    SHIFT: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    BINS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """The maxima of the pixels given by :func:`pixels_of`, and the winners. An empty bin is 0 and has no winner."""
    number_type: tl.constexpr = tl.int32 if SHIFT == 16 else tl.int64
    rows, columns, corner = pixels
    exists = (rows > 0) & (columns > 0)
    best = zeros(BINS, CHANNELS, dtype, CHANNELS_LAST) - float("inf")
    winner = zeros(BINS, CHANNELS, number_type, CHANNELS_LAST) + tl.where(exists, 0, -1)
    for step_y in range(most_of(rows)):
        for step_x in range(0, most_of(columns), PIXELS):
            for side in tl.static_range(PIXELS):
                step = tl.cast(step_y, tl.int64) * stride_y + tl.cast(step_x + side, tl.int64) * stride_x
                is_pixel = (step_y < rows) & (step_x + side < columns)
                # Nothing is less than the value of a missing pixel.
                value = tl.load(corner + step, mask=is_pixel & takes_channel, other=float("-inf")).to(dtype)
                code = (tl.cast(step_y, number_type) << SHIFT) | (tl.cast(step_x + side, number_type) << 2)
                larger = is_larger(value, best)
                best, winner = tl.where(larger, value, best), tl.where(larger, code, winner)
    return tl.where(exists, best, 0.0), winner


@triton.jit
def largest_points(
    roi,
    bins,
    map_of,
    first,
    takes_channel,
    stride_y,
    stride_x,
    dtype: tl.constexpr,
    PH: tl.constexpr,
    PW: tl.constexpr,
    RULE: tl.constexpr,
    JOINT: tl.constexpr,
    REDUCTION: tl.constexpr,
    SHIFT: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    BINS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """The maxima of bins, and the winners."""
    best = zeros(BINS, CHANNELS, dtype, CHANNELS_LAST)
    number_type: tl.constexpr = tl.int32 if SHIFT == 16 else tl.int64
    winner = zeros(BINS, CHANNELS, number_type, CHANNELS_LAST) - 1
    # Points that are not visited lie outside the map. Each is a zero.
    has_zero = bins.end_y - bins.first_y < bins.count_y
    if not JOINT:
        has_zero = has_zero | (bins.end_x - bins.first_x < bins.count_x)
    for step_y in range(most_of(bins.end_y - bins.first_y)):
        line = row_of(roi, bins, tl.cast(step_y, tl.float64), PH, RULE, JOINT)
        if JOINT:
            has_zero = has_zero | (line.end_x - line.first_x < bins.count_x)
        for step_x in range(most_of(line.end_x - line.first_x)):
            point = point_of(roi, bins, line, tl.cast(step_x, tl.float64), PH, PW, RULE, JOINT)
            has_zero = has_zero | (point.exists & ~point.is_inside)
            code = (tl.cast(step_y, number_type) << SHIFT) | (tl.cast(step_x, number_type) << 2)
            sample = zeros(BINS, CHANNELS, dtype, CHANNELS_LAST)
            taps_y, taps_x = taps_of(point.y, bins.height), taps_of(point.x, bins.width)
            for side in tl.static_range(4):
                pixel_y, wy, _slope_y = tap(taps_y, side // 2)
                pixel_x, wx, _slope_x = tap(taps_x, side % 2)
                weight = (wy * wx).to(dtype)
                takes = point.is_inside & (weight != 0.0)
                pixel = pixel_y.to(tl.int64) * stride_y + pixel_x.to(tl.int64) * stride_x
                value = tl.load(map_of + (pixel + first), mask=takes & takes_channel, other=0.0).to(dtype)
                part = tl.where(takes, weight * value, 0.0)
                if REDUCTION == "corner_max":
                    there = point.is_inside
                    if side // 2 == 1:
                        there = there & taps_y.has_next
                    if side % 2 == 1:
                        there = there & taps_x.has_next
                    best, winner = aggregate_max(best, winner, part, code + side, there)
                    has_zero = has_zero | (point.is_inside & ~there)
                else:
                    tl.static_assert(REDUCTION == "max", "maximum_kernel: a reduction has no kernel")
                    sample += part
            if REDUCTION == "max":
                best, winner = aggregate_max(best, winner, sample, code, point.is_inside)
    return aggregate_zero(best, winner, has_zero)


@triton.jit(do_not_specialize=[*SAMPLING, "has_order", "channels"])
def maximum_kernel(
    features,
    rois,
    frames,
    places,
    spans,
    order,
    has_order,
    out,
    winners,
    ratio_y,
    ratio_x,
    seed_low,
    seed_high,
    first_row,
    gamma_bits,
    unused_border,
    strides,
    out_strides,
    channels,
    PH: tl.constexpr,
    PW: tl.constexpr,
    RULE: tl.constexpr,
    JOINT: tl.constexpr,
    REDUCTION: tl.constexpr,
    CHANNELS_OF: tl.constexpr,
    HAS_OFFSET: tl.constexpr,
    HAS_MASK: tl.constexpr,
    GEOMETRY: tl.constexpr,
    COLUMNS: tl.constexpr,
    WRITES: tl.constexpr,
    TELLS: tl.constexpr,
    SHIFT: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    VECTOR: tl.constexpr,
    OUT_VECTOR: tl.constexpr,
    LEVELS: tl.constexpr,
    BINS: tl.constexpr,
    CHANNELS: tl.constexpr,
    WIDE: tl.constexpr,
):
    """Write a block of bins and channels of one RoI's maxima, their points to `winners` (integers ``[K, bins, C]``), or
    both.

    The number of a winner has the step along y from bit `SHIFT` on, the step along x from bit 2 on, and the corner.
    """
    BLOCKS: tl.constexpr = (PH * PW + BINS - 1) // BINS
    dtype: tl.constexpr = tl.float64 if WIDE else tl.float32
    MASK: tl.constexpr = 1 + GEOMETRY + (2 * PH * PW if HAS_OFFSET else 0)
    row = row_at(order, has_order, tl.program_id(0) // BLOCKS)
    numbers = tl.program_id(0) % BLOCKS * BINS + tl.arange(0, BINS)
    channel, is_channel = channel_block(channels, CHANNELS, VECTOR)
    takes_channel = channels_side(is_channel, CHANNELS_LAST)
    map_of, image, stride_c, stride_y, stride_x = map_of_row(features, places, row, strides, LEVELS, VECTOR)

    roi = roi_of(
        row, rois, frames, (ratio_y, ratio_x, seed_low, seed_high, first_row, gamma_bits, unused_border), COLUMNS
    )
    number = places_side(numbers, CHANNELS_LAST)
    is_bin = (number < PH * PW) & (image >= 0)
    bins = bins_of(roi, whole_map(roi), number, is_bin, GEOMETRY, PH, PW, RULE, JOINT, HAS_OFFSET)
    first, _ = channels_read(roi, number, channel, stride_c, 1, PH * PW, CHANNELS_OF, CHANNELS_LAST)

    if RULE == "pixels" and REDUCTION == "max":
        pixels = pixels_of(spans, row, numbers, map_of, first, stride_y, stride_x, PH * PW, CHANNELS_LAST)
        best, winner = largest_pixels(
            pixels, takes_channel, stride_y, stride_x, dtype, SHIFT, CHANNELS_LAST, BINS, CHANNELS
        )
    else:
        best, winner = largest_points(
            roi,
            bins,
            map_of,
            first,
            takes_channel,
            stride_y,
            stride_x,
            dtype,
            PH,
            PW,
            RULE,
            JOINT,
            REDUCTION,
            SHIFT,
            CHANNELS_LAST,
            BINS,
            CHANNELS,
        )

    mask = (number < PH * PW) & takes_channel
    if TELLS:
        at = in_winners(row, number, channel, channels, PH * PW, CHANNELS_LAST)
        tl.store(winners + at, winner.to(winners.dtype.element_ty), mask=mask)
    if WRITES:
        if HAS_MASK:
            best = best * of_bin(roi, MASK, number, is_bin).to(dtype)
        place = in_output(row, number, channel, out_strides, PW, CHANNELS_LAST, OUT_VECTOR)
        tl.store(out + place, best.to(out.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=[*SAMPLING, "channels"])
def winners_kernel(
    features,
    rois,
    tangent,
    frames,
    places,
    winners,
    out,
    ratio_y,
    ratio_x,
    seed_low,
    seed_high,
    first_row,
    gamma_bits,
    unused_border,
    strides,
    out_strides,
    channels,
    PH: tl.constexpr,
    PW: tl.constexpr,
    RULE: tl.constexpr,
    JOINT: tl.constexpr,
    REDUCTION: tl.constexpr,
    CHANNELS_OF: tl.constexpr,
    HAS_OFFSET: tl.constexpr,
    HAS_MASK: tl.constexpr,
    GEOMETRY: tl.constexpr,
    COLUMNS: tl.constexpr,
    TANGENT: tl.constexpr,
    SHIFT: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    VECTOR: tl.constexpr,
    OUT_VECTOR: tl.constexpr,
    LEVELS: tl.constexpr,
    BINS: tl.constexpr,
    CHANNELS: tl.constexpr,
    WIDE: tl.constexpr,
):
    """Write a block of bins and channels of the values of these maps at the winners, or their derivatives."""
    BLOCKS: tl.constexpr = (PH * PW + BINS - 1) // BINS
    dtype: tl.constexpr = tl.float64 if WIDE else tl.float32
    SIDES: tl.constexpr = 1 if RULE == "pixels" else 2
    MASK: tl.constexpr = 1 + GEOMETRY + (2 * PH * PW if HAS_OFFSET else 0)
    row = (tl.program_id(0) // BLOCKS).to(tl.int64)
    numbers = tl.program_id(0) % BLOCKS * BINS + tl.arange(0, BINS)
    channel, is_channel = channel_block(channels, CHANNELS, VECTOR)
    takes_channel = channels_side(is_channel, CHANNELS_LAST)
    map_of, image, stride_c, stride_y, stride_x = map_of_row(features, places, row, strides, LEVELS, VECTOR)

    roi = roi_of(
        row, rois, frames, (ratio_y, ratio_x, seed_low, seed_high, first_row, gamma_bits, unused_border), COLUMNS
    )
    number = places_side(numbers, CHANNELS_LAST)
    is_bin = (number < PH * PW) & (image >= 0)
    bins = bins_of(roi, whole_map(roi), number, is_bin, GEOMETRY, PH, PW, RULE, JOINT, HAS_OFFSET)
    moved = tangent + row * COLUMNS
    mask, mask_moved = masks_of(roi, moved, number, is_bin, MASK, HAS_MASK, TANGENT)
    velocity = velocity_along(roi, bins, moved, number, is_bin, GEOMETRY, PH, PW, HAS_OFFSET and TANGENT)
    first, _ = channels_read(roi, number, channel, stride_c, 1, PH * PW, CHANNELS_OF, CHANNELS_LAST)

    at = in_winners(row, number, channel, channels, PH * PW, CHANNELS_LAST)
    winner = tl.load(winners + at, mask=is_bin & takes_channel, other=-1).to(tl.int64)
    point, corner = point_of_winner(roi, bins, winner, PH, PW, RULE, JOINT, SHIFT)
    speed_y, speed_x = speed_of(point, velocity)
    total = zeros(BINS, CHANNELS, dtype, CHANNELS_LAST)
    taps_y, taps_x = taps_of(point.y, bins.height), taps_of(point.x, bins.width)
    for side in tl.static_range(SIDES * SIDES):
        pixel_y, wy, slope_y = tap(taps_y, side // 2)
        pixel_x, wx, slope_x = tap(taps_x, side % 2)
        weight = weight_of(wy, slope_y, wx, slope_x, speed_y, speed_x, mask, mask_moved, TANGENT)
        takes = (winner >= 0) & (weight != 0.0)
        if REDUCTION == "corner_max":
            takes = takes & (corner == side)
        pixel = pixel_y.to(tl.int64) * stride_y + pixel_x.to(tl.int64) * stride_x
        value = tl.load(map_of + (pixel + first), mask=takes, other=0.0).to(dtype)
        total += tl.where(takes, weight.to(dtype) * value, 0.0)

    place = in_output(row, number, channel, out_strides, PW, CHANNELS_LAST, OUT_VECTOR)
    tl.store(out + place, total.to(out.dtype.element_ty), mask=(number < PH * PW) & takes_channel)
