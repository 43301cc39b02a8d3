"""The gradient to the features of the pointwise family. A program computes a tile of a map for some channels."""

from __future__ import annotations

import triton
import triton.language as tl

from .blocks import channels_of, solid_zeros, strides_of
from .frames import TURN
from .point_values import masks_of, read, turned
from .points import SAMPLING, Part, bins_of, roi_of, velocity_along, whole_map
from .pointwise_weights import entry, is_winner, largest, merged_weights, shared_weights, winners_weights
from .shares import WORDS, bits_of_share, next_roi, share_of, write_share
from .tiles import Maps, tile_of


@triton.jit
def spans_of_bins(spans, row, number, is_bin, NUMBERS: tl.constexpr):
    """The pixels ``[first, end)`` of y, then of x, that bins may touch. Bins of whole pixels have just these."""
    span = spans + (row * NUMBERS + number) * 4
    return (
        tl.load(span, mask=is_bin, other=0),
        tl.load(span + 1, mask=is_bin, other=0),
        tl.load(span + 2, mask=is_bin, other=0),
        tl.load(span + 3, mask=is_bin, other=0),
    )


@triton.jit
def meeting(
    spans, row, chunk, y, x, NUMBERS: tl.constexpr, BINS: tl.constexpr, TILE_Y: tl.constexpr, TILE_X: tl.constexpr
):
    """The indices of some bins of a RoI, and which of them may touch a tile."""
    number = chunk + tl.arange(0, BINS)
    first_y, end_y, first_x, end_x = spans_of_bins(spans, row, number, number < NUMBERS, NUMBERS)
    return number, (first_y < y + TILE_Y) & (end_y > y) & (first_x < x + TILE_X) & (end_x > x)


@triton.jit
def next_bins(number, meets, after, NUMBERS: tl.constexpr, AT_ONCE: tl.constexpr):
    """The first bins after bin `after` that may touch the tile, and the last of them. NUMBERS stands for no bin."""
    chosen = tl.full((AT_ONCE,), NUMBERS, tl.int32)
    for index in tl.static_range(AT_ONCE):
        after = tl.min(tl.where(meets & (number > after), number, NUMBERS), 0)
        chosen = tl.where(tl.arange(0, AT_ONCE) == index, after, chosen)
    return chosen, after


