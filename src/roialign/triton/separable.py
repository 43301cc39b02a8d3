"""The separable family: out = Wy . F . Wx^T from the tables, its transpose and its gradient in the boxes."""

from __future__ import annotations

from typing import NamedTuple

import triton
import triton.language as tl

from .blocks import (
    channel_block,
    channels_of,
    channels_side,
    map_strides_of,
    places_side,
    solid_zeros,
    strides_of,
    zeros,
)
from .numbers import float64_of, pointer_of_level
from .order import row_at
from .shares import WORDS, bits_of_share, next_roi, share_of, write_share
from .taps import PLACE
from .tiles import Maps, tile_of

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


class Rois(NamedTuple):
    """The tables of all RoIs, and the gradients of their bins."""

    weights: tl.tensor
    spans: tl.tensor
    gradients: tl.tensor
    """Pointers to the channels of a program, as a block with three axes."""
    takes: tl.tensor
    """Which of these channels exist."""
    row_size: tl.tensor
    kind_size: tl.tensor
    stride_n: tl.tensor
    """Of the gradients, like the strides below."""
    stride_y: tl.tensor
    stride_x: tl.tensor


@triton.jit(do_not_specialize=["row_size", "kind_size", "channels", "words", "slots"])
def adjoint_features_kernel(
    grad_output,
    weights,
    spans,
    touched,
    counts,
    shares,
    partial,
    grad_features,
    heights,
    widths,
    first_tiles,
    strides,
    grad_strides,
    row_size,
    kind_size,
    channels,
    words,
    slots,
    PH: tl.constexpr,
    PW: tl.constexpr,
    KINDS: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    VECTOR: tl.constexpr,
    GRAD_VECTOR: tl.constexpr,
    LEVELS: tl.constexpr,
    BINS_Y: tl.constexpr,
    BINS_X: tl.constexpr,
    BINS: tl.constexpr,
    TILE_Y: tl.constexpr,
    TILE_X: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Write a tile of the gradient of a map for some channels: the sum over the RoIs that touch it, in their order.
    Alternatively, write a slot of `partial`: the sum over a share of these RoIs."""
    share = share_of(counts, shares, words, slots, channels, CHANNELS)
    place = tile_of(share.tile, heights, widths, first_tiles, TILE_Y, TILE_X, LEVELS)
    channel, is_channel = channels_of(share.block, channels, CHANNELS, VECTOR)
    grad_n, grad_c, grad_y, grad_x = strides_of(grad_strides, GRAD_VECTOR)
    gradients = grad_output + solid(channel * grad_c, 2, CHANNELS_LAST)
    takes = solid(is_channel, 2, CHANNELS_LAST)
    kind_size = tl.cast(kind_size, tl.int64)  # a multiple of it may exceed 2^31
    rois = Rois(weights, spans, gradients, takes, row_size, kind_size, grad_n, grad_y, grad_x)
    total, seen = sum_of_share(
        rois,
        share,
        touched,
        words,
        place,
        PH,
        PW,
        KINDS,
        CHANNELS_LAST,
        BINS_Y,
        BINS_X,
        BINS,
        TILE_Y,
        TILE_X,
        CHANNELS,
        False,
    )
    left = tl.cast(0, total.dtype)
    if seen > 0:
        left = tl.sum(tl.sum(tl.sum(total - total, 2), 1), 0)
    if left != 0.0:  # Something is not finite. One bin at a time, because this is rare and should take few registers.
        total, seen = sum_of_share(
            rois,
            share,
            touched,
            words,
            place,
            PH,
            PW,
            KINDS,
            CHANNELS_LAST,
            BINS_Y,
            BINS_X,
            1,
            TILE_Y,
            TILE_X,
            CHANNELS,
            True,
        )
    maps = Maps(grad_features, heights, widths, strides)
    write_share(
        total,
        share,
        partial,
        maps,
        place,
        channel,
        is_channel,
        slots,
        channels,
        CHANNELS_LAST,
        not CHANNELS_LAST,
        VECTOR,
        LEVELS,
        CHANNELS,
    )


@triton.jit
def sum_of_share(
    rois,
    share,
    touched,
    words,
    place,
    PH: tl.constexpr,
    PW: tl.constexpr,
    KINDS: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    BINS_Y: tl.constexpr,
    BINS_X: tl.constexpr,
    BINS: tl.constexpr,
    TILE_Y: tl.constexpr,
    TILE_X: tl.constexpr,
    CHANNELS: tl.constexpr,
    CAREFUL: tl.constexpr,
):
    """The sum over the RoIs of a share, as a block with three axes, and the number of RoIs of its tile.

    A bin of weight 0 is ignored, whatever its gradient, so a gradient that is not finite affects its own pixels only.
    This is so if `CAREFUL`, or if all gradients are finite. Otherwise, the sum is not finite.
    """
    total = solid_zeros(CHANNELS, TILE_Y, TILE_X, rois.weights.dtype.element_ty, CHANNELS_LAST)
    _, _, tile_y, tile_x = place
    tile_y, tile_x = tile_y.to(tl.int32), tile_x.to(tl.int32)
    seen = 0
    for first in range(0, share.words, WORDS):
        bits, seen = bits_of_share(share, touched, first, words, seen)
        number = next_roi(bits, -1)
        all_y, all_x = spans_of_roi(rois.spans, first, number, PH, PW, BINS_Y, BINS_X)
        while number < 32 * WORDS:
            row = tl.cast(first, tl.int64) * 32 + number
            low_y, high_y = bins_meeting(all_y, tile_y, tile_y + TILE_Y, BINS_Y)
            low_x, high_x = bins_meeting(all_x, tile_x, tile_x + TILE_X, BINS_X)
            # Load the spans of the next RoI while this one is added.
            number = next_roi(bits, number)
            all_y, all_x = spans_of_roi(rois.spans, first, number, PH, PW, BINS_Y, BINS_X)
            table, spans = rois.weights + row * rois.row_size, rois.spans + row * (3 * (PH + PW))
            of_row = rois.gradients + (row * rois.stride_n + low_y * rois.stride_y)
            for chunk in range(low_x, high_x, BINS):
                of_bins = bins_from(of_row + chunk * rois.stride_x, rois.stride_x, BINS)
                for kind in tl.static_range(KINDS):
                    along_y, along_x = table + kind * rois.kind_size, table + (KINDS - 1 - kind) * rois.kind_size
                    wx = ()
                    for step in tl.static_range(BINS):
                        exists, number_x = chunk + step < high_x, PH + chunk + step
                        own = weights_of_bin(along_x, spans, number_x, exists, tile_x, 1, TILE_X, CHANNELS_LAST)
                        wx += (own,)  # type: ignore[assignment]
                    # Load a row of bins while the previous one is added.
                    wy = weights_of_bin(along_y, spans, low_y, True, tile_y, 0, TILE_Y, CHANNELS_LAST)
                    values = loaded(of_bins, 0, rois.takes, high_x - chunk, BINS)
                    for bin_y in range(low_y + 1, high_y + 1):
                        is_bin = bin_y < high_y
                        left = tl.where(is_bin, high_x - chunk, 0)
                        next_wy = weights_of_bin(along_y, spans, bin_y, is_bin, tile_y, 0, TILE_Y, CHANNELS_LAST)
                        following = loaded(of_bins, (bin_y - low_y) * rois.stride_y, rois.takes, left, BINS)
                        sums = 0.0
                        for step in tl.static_range(BINS):
                            sums += product(wx[step], values[step].to(total.dtype), CAREFUL)
                        total += product(wy, sums, CAREFUL)
                        wy, values = next_wy, following
    return total, seen


@triton.jit
def spans_of_roi(
    spans, first_word, number, PH: tl.constexpr, PW: tl.constexpr, BINS_Y: tl.constexpr, BINS_X: tl.constexpr
):
    """The pixels ``[first, end)`` of all bins of a RoI along y, and along x; none if there is no RoI."""
    exists = number < 32 * WORDS
    row = tl.cast(first_word, tl.int64) * 32 + number
    bin_y, bin_x = tl.arange(0, BINS_Y), tl.arange(0, BINS_X)
    first_y, end_y, _ = span_of_bin(spans, row, bin_y, exists & (bin_y < PH), PH + PW)
    first_x, end_x, _ = span_of_bin(spans, row, PH + bin_x, exists & (bin_x < PW), PH + PW)
    return (first_y, end_y), (first_x, end_x)


@triton.jit
def bins_meeting(spans, low, high, BINS: tl.constexpr):
    """The range (first, last + 1) of the bins along an axis that have pixels in ``[low, high)``."""
    first, end = spans
    number = tl.arange(0, BINS)
    meets = (end > first) & (first < high) & (end > low)
    return tl.min(tl.where(meets, number, BINS), 0), tl.max(tl.where(meets, number + 1, 0), 0)


@triton.jit
def solid(values, AXIS: tl.constexpr, CHANNELS_LAST: tl.constexpr):
    """Expand a vector along an axis, 0 for y, 1 for x or 2 for channels, to a block like those of `solid_zeros`."""
    OWN: tl.constexpr = AXIS if CHANNELS_LAST else (AXIS + 1) % 3
    if OWN == 0:
        block = values[:, None, None]
    elif OWN == 1:
        block = values[None, :, None]
    else:
        block = values[None, None, :]
    return block


@triton.jit
def weights_of_bin(
    table, spans, number, exists, tile, AXIS: tl.constexpr, TILE: tl.constexpr, CHANNELS_LAST: tl.constexpr
):
    """The weights in a bin of the pixels of a tile along an axis, as a block with three axes."""
    first, end, slot = span_of_bin(spans, 0, number, exists, 0)
    pixel = solid(tl.arange(0, TILE), AXIS, CHANNELS_LAST)
    is_own = (pixel >= first - tile) & (pixel < end - tile)
    return tl.load(table + (slot + tile - first) + pixel, mask=is_own, other=0.0)


@triton.jit
def bins_from(pointers, stride, BINS: tl.constexpr):
    """Pointers to adjacent bins."""
    found = ()
    for step in tl.static_range(BINS):
        found += (pointers + step * stride,)  # type: ignore[assignment]
    return found


@triton.jit
def loaded(pointers, offset, mask, count, BINS: tl.constexpr):
    """The values of the first `count` of several bins, and zeros for the others."""
    found = ()
    for step in tl.static_range(BINS):
        found += (tl.load(pointers[step] + offset, mask=mask & (step < count), other=0.0),)  # type: ignore[assignment]
    return found


@triton.jit
def product(weights, values, CAREFUL: tl.constexpr):
    """The product of weights and values. If `CAREFUL`, a weight of 0 gives 0, whatever the value."""
    return tl.where(weights != 0.0, weights * values, 0.0) if CAREFUL else weights * values


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
    channel, is_channel = channel_block(channels, CHANNELS, VECTOR)
    is_bin = number < PH * PW
    level, image = tl.load(places + row * PLACE).to(tl.int64), tl.load(places + row * PLACE + 1).to(tl.int64)
    first_y, end_y, slot_y = span_of_bin(spans, row, number // PW, is_bin, PH + PW)
    first_x, end_x, slot_x = span_of_bin(spans, row, PH + number % PW, is_bin, PH + PW)
    stride_n, stride_c, stride_y, stride_x = map_strides_of(strides, level, LEVELS, VECTOR)
    map_of = pointer_of_level(features, level, LEVELS) + tl.maximum(image, 0) * stride_n
    grad_n, grad_c, grad_y, grad_x = strides_of(grad_strides, GRAD_VECTOR)
    along_channels = channels_side(channel * stride_c, CHANNELS_LAST)
    takes_channel = channels_side(is_channel, CHANNELS_LAST)

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
