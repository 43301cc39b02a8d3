"""The gradient to the features of the pointwise family. A program computes a tile of a map for some channels."""

from __future__ import annotations

import triton
import triton.language as tl

from .bilinear import bilinear
from .blocks import channels_of, strides_of
from .frames import TURN
from .point_values import masks_of, point_of_winner, read, turned, weight_of
from .points import SAMPLING, Part, bins_of, point_of, roi_of, row_of, speed_of, taps_of, velocity_along, whole_map
from .shares import WORDS, bits_of_share, next_roi, share_of, write_share
from .tiles import Maps, tile_of


@triton.jit
def meeting(
    spans, row, chunk, y, x, NUMBERS: tl.constexpr, BINS: tl.constexpr, TILE_Y: tl.constexpr, TILE_X: tl.constexpr
):
    """The indices of some bins of a RoI, and which of them may touch a tile."""
    number = chunk + tl.arange(0, BINS)
    is_bin = number < NUMBERS
    span = spans + (row * NUMBERS + number) * 4
    meets = (tl.load(span, mask=is_bin, other=0) < y + TILE_Y) & (tl.load(span + 1, mask=is_bin, other=0) > y)
    meets = meets & (tl.load(span + 2, mask=is_bin, other=0) < x + TILE_X)
    return number, meets & (tl.load(span + 3, mask=is_bin, other=0) > x)


@triton.jit
def merged_weights(
    roi,
    bins,
    velocity,
    mask,
    mask_moved,
    y,
    x,
    PH: tl.constexpr,
    PW: tl.constexpr,
    RULE: tl.constexpr,
    JOINT: tl.constexpr,
    TANGENT: tl.constexpr,
    TILE_Y: tl.constexpr,
    TILE_X: tl.constexpr,
    POINTS: tl.constexpr,
):
    """The weights ``[TILE_Y, TILE_X]`` of the pixels of a tile in the mean of one bin, with and without the tangent."""
    moving, still = tl.zeros((TILE_Y, TILE_X), tl.float64), tl.zeros((TILE_Y, TILE_X), tl.float64)
    mask, mask_moved = mask[:, None, None], mask_moved[:, None, None]
    for step_y in range(tl.max(bins.end_y - bins.first_y, 0).to(tl.int32)):
        line = row_of(roi, bins, tl.cast(step_y, tl.float64), PH, RULE, JOINT)
        for chunk in range(0, tl.max(line.end_x - line.first_x, 0).to(tl.int32), POINTS):
            step_x = (chunk + tl.arange(0, POINTS)).to(tl.float64)
            point = point_of(roi, bins, line, step_x, PH, PW, RULE, JOINT)
            speed_y, speed_x = speed_of(point, velocity)
            share = tl.where(point.is_inside, point.share, 0.0)[:, None, None]
            wy, slope_y = bilinear(
                point.y[:, None], tl.floor(point.y)[:, None], y.to(tl.float64)[None, :], bins.height, "replicate"
            )
            wx, slope_x = bilinear(
                point.x[:, None], tl.floor(point.x)[:, None], x.to(tl.float64)[None, :], bins.width, "replicate"
            )
            wy, slope_y = wy[:, :, None], slope_y[:, :, None]
            wx, slope_x = wx[:, None, :], slope_x[:, None, :]
            speed_y, speed_x = speed_y[:, None, None], speed_x[:, None, None]
            weight = weight_of(wy, slope_y, wx, slope_x, speed_y, speed_x, mask, mask_moved, TANGENT)
            moving += tl.sum(tl.where(share == 0.0, 0.0, share * weight), 0)
            if TANGENT:
                still += tl.sum(share * mask * (wy * wx), 0)
    return moving, still


