"""The separable family: out = Wy . F . Wx^T from the tables, and its gradient in the boxes."""

from __future__ import annotations

import triton
import triton.language as tl

from .blocks import channel_block, channels_side, map_of_row, map_strides_of, places_side, strides_of, zeros
from .numbers import float64_of, pointer_of_level
from .order import row_at
from .taps import PLACE

#: The pixels of a row of a planar map that a warp reads at once, and the bins of a row that it computes.
LANES = tl.constexpr(32)


@triton.jit
def span_of_bin(spans, row, bin_number, is_bin, ALL_BINS: tl.constexpr):
    """The pixels ``[first, end)`` of bins, and the slot of the first."""
    span = spans + (row * ALL_BINS + bin_number) * 3
    first, end = tl.load(span, mask=is_bin, other=0), tl.load(span + 1, mask=is_bin, other=0)
    return first, end, tl.load(span + 2, mask=is_bin, other=0)


@triton.jit
def pointers_of(places, along_channels, CHANNELS_LAST: tl.constexpr):
    """Pointers ``[places, channels]``."""
    pointers = places[:, None] + along_channels[None, :]
    # Let neighbouring threads have neighbouring places. Nothing else follows from this, because no alignment is known.
    return pointers if CHANNELS_LAST else tl.max_contiguous(pointers, (LANES, 1))


@triton.jit
def sum_rows(pixels, along_channels, stride_y, wy, rows, dtype: tl.constexpr, CHANNELS_LAST: tl.constexpr):
    """The sum of some pixels of a row, ``[pixels, channels]``, and of those in the rows below, with weights.

    A row of weight 0 is ignored, even if it is NaN.
    """
    total = tl.zeros((pixels.shape[0], along_channels.shape[0]), dtype)
    for step in range(0, rows, 2):  # two rows, so that both are read at the same time
        weight, value = tl.load(wy + step), tl.load(pointers_of(pixels, along_channels, CHANNELS_LAST))
        pixels += stride_y
        is_row = step + 1 < rows
        next_weight = tl.load(wy + step + 1, mask=is_row, other=0.0)
        next_value = tl.load(pointers_of(pixels, along_channels, CHANNELS_LAST), mask=is_row)
        pixels += stride_y
        total = tl.where(weight != 0.0, total + weight * value.to(dtype), total)
        total = tl.where(next_weight != 0.0, total + next_weight * next_value.to(dtype), total)
    return total


@triton.jit
def add_columns(total, columns, wx, first, end, steps):
    """Add to ``[bins, channels]`` the weighted sum of the columns ``[first, end)`` of each bin.

    A column of weight 0 is replaced by the last one, which is set to zero: it is ignored, even if it is NaN.
    """
    columns = tl.where((tl.arange(0, LANES) < LANES - 1)[:, None], columns, 0.0)
    for step in range(steps):
        weight = tl.load(wx + step, mask=first + step < end, other=0.0)
        column = tl.where(weight != 0.0, first + step, LANES - 1)
        total += weight[:, None] * tl.gather(columns, tl.broadcast_to(column[:, None], columns.shape), 0)
    return total


