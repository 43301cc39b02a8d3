"""The terms of the gradient to the features of the pointwise family: the pixels of a tile gain those of some bins."""

from __future__ import annotations

from typing import NamedTuple

import triton
import triton.language as tl

from .frames import FRAME, TURN
from .point_rows import Sampling, roi_of
from .point_values import masks_of, motion_of, read, spans_of_bins, turned
from .points import Part, bins_of, whole_map
from .pointwise_weights import (
    entry,
    is_winner,
    largest,
    merged_weights,
    shared_weights,
    upright_weights,
    winners_weights,
)


class Tables(NamedTuple):
    """The tables of all RoIs."""

    rois: tl.tensor
    tangent: tl.tensor
    frames: tl.tensor
    spans: tl.tensor
    sampling: Sampling


class Gradients(NamedTuple):
    """The gradients of the bins of all RoIs and, for maxima, the winners."""

    pointer: tl.tensor
    strides: tl.tuple
    winners: tl.tensor
    channel: tl.tensor
    """The channels of the program, and which of them exist."""
    is_channel: tl.tensor
    channels: tl.tensor
    """The number of all channels."""
    orientations: tl.tensor


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


@triton.jit
def row_of_tables(row, tables, SPEC: tl.constexpr):
    """A row of RoIs, and a pointer to the row of the tangent."""
    roi = roi_of(row, tables.rois, tables.frames, tables.sampling, SPEC)
    return roi, tables.tangent + row * SPEC.COLUMNS


@triton.jit
def weights_of_bins(
    row,
    chosen,
    is_bin,
    tables,
    y,
    x,
    dtype: tl.constexpr,
    SPEC: tl.constexpr,
    TANGENT: tl.constexpr,
    AT_ONCE: tl.constexpr,
    POINTS: tl.constexpr,
):
    """The weights ``[bins, y, x]`` of the pixels of a tile in the means of some bins, with and without the tangent."""
    if SPEC.RULE == "pixels":
        roi, moved = row_of_tables(row, tables, SPEC)
        mask, mask_moved = masks_of(roi, moved, chosen, is_bin, SPEC, TANGENT)
        pixels = spans_of_bins(tables.spans, row, chosen, is_bin, SPEC.bins)
        weights = shared_weights(pixels, mask_moved if TANGENT else mask, y, x, dtype)  # the pixels do not move
        stills = weights
    else:
        # Points that touch a pixel of the tile are less than a pixel away from it: for the first pixel, down to -1.
        low_y, low_x = (tl.min(y, 0) - 1).to(tl.float64), (tl.min(x, 0) - 1).to(tl.float64)
        around = Part(low_y, low_y + (y.shape[0] + 1.0), low_x, low_x + (x.shape[0] + 1.0))
        if len(row.shape) > 0:
            row = row[:, None, None]
        roi, moved = row_of_tables(row, tables, SPEC)
        own, is_own = chosen[:, None, None], is_bin[:, None, None]
        bins = bins_of(roi, around, own, is_own, SPEC)
        mask, mask_moved, velocity = motion_of(roi, bins, moved, is_own, SPEC, TANGENT)
        if SPEC.JOINT or TANGENT:
            weights, stills = merged_weights(
                roi, bins, velocity, mask, mask_moved, y, x, dtype, SPEC, TANGENT, AT_ONCE, POINTS
            )
        else:
            weights = upright_weights(roi, bins, mask, y, x, dtype, SPEC)
            stills = weights
    return weights, stills


