"""The gradients of the pointwise family to the numbers that describe RoIs. One kernel sums over bins and channels, and
another one combines the sums of the bins of a RoI."""

from __future__ import annotations

import triton
import triton.language as tl

from .blocks import bins_of_program, channel_block, roi_of_program, zeros
from .frames import TURN, VELOCITIES
from .map_boxes import shift_axis
from .order import row_at
from .point_rows import SAMPLING, Sampling, of_bin, roi_of
from .point_values import block_of, channels_read, most_of, offset_of, read, read_gradient, read_winners
from .points import pixel_of, point_of, row_of, taps_of_point
from .taps import PLACE

#: The sums of a bin: of its value, for its mask; of the derivative in y times 1 and times the positions along y and x;
#: the same for x; and of the change from rotating channels.
SUMS = tl.constexpr(8)


@triton.jit
def sum_channels(block, CHANNELS_LAST: tl.constexpr):
    """Sum bins over their channels, in float64."""
    return tl.sum(block.to(tl.float64), 1 if CHANNELS_LAST else 0)


@triton.jit
def at_steps(first, count, index, shift, BINS: tl.constexpr):
    """The positions of the first points of bins. Others are relative to them, so that float32 is precise enough."""
    return (index + first / tl.maximum(count, 1.0)) / BINS + shift


@triton.jit
def store_sums(partial, block, NUMBERS: tl.constexpr, of_mask, of_y, of_y_y, of_y_x, of_x, of_x_y, of_x_x, of_turn):
    """Write the `SUMS` sums of the bins of a program."""
    program = block.row * tl.num_programs(1) + tl.program_id(1)
    sums, mask = partial + program * SUMS * NUMBERS + block.numbers, block.numbers < NUMBERS
    tl.store(sums, of_mask, mask=mask)
    tl.store(sums + NUMBERS, of_y, mask=mask)
    tl.store(sums + 2 * NUMBERS, of_y_y, mask=mask)
    tl.store(sums + 3 * NUMBERS, of_y_x, mask=mask)
    tl.store(sums + 4 * NUMBERS, of_x, mask=mask)
    tl.store(sums + 5 * NUMBERS, of_x_y, mask=mask)
    tl.store(sums + 6 * NUMBERS, of_x_x, mask=mask)
    tl.store(sums + 7 * NUMBERS, of_turn, mask=mask)


