"""The forward kernel of means in the pointwise family.

A program computes a block of bins and channels of one RoI, as in the separable family. Its bins visit their points
together. The geometry of a point is float64. Map values are weighted and summed as in the separable family.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .blocks import channel_block, channels_side, places_side, zeros
from .frames import TURN
from .order import row_at
from .point_values import PIXELS, channels_read, in_output, map_of_row, masks_of, most_of, pixels_of, read, weight_of
from .points import SAMPLING, bins_of, point_of, roi_of, row_of, speed_of, tap, taps_of, velocity_along, whole_map


@triton.jit
def mean_pixels(
    pixels,
    factor,
    takes_channel,
    stride_y,
    stride_x,
    dtype: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    BINS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """The means of the pixels given by :func:`pixels_of`, times a factor."""
    rows, columns, corner = pixels
    rows = tl.where(factor == 0.0, 0, rows)  # pixels of weight 0 are ignored, even if they are NaN
    total = zeros(BINS, CHANNELS, dtype, CHANNELS_LAST)
    for step_y in range(most_of(rows)):
        along_row = zeros(BINS, CHANNELS, dtype, CHANNELS_LAST)  # as in mean_kernel
        for step_x in range(0, most_of(columns), PIXELS):
            for side in tl.static_range(PIXELS):
                step = tl.cast(step_y, tl.int64) * stride_y + tl.cast(step_x + side, tl.int64) * stride_x
                is_pixel = (step_y < rows) & (step_x + side < columns)
                along_row += tl.load(corner + step, mask=is_pixel & takes_channel, other=0.0).to(dtype)
        total += along_row
    share = factor / tl.maximum(rows, 1).to(tl.float64) / tl.maximum(columns, 1).to(tl.float64)
    return total * share.to(dtype)


@triton.jit(do_not_specialize=[*SAMPLING, "has_order", "channels", "orientations"])
def mean_kernel(
    features,
    rois,
    tangent,
    frames,
    places,
    spans,
    order,
    has_order,
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
    orientations,
    PH: tl.constexpr,
    PW: tl.constexpr,
    RULE: tl.constexpr,
    JOINT: tl.constexpr,
    CHANNELS_OF: tl.constexpr,
    HAS_OFFSET: tl.constexpr,
    HAS_MASK: tl.constexpr,
    GEOMETRY: tl.constexpr,
    COLUMNS: tl.constexpr,
    TANGENT: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    VECTOR: tl.constexpr,
    OUT_VECTOR: tl.constexpr,
    LEVELS: tl.constexpr,
    BINS: tl.constexpr,
    CHANNELS: tl.constexpr,
    WIDE: tl.constexpr,
):
    """Write a block of bins and channels of one RoI's means, or their derivatives along the tangent."""
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
    moved = tangent + row * COLUMNS
    mask, mask_moved = masks_of(roi, moved, number, is_bin, MASK, HAS_MASK, TANGENT)
    velocity = velocity_along(roi, bins, moved, number, is_bin, GEOMETRY, PH, PW, HAS_OFFSET and TANGENT)
    first, second = channels_read(roi, number, channel, stride_c, orientations, PH * PW, CHANNELS_OF, CHANNELS_LAST)
    between, turning = tl.load(roi.frame + TURN + 1), tl.load(roi.frame + TURN + 3)
    if TANGENT:
        turning = turning * tl.load(roi.frame + TURN + 2)

    if RULE == "pixels":
        factor = mask_moved if TANGENT else mask  # the pixels do not move
        pixels = pixels_of(spans, row, numbers, map_of, first, stride_y, stride_x, PH * PW, CHANNELS_LAST)
        total = mean_pixels(pixels, factor, takes_channel, stride_y, stride_x, dtype, CHANNELS_LAST, BINS, CHANNELS)
    else:
        total = zeros(BINS, CHANNELS, dtype, CHANNELS_LAST)
        for step_y in range(most_of(bins.end_y - bins.first_y)):
            line = row_of(roi, bins, tl.cast(step_y, tl.float64), PH, RULE, JOINT)
            along_row = zeros(
                BINS, CHANNELS, dtype, CHANNELS_LAST
            )  # sum rows separately, because long sums lose precision
            for step_x in range(most_of(line.end_x - line.first_x)):
                point = point_of(roi, bins, line, tl.cast(step_x, tl.float64), PH, PW, RULE, JOINT)
                speed_y, speed_x = speed_of(point, velocity)
                share = tl.where(point.is_inside, point.share, 0.0)
                taps_y, taps_x = taps_of(point.y, bins.height), taps_of(point.x, bins.width)
                for side in tl.static_range(4):
                    pixel_y, wy, slope_y = tap(taps_y, side // 2)
                    pixel_x, wx, slope_x = tap(taps_x, side % 2)
                    weight = weight_of(wy, slope_y, wx, slope_x, speed_y, speed_x, mask, mask_moved, TANGENT)
                    weight = tl.where(share == 0.0, 0.0, share * weight)
                    still = share * mask * (wy * wx)
                    takes = weight != 0.0
                    if TANGENT and CHANNELS_OF == "orientation":
                        takes = takes | (still != 0.0)
                    pixel = pixel_y.to(tl.int64) * stride_y + pixel_x.to(tl.int64) * stride_x
                    # A pixel of weight 0 is ignored, even if it is NaN.
                    value, change = read(
                        map_of + pixel, first, second, takes & takes_channel, between, dtype, CHANNELS_OF
                    )
                    along_row += weight.to(dtype) * value
                    if TANGENT and CHANNELS_OF == "orientation":
                        along_row += (still * turning).to(dtype) * change
            total += along_row

    place = in_output(row, number, channel, out_strides, PW, CHANNELS_LAST, OUT_VECTOR)
    tl.store(out + place, total.to(out.dtype.element_ty), mask=(number < PH * PW) & takes_channel)
