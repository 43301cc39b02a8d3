"""The separable family's gradient of the features, Wy^T . G . Wx, tile by tile."""

from __future__ import annotations

from typing import NamedTuple

import triton
import triton.language as tl

from .blocks import channels_of, solid_zeros, strides_of
from .separable import span_of_bin
from .shares import WORDS, bits_of_share, next_roi, share_of, write_share
from .tiles import Maps, tile_of


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
    ADDS: tl.constexpr,
):
    """Write a tile of the gradient of a map for some channels: the sum over the RoIs that touch it, in their order.
    With `ADDS`, add it to the tile. Alternatively, write a slot of `partial`: the sum over a share of these RoIs."""
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
        ADDS,
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
            high_x = tl.where(low_y < high_y, high_x, low_x)  # bins with few points have gaps
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