@triton.jit
def winners_weights(
    roi,
    bins,
    velocity,
    mask,
    mask_moved,
    winner,
    y,
    x,
    PH: tl.constexpr,
    PW: tl.constexpr,
    RULE: tl.constexpr,
    JOINT: tl.constexpr,
    REDUCTION: tl.constexpr,
    TANGENT: tl.constexpr,
    SHIFT: tl.constexpr,
):
    """The weights ``[C, TILE_Y, TILE_X]`` of the pixels of a tile in the winner of one bin, for every channel."""
    point, corner = point_of_winner(roi, bins, winner, PH, PW, RULE, JOINT, SHIFT)
    speed_y, speed_x = speed_of(point, velocity)
    pixel_y, pixel_x = y.to(tl.float64)[None, :], x.to(tl.float64)[None, :]
    wy, slope_y = bilinear(point.y[:, None], tl.floor(point.y)[:, None], pixel_y, bins.height, "replicate")
    wx, slope_x = bilinear(point.x[:, None], tl.floor(point.x)[:, None], pixel_x, bins.width, "replicate")
    weight = weight_of(
        wy[:, :, None],
        slope_y[:, :, None],
        wx[:, None, :],
        slope_x[:, None, :],
        speed_y[:, None, None],
        speed_x[:, None, None],
        mask[:, None, None],
        mask_moved[:, None, None],
        TANGENT,
    )
    takes = (winner >= 0)[:, None, None]
    if REDUCTION == "corner_max":
        own_y = taps_of(point.y, bins.height).pixel + (corner >> 1)
        own_x = taps_of(point.x, bins.width).pixel + (corner & 1)
        own = (own_y[:, None] == pixel_y)[:, :, None] & (own_x[:, None] == pixel_x)[:, None, :]
        takes = takes & own
    return tl.where(takes, weight, 0.0)


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
    VECTOR: tl.constexpr,
    GRAD_VECTOR: tl.constexpr,
    LEVELS: tl.constexpr,
    BINS: tl.constexpr,
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
    dtype: tl.constexpr = tl.float64 if WIDE else tl.float32
    share, part = share_of(counts, shares, words, slots, channels, CHANNELS), tl.program_id(1)
    place = tile_of(share.tile, heights, widths, first_tiles, TILE_Y, TILE_X, LEVELS)
    _, _, tile_y, tile_x = place
    y, x = tile_y + tl.arange(0, TILE_Y), tile_x + tl.arange(0, TILE_X)
    channel, is_channel = channels_of(share.block, channels, CHANNELS, VECTOR)
    grad_n, grad_c, grad_y, grad_x = strides_of(grad_strides, GRAD_VECTOR)
    # Points that touch a pixel of the tile are less than a pixel away from it. For the first pixel, they reach to -1.
    low_y, low_x = (tile_y - 1).to(tl.float64), (tile_x - 1).to(tl.float64)
    around = Part(low_y, low_y + (TILE_Y + 1.0), low_x, low_x + (TILE_X + 1.0))
    total = tl.zeros((CHANNELS, TILE_Y, TILE_X), dtype)
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
            for chunk in range(0, NUMBERS, BINS):
                number, meets = meeting(spans, row, chunk, tile_y, tile_x, NUMBERS, BINS, TILE_Y, TILE_X)
                if CHANNELS_OF == "position":
                    meets = meets & (number == part)
                bin_number = tl.min(tl.where(meets, number, NUMBERS), 0)
                while bin_number < NUMBERS:
                    at = grad_output + (row * grad_n + (bin_number // PW) * grad_y + (bin_number % PW) * grad_x)
                    between = tl.load(roi.frame + TURN + 1)
                    gradient, change = read(
                        at, first * grad_c, second * grad_c, is_channel, between, dtype, CHANNELS_OF
                    )
                    gradient, change = gradient[:, None, None], change[:, None, None]
                    if REDUCTION == "mean":
                        own, reach = bin_number + 0 * tl.arange(0, POINTS), around
                    else:
                        own, reach = bin_number + 0 * tl.arange(0, CHANNELS), whole_map(roi)
                    is_bin = own >= 0
                    bins = bins_of(roi, reach, own, is_bin, GEOMETRY, PH, PW, RULE, JOINT, HAS_OFFSET)
                    velocity = velocity_along(roi, bins, moved, own, is_bin, GEOMETRY, PH, PW, HAS_OFFSET and TANGENT)
                    mask, mask_moved = masks_of(roi, moved, own, is_bin, MASK, HAS_MASK, TANGENT)
                    if REDUCTION == "mean":
                        weight, still = merged_weights(
                            roi,
                            bins,
                            velocity,
                            mask,
                            mask_moved,
                            y,
                            x,
                            PH,
                            PW,
                            RULE,
                            JOINT,
                            TANGENT,
                            TILE_Y,
                            TILE_X,
                            POINTS,
                        )
                        weight = weight.to(dtype)[None, :, :]
                        # A pixel of weight 0 is ignored, even if the gradient is NaN.
                        total += tl.where(weight != 0.0, weight * gradient, 0.0)
                        if TANGENT and CHANNELS_OF == "orientation":
                            turning = tl.load(roi.frame + TURN + 2) * tl.load(roi.frame + TURN + 3)
                            total += (still * turning).to(dtype)[None, :, :] * change
                    else:
                        of_bin_winners = winners + (row * NUMBERS + bin_number) * tl.cast(channels, tl.int64)
                        winner = tl.load(of_bin_winners + channel, mask=is_channel, other=-1).to(tl.int64)
                        weight = winners_weights(
                            roi,
                            bins,
                            velocity,
                            mask,
                            mask_moved,
                            winner,
                            y,
                            x,
                            PH,
                            PW,
                            RULE,
                            JOINT,
                            REDUCTION,
                            TANGENT,
                            SHIFT,
                        ).to(dtype)
                        total += tl.where(weight != 0.0, weight * gradient, 0.0)
                    bin_number = tl.min(tl.where(meets & (number > bin_number), number, NUMBERS), 0)
            bit = next_roi(bits, bit)
    maps = Maps(grad_features, heights, widths, strides)
    target = channel * NUMBERS + part if CHANNELS_OF == "position" else channel
    write_share(
        total, share, partial, maps, place, target, is_channel, slots, channels, False, VECTOR, LEVELS, CHANNELS
    )