@triton.jit(do_not_specialize=[*SAMPLING, "has_order", "channels", "orientations"])
def mean_sums_kernel(
    features,
    grad_output,
    rois,
    frames,
    places,
    order,
    has_order,
    partial,
    ratio_y,
    ratio_x,
    seed_low,
    seed_high,
    first_row,
    gamma_bits,
    unused_border,
    strides,
    grad_strides,
    channels,
    orientations,
    SPEC: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    VECTOR: tl.constexpr,
    GRAD_VECTOR: tl.constexpr,
    LEVELS: tl.constexpr,
    BINS: tl.constexpr,
    CHANNELS: tl.constexpr,
    WIDE: tl.constexpr,
):
    """Write the sums of some bins to `partial`, float64 ``[K, programs, SUMS, bins]``. The programs of axis 1 share the
    blocks of channels."""
    dtype: tl.constexpr = tl.float64 if WIDE else tl.float32
    row = row_at(order, has_order, roi_of_program(SPEC.bins, BINS))
    numbers = bins_of_program(SPEC.bins, BINS)
    sampling = Sampling(ratio_y, ratio_x, seed_low, seed_high, first_row, gamma_bits, unused_border)
    block = block_of(
        row, numbers, features, strides, rois, frames, places, sampling, SPEC, CHANNELS_LAST, VECTOR, LEVELS
    )
    roi, bins = block.roi, block.bins
    between = tl.load(roi.frame + TURN + 1)
    from_y = at_steps(bins.first_y, bins.count_y, bins.index_y, bins.shift_y, SPEC.PH * 1.0)
    from_x = at_steps(bins.first_x, bins.count_x, bins.index_x, bins.shift_x, SPEC.PW * 1.0)

    none = 0.0 * numbers.to(tl.float64)
    of_mask, of_y, of_y_y, of_y_x, of_x, of_x_y, of_x_x, of_turn = none, none, none, none, none, none, none, none
    for index in range(tl.program_id(1), tl.cdiv(channels, CHANNELS), tl.num_programs(1)):
        channel, is_channel = channel_block(index, channels, CHANNELS, VECTOR, CHANNELS_LAST)
        own = channels_read(channel, is_channel, block, orientations, SPEC, CHANNELS_LAST)
        by_mask, by_turn = zeros(BINS, CHANNELS, dtype, CHANNELS_LAST), zeros(BINS, CHANNELS, dtype, CHANNELS_LAST)
        by_y, by_y_y = zeros(BINS, CHANNELS, dtype, CHANNELS_LAST), zeros(BINS, CHANNELS, dtype, CHANNELS_LAST)
        by_x, by_x_x = zeros(BINS, CHANNELS, dtype, CHANNELS_LAST), zeros(BINS, CHANNELS, dtype, CHANNELS_LAST)
        by_y_x, by_x_y = zeros(BINS, CHANNELS, dtype, CHANNELS_LAST), zeros(BINS, CHANNELS, dtype, CHANNELS_LAST)
        for step_y in range(most_of(bins.end_y - bins.first_y)):
            line = row_of(roi, bins, tl.cast(step_y, tl.float64), SPEC)
            for step_x in range(most_of(line.end_x - line.first_x)):
                point = point_of(roi, bins, line, tl.cast(step_x, tl.float64), SPEC)
                share = tl.where(point.is_inside, point.share, 0.0)
                along_y, along_x = (point.position_y - from_y).to(dtype), (point.position_x - from_x).to(dtype)
                in_y, in_x = zeros(BINS, CHANNELS, dtype, CHANNELS_LAST), zeros(BINS, CHANNELS, dtype, CHANNELS_LAST)
                taps_y, taps_x = taps_of_point(point, bins)
                for corner in tl.static_range(4):
                    pixel, wy, slope_y, wx, slope_x = pixel_of(taps_y, taps_x, corner)
                    weight = share * (wy * wx)
                    slope_y = tl.where(point.moves_y, share * (slope_y * wx), 0.0)
                    slope_x = tl.where(point.moves_x, share * (wy * slope_x), 0.0)
                    takes = (weight != 0.0) | (slope_y != 0.0) | (slope_x != 0.0)
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
                    in_y += slope_y.to(dtype) * value
                    in_x += slope_x.to(dtype) * value
                    if SPEC.HAS_MASK:
                        by_mask += tl.where(weight != 0.0, weight.to(dtype) * value, 0.0)
                    if SPEC.CHANNELS_OF == "orientation":
                        by_turn += weight.to(dtype) * change
                by_y += in_y
                by_y_y += in_y * along_y
                by_y_x += in_y * along_x
                by_x += in_x
                by_x_y += in_x * along_y
                by_x_x += in_x * along_x
        gradient = read_gradient(grad_output, block, own, grad_strides, dtype, SPEC, CHANNELS_LAST, GRAD_VECTOR)
        of_mask += sum_channels(by_mask * gradient, CHANNELS_LAST)
        of_y += sum_channels(by_y * gradient, CHANNELS_LAST)
        of_y_y += sum_channels(by_y_y * gradient, CHANNELS_LAST)
        of_y_x += sum_channels(by_y_x * gradient, CHANNELS_LAST)
        of_x += sum_channels(by_x * gradient, CHANNELS_LAST)
        of_x_y += sum_channels(by_x_y * gradient, CHANNELS_LAST)
        of_x_x += sum_channels(by_x_x * gradient, CHANNELS_LAST)
        of_turn += sum_channels(by_turn * gradient, CHANNELS_LAST)

    from_y, from_x = sum_channels(from_y, CHANNELS_LAST), sum_channels(from_x, CHANNELS_LAST)  # of one channel
    of_y_y, of_y_x = of_y_y + from_y * of_y, of_y_x + from_x * of_y
    of_x_y, of_x_x = of_x_y + from_y * of_x, of_x_x + from_x * of_x
    store_sums(partial, block, SPEC.bins, of_mask, of_y, of_y_y, of_y_x, of_x, of_x_y, of_x_x, of_turn)