@triton.jit
def add_means(
    total,
    row,
    chosen,
    is_bin,
    tables,
    gradients,
    y,
    x,
    dtype: tl.constexpr,
    SPEC: tl.constexpr,
    TANGENT: tl.constexpr,
    AT_ONCE: tl.constexpr,
    POINTS: tl.constexpr,
):
    """Add the gradients of some bins, times the weights of the pixels of a tile in their means.

    Of the bins `chosen`, the first ones exist. They belong to one row of RoIs, or each to its own.
    """
    LOADS: tl.constexpr = 4
    weights, stills = weights_of_bins(row, chosen, is_bin, tables, y, x, dtype, SPEC, TANGENT, AT_ONCE, POINTS)
    turn = tables.frames + row * FRAME + TURN
    channel, is_channel = gradients.channel, gradients.is_channel
    first, second, between = channel, channel, 0.0
    if SPEC.CHANNELS_OF == "orientation":
        roi, _ = row_of_tables(row, tables, SPEC)
        first, second = turned(roi, channel, tl.cast(gradients.orientations, tl.int32), True)
        between = tl.load(turn + 1)
    grad_n, grad_c, grad_y, grad_x = gradients.strides
    at = (chosen // SPEC.PW) * grad_y + (chosen % SPEC.PW) * grad_x
    of_row = gradients.pointer
    if len(row.shape) > 0:
        at += row * grad_n
    else:
        of_row += row * grad_n
    first, second = first * grad_c, second * grad_c
    count = tl.sum(is_bin.to(tl.int32), 0)
    has_others = channel < 0
    # A few at once, so that several loads are in flight.
    for first_index in range(0, count, LOADS):
        for side in tl.static_range(LOADS):
            index = first_index + side
            gradient, change = read(
                of_row + entry(at, index), first, second, is_channel & (index < count), between, dtype, SPEC
            )
            total = add_finite(total, entry(weights, index), gradient)
            has_others = has_others | ~is_finite(gradient)
            if TANGENT and SPEC.CHANNELS_OF == "orientation":
                turning = tl.load(turn + 2) * tl.load(turn + 3)
                still = (entry(stills, index) * turning).to(dtype)
                total += still[:, :, None] * change
    if largest(has_others.to(tl.int32)) > 0:
        for index in range(AT_ONCE):
            other, _change = read(of_row + entry(at, index), first, second, is_channel, between, dtype, SPEC)
            total = add_others(total, entry(weights, index), other)
    return total


@triton.jit
def add_winners(
    total,
    row,
    number,
    is_bin,
    tables,
    gradients,
    y,
    x,
    dtype: tl.constexpr,
    SPEC: tl.constexpr,
    REDUCTION: tl.constexpr,
    TANGENT: tl.constexpr,
    SHIFT: tl.constexpr,
):
    """Add the gradients of one bin of a RoI, if it exists, to the pixels of a tile that they come from, for every
    channel."""
    channel, is_channel = gradients.channel, gradients.is_channel
    of_bin = gradients.winners + (row * SPEC.bins + number) * tl.cast(gradients.channels, tl.int64)
    winner = tl.load(of_bin + channel, mask=is_channel & is_bin, other=-1)
    grad_n, grad_c, grad_y, grad_x = gradients.strides
    at = row * grad_n + ((number // SPEC.PW) * grad_y + (number % SPEC.PW) * grad_x)
    gradient = tl.load(gradients.pointer + at + channel * grad_c, mask=is_channel & is_bin, other=0.0).to(dtype)
    roi, moved = row_of_tables(row, tables, SPEC)
    if SPEC.RULE == "pixels":
        mask, mask_moved = masks_of(roi, moved, number, is_bin, SPEC, TANGENT)
        gradient *= (mask_moved if TANGENT else mask).to(dtype)  # the pixels do not move
        span = tables.spans + (row * SPEC.bins + number) * 4
        first_y, first_x = tl.load(span, mask=is_bin, other=0), tl.load(span + 2, mask=is_bin, other=0)
        total = tl.where(is_winner(first_y, first_x, winner, y, x, SHIFT), total + gradient, total)
    else:
        own = number + 0 * channel.to(tl.int32)
        is_own = is_bin & (own >= 0)
        bins = bins_of(roi, whole_map(roi), own, is_own, SPEC)
        mask, mask_moved, velocity = motion_of(roi, bins, moved, is_own, SPEC, TANGENT)
        weight = winners_weights(
            roi,
            bins,
            velocity,
            mask,
            mask_moved,
            winner.to(tl.int64),
            y,
            x,
            dtype,
            SPEC,
            REDUCTION,
            TANGENT,
            SHIFT,
        )
        total += tl.where(weight != 0.0, weight * gradient, 0.0)
    return total
