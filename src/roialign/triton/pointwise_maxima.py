"""The forward kernels of maxima in the pointwise family: the maximum and its point (the winner), and the values of
winners on other maps. A program computes a block of bins and channels of one RoI, as in pointwise_means.py.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .aggregate import aggregate_max, aggregate_zero, is_larger
from .blocks import bins_of_program, channel_block, roi_of_program, zeros
from .order import row_at
from .point_rows import SAMPLING, Sampling, of_bin
from .point_values import (
    PIXELS,
    block_of,
    channels_read,
    in_output,
    in_winners,
    most_of,
    motion_of,
    offset_of,
    pixel_at,
    pixels_of,
    read_winners,
    weight_of,
    write_bins,
)
from .points import pixel_of, point_of, row_of, speed_of, taps_of_point


@triton.jit
def largest_pixels(
    pixels,
    block,
    takes_channel,
    dtype: tl.constexpr,
    SHIFT: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    BINS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """The maxima of the pixels given by :func:`pixels_of`, and the winners. An empty bin is 0 and has no winner."""
    number_type: tl.constexpr = tl.int32 if SHIFT == 16 else tl.int64
    rows, columns, corner = pixels
    has_pixels = (rows > 0) & (columns > 0)
    best = zeros(BINS, CHANNELS, dtype, CHANNELS_LAST) - float("inf")
    winner = zeros(BINS, CHANNELS, number_type, CHANNELS_LAST) + tl.where(has_pixels, 0, -1)
    for step_y in range(most_of(rows)):
        for step_x in range(0, most_of(columns), PIXELS):
            for side in tl.static_range(PIXELS):
                at, exists = pixel_at(rows, columns, step_y, step_x + side, block.stride_y, block.stride_x)
                # Nothing is less than the value of a missing pixel.
                value = tl.load(corner + at, mask=exists & takes_channel, other=float("-inf")).to(dtype)
                code = (tl.cast(step_y, number_type) << SHIFT) | (tl.cast(step_x + side, number_type) << 2)
                larger = is_larger(value, best)
                best, winner = tl.where(larger, value, best), tl.where(larger, code, winner)
    return tl.where(has_pixels, best, 0.0), winner


@triton.jit
def largest_points(
    block,
    own,
    dtype: tl.constexpr,
    SPEC: tl.constexpr,
    REDUCTION: tl.constexpr,
    SHIFT: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    BINS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """The maxima of bins, and the winners."""
    roi, bins = block.roi, block.bins
    best = zeros(BINS, CHANNELS, dtype, CHANNELS_LAST)
    number_type: tl.constexpr = tl.int32 if SHIFT == 16 else tl.int64
    winner = zeros(BINS, CHANNELS, number_type, CHANNELS_LAST) - 1
    # Points that are not visited lie outside the map. Each is a zero.
    has_zero = bins.end_y - bins.first_y < bins.count_y
    if not SPEC.JOINT:
        has_zero = has_zero | (bins.end_x - bins.first_x < bins.count_x)
    for step_y in range(most_of(bins.end_y - bins.first_y)):
        line = row_of(roi, bins, tl.cast(step_y, tl.float64), SPEC)
        if SPEC.JOINT:
            has_zero = has_zero | (line.end_x - line.first_x < bins.count_x)
        for step_x in range(most_of(line.end_x - line.first_x)):
            point = point_of(roi, bins, line, tl.cast(step_x, tl.float64), SPEC)
            has_zero = has_zero | (point.exists & ~point.is_inside)
            code = (tl.cast(step_y, number_type) << SHIFT) | (tl.cast(step_x, number_type) << 2)
            sample = zeros(BINS, CHANNELS, dtype, CHANNELS_LAST)
            taps_y, taps_x = taps_of_point(point, bins)
            for side in tl.static_range(4):
                pixel, wy, _, wx, _ = pixel_of(taps_y, taps_x, side)
                weight = (wy * wx).to(dtype)
                takes = point.is_inside & (weight != 0.0)
                offset = offset_of(pixel, block)
                value = tl.load(block.map_of + (offset + own.first), mask=takes & own.takes, other=0.0).to(dtype)
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
    SPEC: tl.constexpr,
    REDUCTION: tl.constexpr,
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
    dtype: tl.constexpr = tl.float64 if WIDE else tl.float32
    row = row_at(order, has_order, roi_of_program(SPEC.bins, BINS))
    numbers = bins_of_program(SPEC.bins, BINS)
    channel, is_channel = channel_block(tl.program_id(1), channels, CHANNELS, VECTOR, CHANNELS_LAST)
    sampling = Sampling(ratio_y, ratio_x, seed_low, seed_high, first_row, gamma_bits, unused_border)
    block = block_of(
        row, numbers, features, strides, rois, frames, places, sampling, SPEC, CHANNELS_LAST, VECTOR, LEVELS
    )
    own = channels_read(channel, is_channel, block, 1, SPEC, CHANNELS_LAST)
    if SPEC.RULE == "pixels" and REDUCTION == "max":
        pixels = pixels_of(spans, block, own.first, SPEC, CHANNELS_LAST)
        best, winner = largest_pixels(pixels, block, own.takes, dtype, SHIFT, CHANNELS_LAST, BINS, CHANNELS)
    else:
        best, winner = largest_points(block, own, dtype, SPEC, REDUCTION, SHIFT, CHANNELS_LAST, BINS, CHANNELS)

    number = block.bins.number
    mask = (number < SPEC.bins) & own.takes
    if TELLS:
        at = in_winners(block, own.channel, channels, SPEC, CHANNELS_LAST)
        tl.store(winners + at, winner.to(winners.dtype.element_ty), mask=mask)
    if WRITES:
        if SPEC.HAS_MASK:
            best = best * of_bin(block.roi, SPEC.first_mask, number, block.is_bin).to(dtype)
        place = in_output(block, own.channel, out_strides, SPEC, CHANNELS_LAST, OUT_VECTOR)
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
    SPEC: tl.constexpr,
    REDUCTION: tl.constexpr,
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
    dtype: tl.constexpr = tl.float64 if WIDE else tl.float32
    CORNERS: tl.constexpr = 1 if SPEC.RULE == "pixels" else 4
    row = roi_of_program(SPEC.bins, BINS).to(tl.int64)
    numbers = bins_of_program(SPEC.bins, BINS)
    channel, is_channel = channel_block(tl.program_id(1), channels, CHANNELS, VECTOR, CHANNELS_LAST)
    sampling = Sampling(ratio_y, ratio_x, seed_low, seed_high, first_row, gamma_bits, unused_border)
    block = block_of(
        row, numbers, features, strides, rois, frames, places, sampling, SPEC, CHANNELS_LAST, VECTOR, LEVELS
    )
    moved = tangent + row * SPEC.COLUMNS
    mask, mask_moved, velocity = motion_of(block.roi, block.bins, moved, block.is_bin, SPEC, TANGENT)
    own = channels_read(channel, is_channel, block, 1, SPEC, CHANNELS_LAST)
    winner, point, corner = read_winners(winners, block, own, channels, SPEC, CHANNELS_LAST, SHIFT)
    speed_y, speed_x = speed_of(point, velocity)
    total = zeros(BINS, CHANNELS, dtype, CHANNELS_LAST)
    taps_y, taps_x = taps_of_point(point, block.bins)
    for side in tl.static_range(CORNERS):
        pixel, wy, slope_y, wx, slope_x = pixel_of(taps_y, taps_x, side)
        weight = weight_of(wy, slope_y, wx, slope_x, speed_y, speed_x, mask, mask_moved, TANGENT)
        takes = (winner >= 0) & (weight != 0.0)
        if REDUCTION == "corner_max":
            takes = takes & (corner == side)
        offset = offset_of(pixel, block)
        value = tl.load(block.map_of + (offset + own.first), mask=takes, other=0.0).to(dtype)
        total += tl.where(takes, weight.to(dtype) * value, 0.0)
    write_bins(total, out, block, own, out_strides, SPEC, CHANNELS_LAST, OUT_VECTOR)