@triton.jit(do_not_specialize=["row_size", "kind_size", "has_order", "channels"])
def forward_kernel(
    features,
    weights,
    spans,
    places,
    order,
    has_order,
    out,
    strides,
    out_strides,
    row_size,
    kind_size,
    channels,
    fill_bits,
    PH: tl.constexpr,
    PW: tl.constexpr,
    KINDS: tl.constexpr,
    HAS_FILL: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    VECTOR: tl.constexpr,
    OUT_VECTOR: tl.constexpr,
    LEVELS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Write some rows of bins and channels of one RoI: sums along y, then along x.

    For channels-last maps, a step sums one column of pixels of each bin. For planar maps, a warp sums adjacent columns,
    and then each of its threads takes those of its bin from the other threads.
    """
    OF_ROW: tl.constexpr = (PW + COLUMNS - 1) // COLUMNS
    BLOCKS: tl.constexpr = (PH + ROWS - 1) // ROWS * OF_ROW
    row, block = row_at(order, has_order, tl.program_id(0) // BLOCKS), tl.program_id(0) % BLOCKS
    level, image = tl.load(places + row * PLACE).to(tl.int64), tl.load(places + row * PLACE + 1).to(tl.int64)
    stride_n, stride_c, stride_y, stride_x = map_strides_of(strides, level, LEVELS, VECTOR)
    out_n, out_c, out_y, out_x = strides_of(out_strides, OUT_VECTOR)
    # The last block of channels overlaps the one before.
    first_channel = tl.minimum(tl.program_id(1) * CHANNELS, channels - CHANNELS).to(tl.int64)
    first_channel = tl.multiple_of(first_channel, VECTOR)
    channel = tl.arange(0, CHANNELS)
    along_channels, along_out = (channel, channel) if CHANNELS_LAST else (channel * stride_c, channel * out_c)
    map_of = pointer_of_level(features, level, LEVELS) + tl.maximum(image, 0) * stride_n + first_channel * stride_c
    out += row * out_n + first_channel * out_c
    table = weights + row * row_size
    kind_size = tl.cast(kind_size, tl.int64)  # a multiple of it may exceed 2^31
    dtype = weights.dtype.element_ty

    bin_x = block % OF_ROW * COLUMNS + tl.arange(0, COLUMNS)
    first_x, end_x, slot_x = span_of_bin(spans, row, PH + bin_x, bin_x < PW, PH + PW)
    low, high = tl.min(tl.where(end_x > first_x, first_x, 0x7FFFFFFF), 0), tl.max(end_x, 0)
    steps = tl.max(end_x - first_x, 0)
    first_bin = block // OF_ROW * ROWS
    for bin_y in range(first_bin, tl.minimum(first_bin + ROWS, PH)):
        first_y, end_y, slot_y = span_of_bin(spans, row, bin_y, True, PH + PW)
        own = map_of + first_y * stride_y
        total = tl.zeros((COLUMNS, CHANNELS), dtype)
        for kind in tl.static_range(KINDS):
            wy, wx = table + slot_y + kind * kind_size, table + slot_x + (KINDS - 1 - kind) * kind_size
            if CHANNELS_LAST:
                for step in range(steps):
                    weight = tl.load(wx + step, mask=first_x + step < end_x, other=0.0)
                    pixel = tl.minimum(first_x + step, tl.maximum(end_x - 1, 0))
                    sums = sum_rows(
                        own + pixel * stride_x, along_channels, stride_y, wy, end_y - first_y, dtype, CHANNELS_LAST
                    )
                    # A column of weight 0 is ignored, even if it is NaN.
                    total = tl.where((weight != 0.0)[:, None], total + weight[:, None] * sums, total)
            else:
                for chunk in range(low, high, LANES - 1):
                    pixel = tl.minimum(chunk + tl.arange(0, LANES), high - 1)  # the remaining threads repeat the last
                    columns = sum_rows(
                        own + pixel * stride_x, along_channels, stride_y, wy, end_y - first_y, dtype, CHANNELS_LAST
                    )
                    first, end = tl.maximum(first_x - chunk, 0), tl.minimum(end_x - chunk, LANES - 1)
                    at = wx + (chunk + first - first_x)
                    total = add_columns(total, columns, at, first, end, tl.minimum(steps, LANES - 1))
        if HAS_FILL:
            is_reached = (end_y > first_y) & (end_x > first_x)
            total = tl.where((~is_reached & (image >= 0))[:, None], float64_of(fill_bits).to(dtype), total)
        target = pointers_of(out + bin_y * out_y + bin_x * out_x, along_out, CHANNELS_LAST)
        tl.store(target, total.to(out.dtype.element_ty), mask=(bin_x < PW)[:, None])


@triton.jit
def coordinate_weight(
    wy, wx, mask_y, mask_x, kind_size, KINDS: tl.constexpr, ALONG_Y: tl.constexpr, ALONG_X: tl.constexpr
):
    """The derivative of a pixel's weight in the start (1) or length (2) of one axis, by the product rule."""
    total = 0.0
    for kind in tl.static_range(KINDS):
        other = 3 * (KINDS - 1 - kind) + ALONG_X
        along_y = tl.load(wy + (3 * kind + ALONG_Y) * kind_size, mask=mask_y, other=0.0)
        total += along_y * tl.load(wx + other * kind_size, mask=mask_x, other=0.0)
    return total


@triton.jit(do_not_specialize=["row_size", "kind_size", "has_order", "channels"])
def adjoint_boxes_kernel(
    features,
    grad_output,
    weights,
    spans,
    places,
    order,
    has_order,
    partial,
    strides,
    grad_strides,
    row_size,
    kind_size,
    channels,
    PH: tl.constexpr,
    PW: tl.constexpr,
    KINDS: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    VECTOR: tl.constexpr,
    GRAD_VECTOR: tl.constexpr,
    LEVELS: tl.constexpr,
    BINS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Write a row of `partial`, float64 ``[K, blocks, 4]``: the contribution of some bins and channels of a RoI to the
    gradient in (start, length) of y, then of x."""
    BLOCKS: tl.constexpr = (PH * PW + BINS - 1) // BINS
    row = row_at(order, has_order, tl.program_id(0) // BLOCKS)
    block = tl.program_id(0) % BLOCKS
    number = block * BINS + tl.arange(0, BINS)
    channel, takes_channel = channel_block(tl.program_id(1), channels, CHANNELS, VECTOR, CHANNELS_LAST)
    is_bin = number < PH * PW
    map_of, _, stride_c, stride_y, stride_x = map_of_row(features, places, row, strides, LEVELS, VECTOR)
    first_y, end_y, slot_y = span_of_bin(spans, row, number // PW, is_bin, PH + PW)
    first_x, end_x, slot_x = span_of_bin(spans, row, PH + number % PW, is_bin, PH + PW)
    grad_n, grad_c, grad_y, grad_x = strides_of(grad_strides, GRAD_VECTOR)
    along_channels = channels_side(channel * stride_c, CHANNELS_LAST)

    table = weights + row * row_size
    kind_size = tl.cast(kind_size, tl.int64)  # a multiple of it may exceed 2^31
    dtype = weights.dtype.element_ty
    by_y, by_height = zeros(BINS, CHANNELS, dtype, CHANNELS_LAST), zeros(BINS, CHANNELS, dtype, CHANNELS_LAST)
    by_x, by_width = zeros(BINS, CHANNELS, dtype, CHANNELS_LAST), zeros(BINS, CHANNELS, dtype, CHANNELS_LAST)
    rows, columns = tl.max(end_y - first_y, 0), tl.max(end_x - first_x, 0)
    for step_y in range(rows):
        in_y = first_y + step_y < end_y
        wy = table + slot_y + step_y
        from_row = (first_y + step_y).to(tl.int64) * stride_y
        for step_x in range(columns):
            in_x = first_x + step_x < end_x
            wx = table + slot_x + step_x
            start_y = coordinate_weight(wy, wx, in_y, in_x, kind_size, KINDS, 1, 0)
            length_y = coordinate_weight(wy, wx, in_y, in_x, kind_size, KINDS, 2, 0)
            start_x = coordinate_weight(wy, wx, in_y, in_x, kind_size, KINDS, 0, 1)
            length_x = coordinate_weight(wy, wx, in_y, in_x, kind_size, KINDS, 0, 2)
            used = (start_y != 0.0) | (length_y != 0.0) | (start_x != 0.0) | (length_x != 0.0)
            pixel = from_row + (first_x + step_x).to(tl.int64) * stride_x
            takes = places_side(used, CHANNELS_LAST) & takes_channel
            value = tl.load(map_of + (places_side(pixel, CHANNELS_LAST) + along_channels), mask=takes, other=0.0)
            value = value.to(dtype)
            by_y += places_side(start_y, CHANNELS_LAST) * value
            by_height += places_side(length_y, CHANNELS_LAST) * value
            by_x += places_side(start_x, CHANNELS_LAST) * value
            by_width += places_side(length_x, CHANNELS_LAST) * value
    at = row * grad_n + (number // PW) * grad_y + (number % PW) * grad_x
    mask = places_side(is_bin & (end_y > first_y) & (end_x > first_x), CHANNELS_LAST) & takes_channel
    place = places_side(at, CHANNELS_LAST) + channels_side(channel * grad_c, CHANNELS_LAST)
    gradient = tl.load(grad_output + place, mask=mask, other=0.0).to(dtype)
    own = (row * BLOCKS + block) * tl.num_programs(1) + tl.program_id(1)
    tl.store(partial + 4 * own, tl.sum(tl.sum((by_y * gradient).to(tl.float64), 1), 0))
    tl.store(partial + 4 * own + 1, tl.sum(tl.sum((by_height * gradient).to(tl.float64), 1), 0))
    tl.store(partial + 4 * own + 2, tl.sum(tl.sum((by_x * gradient).to(tl.float64), 1), 0))
    tl.store(partial + 4 * own + 3, tl.sum(tl.sum((by_width * gradient).to(tl.float64), 1), 0))
