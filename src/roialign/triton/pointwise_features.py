"""The gradient to the features of the pointwise family. A program computes a tile of a map for some channels."""

from __future__ import annotations

import triton
import triton.language as tl

from .blocks import channels_of, solid_zeros, strides_of
from .numbers import bits_set
from .point_rows import SAMPLING, Sampling
from .pointwise_terms import Gradients, Tables, add_means, add_winners
from .pointwise_tiles import ROIS, bins_meeting, next_index, next_indices, rois_meeting, row_and_bin
from .shares import WORDS, bits_of_share, next_roi, share_of, write_share
from .tiles import Maps, tile_of


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
    SPEC: tl.constexpr,
    REDUCTION: tl.constexpr,
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
    ADDS: tl.constexpr,
):
    """Write a tile of the gradient of a map for some channels: the sum over the RoIs that touch it, in their order.
    With `ADDS`, add it to the tile. Alternatively, write a slot of `partial`: the sum over a share of these RoIs.

    If every bin has its own channels, the channels of one bin (program id 1) are handled separately.
    """
    NUMBERS: tl.constexpr = SPEC.bins
    NONE: tl.constexpr = 32 * WORDS if SPEC.CHANNELS_OF == "position" else NUMBERS  # beyond every index
    dtype: tl.constexpr = tl.float64 if WIDE else tl.float32
    share, part = share_of(counts, shares, words, slots, channels, CHANNELS), tl.program_id(1)
    place = tile_of(share.tile, heights, widths, first_tiles, TILE_Y, TILE_X, LEVELS)
    _, _, tile_y, tile_x = place
    y, x = tile_y + tl.arange(0, TILE_Y), tile_x + tl.arange(0, TILE_X)
    channels_own, is_own_channel = channels_of(share.block, channels, CHANNELS, VECTOR)
    channel, is_channel = channels_own[None, None, :], is_own_channel[None, None, :]
    sampling = Sampling(ratio_y, ratio_x, seed_low, seed_high, first_row, gamma_bits, unused_border)
    tables, steps = Tables(rois, tangent, frames, spans, sampling), strides_of(grad_strides, GRAD_VECTOR)
    gradients = Gradients(grad_output, steps, winners, channel, is_channel, channels, orientations)
    total = solid_zeros(CHANNELS, TILE_Y, TILE_X, dtype, True)
    seen = 0
    for first_word in range(0, share.words, WORDS):
        bits, seen = bits_of_share(share, touched, first_word, words, seen)
        first, bit = tl.cast(first_word, tl.int64) * 32, tl.cast(-1, tl.int32)
        for before in range(0, tl.sum(bits_set(bits), 0), ROIS if SPEC.CHANNELS_OF == "position" else 1):
            row = first
            if SPEC.CHANNELS_OF != "position":
                bit = next_roi(bits, bit)
                row = first + bit
            for chunk in range(0, 1 if SPEC.CHANNELS_OF == "position" else NUMBERS, BINS):
                if SPEC.CHANNELS_OF == "position":
                    index, meets = rois_meeting(
                        spans, bits, first, before, part, tile_y, tile_x, NUMBERS, TILE_Y, TILE_X
                    )
                else:
                    index, meets = bins_meeting(spans, row, chunk, tile_y, tile_x, NUMBERS, BINS, TILE_Y, TILE_X)
                after = tl.cast(-1, tl.int32)
                for _group in range(0, tl.sum(meets.to(tl.int32), 0), AT_ONCE):
                    if REDUCTION == "mean":
                        chosen, after = next_indices(index, meets, after, NONE, AT_ONCE)
                        rows, number = row_and_bin(first, row, part, chosen, NONE, SPEC)
                        total = add_means(
                            total,
                            rows,
                            number,
                            chosen < NONE,
                            tables,
                            gradients,
                            y,
                            x,
                            dtype,
                            SPEC,
                            TANGENT,
                            AT_ONCE,
                            POINTS,
                        )
                    else:
                        for _side in tl.static_range(AT_ONCE):  # so that several loads are in flight
                            after = next_index(index, meets, after, NONE)
                            rows, number = row_and_bin(first, row, part, after, NONE, SPEC)
                            total = add_winners(
                                total,
                                rows,
                                number,
                                after < NONE,
                                tables,
                                gradients,
                                y,
                                x,
                                dtype,
                                SPEC,
                                REDUCTION,
                                TANGENT,
                                SHIFT,
                            )
    maps = Maps(grad_features, heights, widths, strides)
    target = channels_own * NUMBERS + part if SPEC.CHANNELS_OF == "position" else channels_own
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
        ADDS,
    )