@triton.jit(do_not_specialize=[*SAMPLING, "channels"])
def winners_sums_kernel(
    features,
    grad_output,
    rois,
    frames,
    places,
    winners,
    partial,
    ratio_y,
    ratio_x,
    seed_low,
    seed_high,
    first_row,
    gamma_bits,
    unused_border,
    strides,
    grad_strides,
    channels,
    SPEC: tl.constexpr,
    REDUCTION: tl.constexpr,
    SHIFT: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    VECTOR: tl.constexpr,
    GRAD_VECTOR: tl.constexpr,
    LEVELS: tl.constexpr,
    BINS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """The same as :func:`mean_sums_kernel`, for the winners."""
    row = roi_of_program(SPEC.bins, BINS).to(tl.int64)
    numbers = bins_of_program(SPEC.bins, BINS)
    sampling = Sampling(ratio_y, ratio_x, seed_low, seed_high, first_row, gamma_bits, unused_border)
    block = block_of(
        row, numbers, features, strides, rois, frames, places, sampling, SPEC, CHANNELS_LAST, VECTOR, LEVELS
    )

    none = 0.0 * numbers.to(tl.float64)
    of_mask, of_y, of_y_y, of_y_x, of_x, of_x_y, of_x_x = none, none, none, none, none, none, none
    for index in range(tl.program_id(1), tl.cdiv(channels, CHANNELS), tl.num_programs(1)):
        channel, is_channel = channel_block(index, channels, CHANNELS, VECTOR, CHANNELS_LAST)
        own = channels_read(channel, is_channel, block, 1, SPEC, CHANNELS_LAST)
        winner, point, corner = read_winners(winners, block, own, channels, SPEC, CHANNELS_LAST, SHIFT)
        by_mask, by_y, by_x = 0.0 * point.y, 0.0 * point.y, 0.0 * point.y
        taps_y, taps_x = taps_of_point(point, block.bins)
        for side in tl.static_range(4):
            pixel, wy, slope_y, wx, slope_x = pixel_of(taps_y, taps_x, side)
            weight = wy * wx
            slope_y = tl.where(point.moves_y, slope_y * wx, 0.0)
            slope_x = tl.where(point.moves_x, wy * slope_x, 0.0)
            takes = (winner >= 0) & ((weight != 0.0) | (slope_y != 0.0) | (slope_x != 0.0))
            if REDUCTION == "corner_max":
                takes = takes & (corner == side)
            offset = offset_of(pixel, block)
            value = tl.load(block.map_of + (offset + own.first), mask=takes, other=0.0).to(tl.float64)
            by_mask += tl.where(takes & (weight != 0.0), weight * value, 0.0)
            by_y += tl.where(takes, slope_y * value, 0.0)
            by_x += tl.where(takes, slope_x * value, 0.0)
        gradient = read_gradient(grad_output, block, own, grad_strides, tl.float64, SPEC, CHANNELS_LAST, GRAD_VECTOR)
        by_y, by_x = by_y * gradient, by_x * gradient
        of_mask += sum_channels(by_mask * gradient, CHANNELS_LAST)
        of_y += sum_channels(by_y, CHANNELS_LAST)
        of_y_y += sum_channels(by_y * point.position_y, CHANNELS_LAST)
        of_y_x += sum_channels(by_y * point.position_x, CHANNELS_LAST)
        of_x += sum_channels(by_x, CHANNELS_LAST)
        of_x_y += sum_channels(by_x * point.position_y, CHANNELS_LAST)
        of_x_x += sum_channels(by_x * point.position_x, CHANNELS_LAST)
    store_sums(partial, block, SPEC.bins, of_mask, of_y, of_y_y, of_y_x, of_x, of_x_y, of_x_x, none)


@triton.jit(do_not_specialize=["blocks"])
def geometry_kernel(
    rois,
    frames,
    places,
    partial,
    grad_rois,
    blocks,
    gamma_bits,
    SPEC: tl.constexpr,
    BINS: tl.constexpr,
):
    """Add the sums of the bins of a RoI over programs, in their order, and convert them to the gradient of its row."""
    NUMBERS: tl.constexpr = SPEC.bins
    GEOMETRY: tl.constexpr = SPEC.GEOMETRY
    row = tl.program_id(0).to(tl.int64)
    roi = roi_of(row, rois, frames, Sampling(1, 1, 0, 0, 0, gamma_bits, 0), SPEC)
    exists = tl.load(places + row * PLACE + 1) >= 0
    target = grad_rois + row * SPEC.COLUMNS
    dtype = grad_rois.dtype.element_ty
    zero = 0.0 * tl.load(roi.frame)
    total_y, total_y_y, total_y_x = zero, zero, zero
    total_x, total_x_y, total_x_x, total_turn = zero, zero, zero, zero
    length_y, length_x = tl.load(roi.frame + 1), tl.load(roi.frame + 3)
    for chunk in range(0, NUMBERS, BINS):
        number = chunk + tl.arange(0, BINS)
        is_bin = number < NUMBERS
        none = 0.0 * number.to(tl.float64)
        by_mask, by_y, by_y_y, by_y_x, by_x, by_x_y, by_x_x, by_turn = none, none, none, none, none, none, none, none
        for block in range(blocks):
            sums = partial + ((row * blocks + block) * SUMS) * NUMBERS + number
            by_mask += tl.load(sums, mask=is_bin, other=0.0)
            by_y += tl.load(sums + NUMBERS, mask=is_bin, other=0.0)
            by_y_y += tl.load(sums + 2 * NUMBERS, mask=is_bin, other=0.0)
            by_y_x += tl.load(sums + 3 * NUMBERS, mask=is_bin, other=0.0)
            by_x += tl.load(sums + 4 * NUMBERS, mask=is_bin, other=0.0)
            by_x_y += tl.load(sums + 5 * NUMBERS, mask=is_bin, other=0.0)
            by_x_x += tl.load(sums + 6 * NUMBERS, mask=is_bin, other=0.0)
            by_turn += tl.load(sums + 7 * NUMBERS, mask=is_bin, other=0.0)
        mask = 1.0 + none
        if SPEC.HAS_MASK:
            mask = of_bin(roi, SPEC.first_mask, number, is_bin)
            tl.store(target + SPEC.first_mask + number, tl.where(exists, by_mask, 0.0).to(dtype), mask=is_bin)
        by_y, by_x = mask * by_y, mask * by_x
        if SPEC.HAS_OFFSET:
            # The movement of a bin's points per unit of its offset.
            of_x, of_y = shift_axis(none, length_x, roi.gamma, by_x), shift_axis(none, length_y, roi.gamma, by_y)
            column = target + SPEC.first_offset + number
            tl.store(column, tl.where(exists, of_x, 0.0).to(dtype), mask=is_bin)
            tl.store(column + NUMBERS, tl.where(exists, of_y, 0.0).to(dtype), mask=is_bin)
        total_y += tl.sum(by_y, 0)
        total_y_y += tl.sum(mask * by_y_y, 0)
        total_y_x += tl.sum(mask * by_y_x, 0)
        total_x += tl.sum(by_x, 0)
        total_x_y += tl.sum(mask * by_x_y, 0)
        total_x_x += tl.sum(mask * by_x_x, 0)
        total_turn += tl.sum(mask * by_turn, 0)
    for column in tl.static_range(GEOMETRY):
        at = roi.frame + VELOCITIES + 6 * column
        gradient = total_y * tl.load(at) + total_y_y * tl.load(at + 1) + total_y_x * tl.load(at + 2)
        gradient += total_x * tl.load(at + 3) + total_x_y * tl.load(at + 4) + total_x_x * tl.load(at + 5)
        if column == 4:
            gradient += total_turn * tl.load(roi.frame + TURN + 3)
        tl.store(target + 1 + column, tl.where(exists, gradient, 0.0).to(dtype))
