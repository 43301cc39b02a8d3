"""The forward kernel of means in the pointwise family.

A program computes a block of bins and channels of one RoI, as in the separable family. Its bins visit their points
together. The geometry of a point is float64. Map values are weighted and summed as in the separable family.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .blocks import bins_of_program, channel_block, roi_of_program, zeros
from .frames import TURN
from .order import row_at
from .point_rows import SAMPLING, Sampling
from .point_values import (
    PIXELS,
    block_of,
    channels_read,
    most_of,
    motion_of,
    offset_of,
    pixel_at,
    pixels_of,
    read,
    weight_of,
    write_bins,
)
from .points import pixel_of, point_of, row_of, speed_of, taps_of_point


@triton.jit
def mean_pixels(
    pixels,
    factor,
    block,
    takes_channel,
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
                at, exists = pixel_at(rows, columns, step_y, step_x + side, block.stride_y, block.stride_x)
                along_row += tl.load(corner + at, mask=exists & takes_channel, other=0.0).to(dtype)
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
    SPEC: tl.constexpr,
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
    dtype: tl.constexpr = tl.float64 if WIDE else tl.float32
    row = row_at(order, has_order, roi_of_program(SPEC.bins, BINS))
    numbers = bins_of_program(SPEC.bins, BINS)
    channel, is_channel = channel_block(tl.program_id(1), channels, CHANNELS, VECTOR, CHANNELS_LAST)
    sampling = Sampling(ratio_y, ratio_x, seed_low, seed_high, first_row, gamma_bits, unused_border)
    block = block_of(
        row, numbers, features, strides, rois, frames, places, sampling, SPEC, CHANNELS_LAST, VECTOR, LEVELS
    )
    roi, bins, moved = block.roi, block.bins, tangent + row * SPEC.COLUMNS
    mask, mask_moved, velocity = motion_of(roi, bins, moved, block.is_bin, SPEC, TANGENT)
    own = channels_read(channel, is_channel, block, orientations, SPEC, CHANNELS_LAST)
    between, turning = tl.load(roi.frame + TURN + 1), tl.load(roi.frame + TURN + 3)
    if TANGENT:
        turning = turning * tl.load(roi.frame + TURN + 2)

    if SPEC.RULE == "pixels":
        factor = mask_moved if TANGENT else mask  # the pixels do not move
        pixels = pixels_of(spans, block, own.first, SPEC, CHANNELS_LAST)
        total = mean_pixels(pixels, factor, block, own.takes, dtype, CHANNELS_LAST, BINS, CHANNELS)
    else:
        total = zeros(BINS, CHANNELS, dtype, CHANNELS_LAST)
        for step_y in range(most_of(bins.end_y - bins.first_y)):
            line = row_of(roi, bins, tl.cast(step_y, tl.float64), SPEC)
            # Sum rows separately, because long sums lose precision.
            along_row = zeros(BINS, CHANNELS, dtype, CHANNELS_LAST)
            for step_x in range(most_of(line.end_x - line.first_x)):
                point = point_of(roi, bins, line, tl.cast(step_x, tl.float64), SPEC)
                speed_y, speed_x = speed_of(point, velocity)
                share = tl.where(point.is_inside, point.share, 0.0)
                taps_y, taps_x = taps_of_point(point, bins)
                for corner in tl.static_range(4):
                    pixel, wy, slope_y, wx, slope_x = pixel_of(taps_y, taps_x, corner)
                    weight = weight_of(wy, slope_y, wx, slope_x, speed_y, speed_x, mask, mask_moved, TANGENT)
                    weight = tl.where(share == 0.0, 0.0, share * weight)
                    still = share * mask * (wy * wx)
                    takes = weight != 0.0
                    if TANGENT and SPEC.CHANNELS_OF == "orientation":
                        takes = takes | (still != 0.0)
                    # A pixel of weight 0 is ignored, even if it is NaN.
                    offset = offset_of(pixel, block)
                    value, change = read(
                        block.map_of + offset,
                        own.first,
                        own.second,
                        takes & own.takes,
                        between,
                        dtype,
                        SPEC,
                    )
                    along_row += weight.to(dtype) * value
                    if TANGENT and SPEC.CHANNELS_OF == "orientation":
                        along_row += (still * turning).to(dtype) * change
            total += along_row
    write_bins(total, out, block, own, out_strides, SPEC, CHANNELS_LAST, OUT_VECTOR)
