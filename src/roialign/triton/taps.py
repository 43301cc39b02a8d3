"""The tables of a call: the weight of every pixel in every bin of every RoI, one axis at a time.

The weights of a bin are contiguous, one for every pixel of [first, end), the smallest range that contains all pixels
that the points of the bin depend on. Adjacent bins of a RoI share at most three pixels, so pixel p of the r-th bin
along the axis has the slot p + SLACK * r. The memory of a row therefore depends on the width of the map and the number
of bins only, and nothing has to be counted first. If an axis has one bin with one point, and so at most two
pixels, the first has the slot 0, and the memory does not depend on the map either.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .aggregate import aggregate_mean
from .bilinear import bilinear, is_on_map
from .bin_grid import bin_ends, bin_grid
from .map_boxes import level_scale, map_boxes, map_boxes_tangent
from .numbers import clamp, float64_of, plain_of_level
from .rois import place_of
from .sample_points import piece, points_between, sample_count, single_point, stratum, touching, uniform

#: The slots between a bin and the next one along the axis, in addition to the pixels between them.
SLACK = tl.constexpr(4)
#: The columns of the table of places: level, image, and the pixels [first, end) of y and of x.
PLACE = tl.constexpr(6)


@triton.jit
def span_of(start, length, bins, bin_index, ratio, size, RULE: tl.constexpr, BORDER: tl.constexpr):
    """The pixels ``[first, end)`` that the points of a bin may depend on, in float64. Both are 0 if there are none."""
    low, high, has_points = points_between(start, length, bins, bin_index, ratio, RULE)
    last = size - 1.0
    first = clamp(tl.floor(low), 0.0, last)
    if BORDER == "reject" or BORDER == "nearest":
        exists = has_points & is_on_map(low, size, BORDER)
        end = clamp(tl.ceil(high), 0.0, last) + 1.0
    else:
        exists = has_points & (low <= size) & (high >= -1.0)
        end = clamp(tl.floor(high) + 1.0, 0.0, last) + 1.0
    return tl.where(exists, first, 0.0), tl.where(exists, end, 0.0)


@triton.jit
def strata_weights(
    start, length, bins, bin_index, pixel, ratio, size, seed, axis, row, RULE: tl.constexpr, BORDER: tl.constexpr
):
    """The weight of a pixel in the mean over regular or random points, and its derivatives in start and in length."""
    bin_start, bin_length = bin_grid(start, length, bins, bin_index)
    count = sample_count(bin_length, ratio)
    first, end = touching(pixel - 1.0, pixel + 1.0, bin_start, bin_length, count)
    divisor = tl.maximum(count, 1.0)
    share = 1.0 / divisor
    weight, by_start, by_length = 0.0 * pixel, 0.0 * pixel, 0.0 * pixel
    most = tl.max(tl.max(end - first, 1), 0).to(tl.int64)
    for step in range(most):
        sample = first + tl.cast(step, tl.float64)
        within = 0.5 + 0.0 * sample
        if RULE == "random":
            within = uniform(seed, sample, bin_index, axis, row)
        x, position = stratum(bin_start, bin_length, bins, bin_index, divisor, sample, within)
        value, slope = bilinear(x, tl.floor(x), pixel, size, BORDER)
        own_share = tl.where(sample < end, share, 0.0)
        weight, by_start, by_length = aggregate_mean(weight, by_start, by_length, own_share, position, value, slope)
    return weight, by_start, by_length


@triton.jit
def single_point_weights(start, length, bins, bin_index, pixel, size, RULE: tl.constexpr, BORDER: tl.constexpr):
    """The same for a rule with one point per bin."""
    x, position = single_point(start, length, bins, bin_index, RULE)
    value, slope = bilinear(x, tl.floor(x), pixel, size, BORDER)
    return aggregate_mean(0.0 * value, 0.0 * value, 0.0 * value, 1.0, position, value, slope)


@triton.jit
def exact_weights(start, length, bins, bin_index, pixel, size, BORDER: tl.constexpr):
    """The same for infinitely many points, given by the middles of the parts of the bin in two cells."""
    low, high = bin_ends(length, bins, bin_index)
    _, bin_length = bin_grid(start, length, bins, bin_index)
    has_length = bin_length != 0.0
    weight, by_start, by_length = 0.0 * pixel, 0.0 * pixel, 0.0 * pixel
    for side in tl.static_range(2):
        cell = pixel - 1.0 + side
        x, position, share = piece(start, length, low, high, bin_length, cell)
        value, slope = bilinear(x, cell, pixel, size, BORDER)
        share = tl.where(has_length, share, 0.0)
        weight, by_start, by_length = aggregate_mean(weight, by_start, by_length, share, position, value, slope)
    if BORDER == "replicate":  # on an axis of zero length, the value at the point
        value, slope = bilinear(start, tl.floor(start), pixel, size, BORDER)
        share = tl.where(has_length, 0.0, 1.0)
        position = (bin_index + 0.5) / bins
        weight, by_start, by_length = aggregate_mean(weight, by_start, by_length, share, position, value, slope)
    return weight, by_start, by_length


@triton.jit
def exact_deltas(start, length, bins, bin_index, pixel, size, BORDER: tl.constexpr):
    """The part of the derivatives of an exact bin that comes from the jumps and kinks of the weights at integers.

    The derivatives are in (start, length), then in (start start, start length, length length). A jump gives a delta in
    the first derivative and the derivative of a delta in the second. A kink gives a delta in the second. A delta at x
    contributes 1 / |bin length|. An integer at the upper end of the bin counts and one at its lower end does not.
    """
    low, high = bin_ends(length, bins, bin_index)
    _, bin_length = bin_grid(start, length, bins, bin_index)
    usable = bin_length != 0.0
    if BORDER == "zero":
        usable = usable & (length > 0.0)
    density = 1.0 / tl.abs(tl.where(usable, bin_length, 1.0))
    whole = tl.where(usable, length, 1.0)
    by_start, by_length = 0.0 * pixel, 0.0 * pixel
    start_start, start_length, length_length = 0.0 * pixel, 0.0 * pixel, 0.0 * pixel
    for step in tl.static_range(3):
        integer = pixel - 1.0 + step
        distance = integer - start
        position = distance / whole
        own = tl.where(usable & (distance > low) & (distance <= high), density, 0.0)
        if BORDER == "replicate":
            jump = tl.where((integer == -1.0) & (pixel == 0.0), own, 0.0)
            jump -= tl.where((integer == size) & (pixel == size - 1.0), own, 0.0)
            by_start += jump
            by_length += jump * position
            start_length -= jump / whole
            length_length -= 2.0 * jump * position / whole
        _, after = bilinear(integer, integer, pixel, size, BORDER)
        _, before = bilinear(integer, integer - 1.0, pixel, size, BORDER)
        kink = tl.where((integer >= -1.0) & (integer < size), after, 0.0)
        kink = own * (kink - tl.where((integer >= 0.0) & (integer <= size), before, 0.0))
        start_start += kink
        start_length += kink * position
        length_length += kink * position * position
    return by_start, by_length, start_start, start_length, length_length


@triton.jit
def tangent_of(tangent, row, axis, lower, upper, scale, offset, minimum_length):
    """The derivatives of start and length along a tangent ``[K, 5]`` of the boxes."""
    first = tangent + row.to(tl.int64) * 5 + 2 - axis
    return map_boxes_tangent(lower, upper, tl.load(first), tl.load(first + 2), scale, offset, minimum_length)


@triton.jit(
    do_not_specialize=[
        "images",
        "ratio_y",
        "ratio_x",
        "seed_low",
        "seed_high",
        "first_row",
        "reach_y",
        "row_size",
        "kind_size",
    ]
)
def taps_kernel(
    rois,
    levels,
    tangents,
    weights,
    spans,
    places,
    heights,
    widths,
    scales,
    canonical,
    strides_log2,
    images,
    ratio_y,
    ratio_x,
    offset_bits,
    minimum_bits,
    seed_low,
    seed_high,
    first_row,
    reach_y,
    row_size,
    kind_size,
    PH: tl.constexpr,
    PW: tl.constexpr,
    RULE: tl.constexpr,
    BORDER: tl.constexpr,
    NORMALISED: tl.constexpr,
    TANGENTS: tl.constexpr,
    KEEPS: tl.constexpr,
    COLUMNS: tl.constexpr,
    HAS_LEVELS: tl.constexpr,
    LEVELS: tl.constexpr,
    BINS: tl.constexpr,
    PIXELS: tl.constexpr,
):
    """Write the tables of one axis (program id 1: 0 is y, 1 is x) of one row (program id 0). The rows may be a part of
    those of the call. Random points depend on the index of a row among all rows.

    `weights` is ``[kinds, K, row_size]``. A row has `reach_y` slots for y, then those for x. The kinds of values are
    the derivatives along each subset of the tangents (bit b: tangent b is included). With `KEEPS`, there are three for
    each subset: the value itself, its derivative in start, and its derivative in length.
    """
    row, axis = tl.program_id(0), tl.program_id(1)
    kind_size = tl.cast(kind_size, tl.int64)  # a multiple of it may exceed 2^31
    image, level, x1, y1, x2, y2, _ = place_of(
        rois, levels, row, images, canonical, strides_log2, COLUMNS, HAS_LEVELS, LEVELS
    )
    is_y = axis == 0
    pixels = tl.where(is_y, plain_of_level(heights, level, LEVELS), plain_of_level(widths, level, LEVELS))
    size = pixels.to(tl.float64)
    lower, upper = tl.where(is_y, y1, x1), tl.where(is_y, y2, x2)
    ratio = tl.where(is_y, ratio_y, ratio_x)
    count = tl.where(is_y, PH, PW)
    bins = count.to(tl.float64)
    scale = size - 1.0 if NORMALISED else level_scale(scales, level, LEVELS)
    offset, minimum_length = float64_of(offset_bits), float64_of(minimum_bits)
    start, length = map_boxes(lower, upper, scale, offset, minimum_length)

    bin_number = tl.arange(0, BINS)
    bin_index = bin_number.to(tl.float64)
    start, length = start + 0.0 * bin_index, length + 0.0 * bin_index  # blocks, like everything they are compared with
    is_bin = (bin_number < count) & (image >= 0)
    first, end = span_of(start, length, bins, bin_index, ratio, size, RULE, BORDER)
    # Beyond 2^50 pixels, rounding may make bins overlap. Their slots must not.
    beside = tl.where(length >= 0.0, bin_index + 1.0, bin_index - 1.0)
    next_first, next_end = span_of(start, length, bins, beside, ratio, size, RULE, BORDER)
    has_next = (beside >= 0.0) & (beside < bins) & (next_end > next_first)
    end = tl.where(has_next, tl.minimum(end, next_first + 4.0), end)
    first, end = tl.where(is_bin, first, 0.0), tl.where(is_bin, end, 0.0)

    rank = tl.where(length >= 0.0, bin_number, count - 1 - bin_number)
    slot = first.to(tl.int64) + SLACK * rank + tl.where(is_y, 0, reach_y)
    if PH == 1 or PW == 1:
        if RULE == "grid":
            slot -= tl.where((count == 1) & (ratio == 1), first, 0.0).to(tl.int64)
        elif RULE == "crop" or RULE == "nearest":
            slot -= tl.where(count == 1, first, 0.0).to(tl.int64)
    row = row.to(tl.int64)
    span = spans + (row * (PH + PW) + tl.where(is_y, 0, PH) + bin_number) * 3
    tl.store(span, first.to(tl.int32), mask=bin_number < count)
    tl.store(span + 1, end.to(tl.int32), mask=bin_number < count)
    tl.store(span + 2, slot.to(tl.int32), mask=bin_number < count)
    exists = end > first
    place = places + row * PLACE
    tl.store(place + axis, tl.where(is_y, level, image).to(tl.int32))
    tl.store(place + 2 + 2 * axis, tl.min(tl.where(exists, first, size), 0).to(tl.int32))
    tl.store(place + 3 + 2 * axis, tl.max(tl.where(exists, end, 0.0), 0).to(tl.int32))

    bin_index, first, end = bin_index[:, None], first[:, None], end[:, None]
    start, length = start[:, None], length[:, None]
    table = weights + row * row_size + slot[:, None]
    most = tl.max(tl.max(end - first, 1), 0).to(tl.int32)
    for chunk in range(0, most, PIXELS):
        step = chunk + tl.arange(0, PIXELS)[None, :]
        pixel = first + step.to(tl.float64)
        if RULE == "exact" or RULE == "prroi":
            weight, by_start, by_length = exact_weights(start, length, bins, bin_index, pixel, size, BORDER)
        elif RULE == "grid" or RULE == "random":
            seed = (tl.cast(seed_high, tl.int64) << 32) | (tl.cast(seed_low, tl.int64) & 0xFFFFFFFF)
            weight, by_start, by_length = strata_weights(
                start, length, bins, bin_index, pixel, ratio, size, seed, axis, row + first_row, RULE, BORDER
            )
        else:
            weight, by_start, by_length = single_point_weights(
                start, length, bins, bin_index, pixel, size, RULE, BORDER
            )
        start_start, start_length, length_length = 0.0 * weight, 0.0 * weight, 0.0 * weight
        if (RULE == "exact" or RULE == "prroi") and (TANGENTS > 0 or KEEPS):
            delta_start, delta_length, start_start, start_length, length_length = exact_deltas(
                start, length, bins, bin_index, pixel, size, BORDER
            )
            by_start += delta_start
            by_length += delta_length
        at = table + step
        mask = pixel < end
        dtype = weights.dtype.element_ty
        tl.store(at, weight.to(dtype), mask=mask)
        if KEEPS:
            tl.store(at + kind_size, by_start.to(dtype), mask=mask)
            tl.store(at + 2 * kind_size, by_length.to(dtype), mask=mask)
        if TANGENTS > 0:
            u_start, u_length = tangent_of(tangents[0], row, axis, lower, upper, scale, offset, minimum_length)
            first_kind = 3 if KEEPS else 1
            along = u_start * by_start + u_length * by_length
            tl.store(at + first_kind * kind_size, along.to(dtype), mask=mask)
            along_start = u_start * start_start + u_length * start_length
            along_length = u_start * start_length + u_length * length_length
            if KEEPS:
                tl.store(at + 4 * kind_size, along_start.to(dtype), mask=mask)
                tl.store(at + 5 * kind_size, along_length.to(dtype), mask=mask)
            if TANGENTS > 1:
                v_start, v_length = tangent_of(tangents[1], row, axis, lower, upper, scale, offset, minimum_length)
                along = v_start * by_start + v_length * by_length
                tl.store(at + 2 * kind_size, along.to(dtype), mask=mask)
                both = v_start * along_start + v_length * along_length
                tl.store(at + 3 * kind_size, both.to(dtype), mask=mask)


@triton.jit(do_not_specialize=["images", "blocks", "count"])
def boxes_kernel(
    rois,
    levels,
    partial,
    grad_rois,
    heights,
    widths,
    scales,
    canonical,
    strides_log2,
    images,
    blocks,
    count,
    offset_bits,
    minimum_bits,
    NORMALISED: tl.constexpr,
    COLUMNS: tl.constexpr,
    HAS_LEVELS: tl.constexpr,
    LEVELS: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Sum `partial`, ``[K, blocks, 4]``, over its blocks in their order, and convert gradients in start and length of
    both axes to gradients in x1, y1, x2, y2: columns 1 to 4 of `grad_rois`."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    is_row = row < count
    known = tl.where(is_row, row, 0)
    image, level, x1, y1, x2, y2, _ = place_of(
        rois, levels, known, images, canonical, strides_log2, COLUMNS, HAS_LEVELS, LEVELS
    )
    offset, minimum_length = float64_of(offset_bits), float64_of(minimum_bits)
    for axis in tl.static_range(2):
        by_start, by_length = 0.0 * x1, 0.0 * x1
        for block in range(blocks):
            sums = partial + (known * blocks + block) * 4 + 2 * axis
            by_start += tl.load(sums)
            by_length += tl.load(sums + 1)
        if NORMALISED:
            scale = plain_of_level(heights if axis == 0 else widths, level, LEVELS).to(tl.float64) - 1.0
        else:
            scale = level_scale(scales, level, LEVELS)
        lower, upper = (y1, y2) if axis == 0 else (x1, x2)
        start, length = map_boxes_tangent(lower, upper, 1.0, 0.0, scale, offset, minimum_length)
        target = grad_rois + known * COLUMNS + 2 - axis
        gradient = tl.where(image >= 0, start * by_start + length * by_length, 0.0)
        tl.store(target, gradient.to(grad_rois.dtype.element_ty), mask=is_row)
        start, length = map_boxes_tangent(lower, upper, 0.0, 1.0, scale, offset, minimum_length)
        gradient = tl.where(image >= 0, start * by_start + length * by_length, 0.0)
        tl.store(target + 2, gradient.to(grad_rois.dtype.element_ty), mask=is_row)