@triton.jit
def gradient_of(
    of_row,
    number,
    offsets,
    is_channel,
    between,
    dtype: tl.constexpr,
    PH: tl.constexpr,
    PW: tl.constexpr,
    CHANNELS_OF: tl.constexpr,
):
    """The gradients of the channels of a bin, and their changes from one orientation to the next; zeros for no bin.

    `offsets` are those of both orientations of the channels, then the strides of y and x.
    """
    first, second, stride_y, stride_x = offsets
    at = of_row + ((number // PW) * stride_y + (number % PW) * stride_x)
    return read(at, first, second, is_channel & (number < PH * PW), between, dtype, CHANNELS_OF)


@triton.jit
def is_finite(value):
    return tl.abs(value) < float("inf")


@triton.jit
def add_finite(total, weight, value):
    """Add the products of weights ``[y, x]`` and values ``[1, 1, C]``, except those that are not finite."""
    return tl.fma(weight[:, :, None], tl.where(is_finite(value), value, 0.0), total)


@triton.jit
def add_others(total, weight, value):
    """Add the products that :func:`add_finite` leaves out. A weight of 0 ignores its value, even a NaN."""
    takes = (weight != 0.0)[:, :, None] & ~is_finite(value)
    return total + tl.where(takes, weight[:, :, None] * value, 0.0)


@triton.jit(do_not_specialize=[*SAMPLING, "channels", "words", "slots", "orientations"])
def adjoint_points_kernel(
    grad_output,
    rois,
    tangent,
    frames,
    spans,
    winners,
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
    ratio_y,
    ratio_x,
    seed_low,
    seed_high,
    first_row,
    gamma_bits,
    unused_border,
    channels,
    words,
    slots,
    orientations,
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
    PLANAR: tl.constexpr,
    VECTOR: tl.constexpr,
    GRAD_VECTOR: tl.constexpr,
    LEVELS: tl.constexpr,
    BINS: tl.constexpr,
    AT_ONCE: tl.constexpr,
    TILE_Y: tl.constexpr,
    TILE_X: tl.constexpr,
    CHANNELS: tl.constexpr,
    POINTS: tl.constexpr,
    WIDE: tl.constexpr,
):
    """Write a tile of the gradient of a map for some channels: the sum over the RoIs that touch it, in their order.
    Alternatively, write a slot of `partial`: the sum over a share of these RoIs.

    If every bin has its own channels, the channels of one bin (program id 1) are handled separately.
    """
    NUMBERS: tl.constexpr = PH * PW
    MASK: tl.constexpr = 1 + GEOMETRY + (2 * NUMBERS if HAS_OFFSET else 0)
    LOADS: tl.constexpr = 1 if AT_ONCE == 1 else 4
    dtype: tl.constexpr = tl.float64 if WIDE else tl.float32
    share, part = share_of(counts, shares, words, slots, channels, CHANNELS), tl.program_id(1)
    place = tile_of(share.tile, heights, widths, first_tiles, TILE_Y, TILE_X, LEVELS)
    _, _, tile_y, tile_x = place
    y, x = tile_y + tl.arange(0, TILE_Y), tile_x + tl.arange(0, TILE_X)
    channels_own, is_own_channel = channels_of(share.block, channels, CHANNELS, VECTOR)
    channel, is_channel = channels_own[None, None, :], is_own_channel[None, None, :]
    grad_n, grad_c, grad_y, grad_x = strides_of(grad_strides, GRAD_VECTOR)
    # Points that touch a pixel of the tile are less than a pixel away from it. For the first pixel, they reach to -1.
    low_y, low_x = (tile_y - 1).to(tl.float64), (tile_x - 1).to(tl.float64)
    around = Part(low_y, low_y + (TILE_Y + 1.0), low_x, low_x + (TILE_X + 1.0))
    total = solid_zeros(CHANNELS, TILE_Y, TILE_X, dtype, True)
    seen = 0
    for first_word in range(0, share.words, WORDS):
        bits, seen = bits_of_share(share, touched, first_word, words, seen)
        bit = next_roi(bits, -1)
        while bit < 32 * WORDS:
            row = tl.cast(first_word, tl.int64) * 32 + bit
            roi = roi_of(
                row,
                rois,
                frames,
                (ratio_y, ratio_x, seed_low, seed_high, first_row, gamma_bits, unused_border),
                COLUMNS,
            )
            moved = tangent + row * COLUMNS
            first, second = channel, channel
            if CHANNELS_OF == "orientation":
                first, second = turned(roi, channel, tl.cast(orientations, tl.int32), True)
            of_row, between = grad_output + row * grad_n, tl.load(roi.frame + TURN + 1)
            offsets = (first * grad_c, second * grad_c, grad_y, grad_x)
            first_bin = part if CHANNELS_OF == "position" else 0
            for chunk in range(first_bin, first_bin + 1 if CHANNELS_OF == "position" else NUMBERS, BINS):
                number, meets = meeting(spans, row, chunk, tile_y, tile_x, NUMBERS, BINS, TILE_Y, TILE_X)
                after = tl.cast(-1, tl.int32)
                for _group in range(0, tl.sum(meets.to(tl.int32), 0), AT_ONCE):
                    chosen, after = next_bins(number, meets, after, NUMBERS, AT_ONCE)
                    is_bin = chosen < NUMBERS
                    if RULE == "pixels":
                        pixels = spans_of_bins(spans, row, chosen, is_bin, NUMBERS)
                        mask, mask_moved = masks_of(roi, moved, chosen, is_bin, MASK, HAS_MASK, TANGENT)
                        factor = mask_moved if TANGENT else mask  # the pixels do not move
                    if REDUCTION == "mean":
                        if RULE == "pixels":
                            weights = shared_weights(pixels, factor, y, x)
                            stills = shared_weights(pixels, mask, y, x)
                        else:
                            own, is_own = chosen[:, None, None], is_bin[:, None, None]
                            bins = bins_of(roi, around, own, is_own, GEOMETRY, PH, PW, RULE, JOINT, HAS_OFFSET)
                            velocity = velocity_along(
                                roi, bins, moved, own, is_own, GEOMETRY, PH, PW, HAS_OFFSET and TANGENT
                            )
                            mask, mask_moved = masks_of(roi, moved, own, is_own, MASK, HAS_MASK, TANGENT)
                            weights, stills = merged_weights(
                                roi,
                                bins,
                                velocity,
                                mask,
                                mask_moved,
                                y,
                                x,
                                dtype,
                                PH,
                                PW,
                                RULE,
                                JOINT,
                                TANGENT,
                                AT_ONCE,
                                POINTS,
                            )
                        weights = weights.to(dtype)
                    has_others = channel < 0
                    # A few at once, so that several loads are in flight.
                    for first_index in range(0, tl.sum(is_bin.to(tl.int32), 0), LOADS):
                        for side in tl.static_range(LOADS):
                            index = first_index + side
                            bin_number = entry(chosen, index)
                            gradient, change = gradient_of(
                                of_row, bin_number, offsets, is_channel, between, dtype, PH, PW, CHANNELS_OF
                            )
                            if REDUCTION == "mean":
                                total = add_finite(total, entry(weights, index), gradient)
                                has_others = has_others | ~is_finite(gradient)
                                if TANGENT and CHANNELS_OF == "orientation":
                                    turning = tl.load(roi.frame + TURN + 2) * tl.load(roi.frame + TURN + 3)
                                    still = (entry(stills, index) * turning).to(dtype)
                                    total += still[:, :, None] * change
                            else:
                                of_bin_winners = winners + (row * NUMBERS + bin_number) * tl.cast(channels, tl.int64)
                                winner = tl.load(
                                    of_bin_winners + channel, mask=is_channel & (bin_number < NUMBERS), other=-1
                                )
                                if RULE == "pixels":
                                    own_y, own_x = entry(pixels[0], index), entry(pixels[2], index)
                                    gradient = gradient * entry(factor, index).to(dtype)
                                    is_own = is_winner(own_y, own_x, winner, y, x, SHIFT)
                                    total += tl.where(is_own, gradient, 0.0)
                                else:
                                    own = bin_number + 0 * channel.to(tl.int32)
                                    own_bins = bins_of(
                                        roi, whole_map(roi), own, own >= 0, GEOMETRY, PH, PW, RULE, JOINT, HAS_OFFSET
                                    )
                                    velocity = velocity_along(
                                        roi, own_bins, moved, own, own >= 0, GEOMETRY, PH, PW, HAS_OFFSET and TANGENT
                                    )
                                    mask, mask_moved = masks_of(roi, moved, own, own >= 0, MASK, HAS_MASK, TANGENT)
                                    weight = winners_weights(
                                        roi,
                                        own_bins,
                                        velocity,
                                        mask,
                                        mask_moved,
                                        winner.to(tl.int64),
                                        y,
                                        x,
                                        dtype,
                                        PH,
                                        PW,
                                        RULE,
                                        JOINT,
                                        REDUCTION,
                                        TANGENT,
                                        SHIFT,
                                    )
                                    total += tl.where(weight != 0.0, weight * gradient, 0.0)
                    if REDUCTION == "mean":
                        others = largest(has_others.to(tl.int32))
                        if others > 0:
                            for again in range(AT_ONCE):
                                other, _change = gradient_of(
                                    of_row,
                                    entry(chosen, again),
                                    offsets,
                                    is_channel,
                                    between,
                                    dtype,
                                    PH,
                                    PW,
                                    CHANNELS_OF,
                                )
                                total = add_others(total, entry(weights, again), other)
            bit = next_roi(bits, bit)
    maps = Maps(grad_features, heights, widths, strides)
    target = channels_own * NUMBERS + part if CHANNELS_OF == "position" else channels_own
    write_share(
        total,
        share,
        partial,
        maps,
        place,
        target,
        is_own_channel,
        slots,
        channels,
        True,
        PLANAR,
        VECTOR,
        LEVELS,
        CHANNELS,
    )
