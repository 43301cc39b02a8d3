"""Sharing of crowded tiles among programs, so that a tile that all RoIs touch takes no longer than others.

A program computes a tile of a gradient by adding the RoIs that touch it, in their order. If more than `length` RoIs
touch a tile, several programs take a share each. Each writes its sum to its own memory, a *slot*, and a final kernel
adds the slots in their order. The shares depend only on the RoIs and on the number of slots, not on the order in which
programs run, so the result is deterministic. The number of slots and programs does not depend on the RoIs, so the host
does not have to wait until they have been counted.
"""

from __future__ import annotations

from typing import NamedTuple

import triton
import triton.language as tl

from .blocks import channels_of, solid_zeros
from .numbers import bits_set
from .tiles import Maps, tile_of, write_tile

#: The number of words of bits that are processed at once, with 32 RoIs each.
WORDS = tl.constexpr(32)
#: A tile with at most this many RoIs is not crowded, and a share may have this many.
FEWEST = tl.constexpr(8)
#: The tile of a program that has no work.
NONE = tl.constexpr(-1)
#: The columns of the table of shares. Its first row has the most RoIs of a tile that is not shared. Then every slot has
#: a row: the tile or NONE, the index of the share within it, the number of its shares, and the RoIs of each.
SHARE = tl.constexpr(4)


class Share(NamedTuple):
    """The work of one program: a tile, or a share of a crowded tile, for some channels."""

    tile: tl.tensor
    number: tl.tensor
    """The index of the share within its tile, or NONE if there is no work."""
    length: tl.tensor
    """The number of RoIs of a share."""
    words: tl.tensor
    """The number of words of bits to search."""
    program: tl.tensor
    """The index of its slot, if it is below the number of slots."""
    block: tl.tensor
    """The block of channels."""
    has_slot: tl.tensor


@triton.jit
def place_of_bit(bits, number):
    """The index of the set bit of words that has `number` set bits below it, or 31 if there is none."""
    # The number of lower bits, of which `number` are set, from its highest digit on.
    lower = 0 * number
    for digit in tl.static_range(4, -1, -1):
        more = lower + (1 << digit)
        within = bits_set(bits & ((tl.full((), 1, tl.uint32) << more.to(tl.uint32)) - 1))
        lower = tl.where(within <= number, more, lower)
    return lower


@triton.jit
def without_first(bits, number):
    """Words without their lowest `number` set bits."""
    lower = place_of_bit(bits, number).to(tl.uint32)
    return tl.where(bits_set(bits) > number, bits >> lower << lower, 0)


@triton.jit
def bits_of_share(share, touched, first, words, seen):
    """The bits of the share in some words of its tile, from the word `first` on, and the number of RoIs up to their
    end. `seen` is the number of RoIs before them."""
    number = first + tl.arange(0, WORDS)
    bits = tl.load(touched + share.tile * words + number, mask=number < share.words, other=0)
    bits = bits.to(tl.uint32, bitcast=True)
    count = bits_set(bits)
    if share.has_slot:
        start = share.number * share.length - (seen + tl.cumsum(count, 0) - count)
        # What is left after this share is a part of what is left after the shares before it.
        bits = without_first(bits, tl.maximum(start, 0))
        bits ^= without_first(bits, tl.maximum(tl.minimum(start, 0) + share.length, 0))
    return bits, seen + tl.sum(count, 0)


@triton.jit
def next_roi(bits, number):
    """The index of the next set bit above `number`, or 32 * WORDS if there is none."""
    base = 32 * tl.arange(0, WORDS)
    done = tl.maximum(number + 1 - base, 0)
    shift = tl.minimum(done, 31).to(tl.uint32)
    left = tl.where(done < 32, bits >> shift << shift, 0)
    lowest = bits_set(left ^ (left - 1)) - 1  # the zeros below the lowest set bit, without it
    return tl.min(tl.where(left != 0, base + lowest, 32 * WORDS), 0)


@triton.jit
def rois_from(bits, first, COUNT: tl.constexpr):
    """The indices of `COUNT` set bits, without the lowest `first` ones, or 32 * WORDS for those that do not exist."""
    number, count = first + tl.arange(0, COUNT), bits_set(bits)
    up_to = tl.cumsum(count, 0)
    word = 0 * number  # the number of words that have at most `number` set bits
    for digit in tl.static_range(4, -1, -1):
        if (1 << digit) < WORDS:
            more = word + (1 << digit)
            word = tl.where(tl.gather(up_to, more - 1, 0) <= number, more, word)
    below = tl.gather(up_to, word, 0) - tl.gather(count, word, 0)
    place = 32 * word + place_of_bit(tl.gather(bits, word, 0), number - below)
    return tl.where(number < tl.sum(count, 0), place, 32 * WORDS)


@triton.jit
def program_of(channels, CHANNELS: tl.constexpr):
    """The index of a program within its block of channels, the number of programs in the block, and the block.
    Neighbouring programs have the same RoIs."""
    blocks = (tl.cast(channels, tl.uint32) + (CHANNELS - 1)) // CHANNELS
    number = tl.program_id(0).to(tl.uint32)  # unsigned, because a signed division has more instructions
    program, programs = number // blocks, tl.num_programs(0).to(tl.uint32) // blocks
    return program.to(tl.int32), programs.to(tl.int32), (number - program * blocks).to(tl.int32)


@triton.jit
def share_of(counts, shares, words, slots, channels, CHANNELS: tl.constexpr):
    """The work of this program.

    The first programs have a slot each. The others have a tile each, starting from the last tile. The tiles of coarse
    levels, which most RoIs touch, therefore come first and do not delay the end of the kernel.
    """
    program, programs, block = program_of(channels, CHANNELS)
    has_slot = program < slots
    row = shares + SHARE * (1 + program)
    own, number = tl.load(row, mask=has_slot, other=NONE), tl.load(row + 1, mask=has_slot, other=0)
    length = tl.load(row + 3, mask=has_slot, other=0)
    most = tl.load(shares, mask=slots > 0, other=0x7FFFFFFF)
    tile = tl.where(has_slot, tl.maximum(own, 0), programs - 1 - program).to(tl.int64)
    count = tl.load(counts + tile)
    has_work = tl.where(has_slot, own != NONE, count <= most)
    number = tl.where(has_work, number, NONE)
    return Share(tile, number, length, tl.where(has_work & (count > 0), words, 0), program, block, has_slot)


@triton.jit
def places_in_slot(total, slot, block, channels, CHANNELS: tl.constexpr):
    """The offsets of a program's sums, a block with three axes, among those of all programs."""
    A: tl.constexpr = total.shape[0]
    B: tl.constexpr = total.shape[1]
    C: tl.constexpr = total.shape[2]
    number = (slot.to(tl.int64) * tl.cdiv(channels, CHANNELS) + block) * tl.num_programs(1) + tl.program_id(1)
    within = tl.arange(0, A)[:, None, None] * (B * C) + tl.arange(0, B)[None, :, None] * C
    return number * (A * B * C) + (within + tl.arange(0, C)[None, None, :])


@triton.jit
def write_share(
    total,
    share,
    partial,
    maps,
    place,
    channel,
    is_channel,
    slots,
    channels,
    CHANNELS_LAST: tl.constexpr,
    PLANAR: tl.constexpr,
    VECTOR: tl.constexpr,
    LEVELS: tl.constexpr,
    CHANNELS: tl.constexpr,
    ADDS: tl.constexpr,
):
    """Write the sums of a program to its slot, or write them to its tile of the maps or add them to it."""
    has_work = share.number != NONE
    at = places_in_slot(total, share.program, share.block, channels, CHANNELS)
    if share.program < slots:
        if has_work:
            tl.store(partial + at, total)
    else:
        if ADDS:
            has_work = has_work & (share.words > 0)  # a tile without RoIs stays as it is
        write_tile(total, maps, place, channel, is_channel & has_work, CHANNELS_LAST, PLANAR, VECTOR, LEVELS, ADDS)


@triton.jit
def counts_of(counts, tile, tiles):
    """The number of RoIs of tiles, in float32: it is only compared and summed to find a length."""
    return tl.load(counts + tile, mask=tile < tiles, other=0).to(tl.float32)


@triton.jit
def slots_needed(count, length):
    """The number of slots times `length` that :func:`shares_kernel` needs, if tiles with more RoIs are shared."""
    return tl.sum(tl.where(count > length, count + length, 0.0), 0)


@triton.jit
def length_of_shares(counts, tiles, slots, AT_ONCE: tl.constexpr):
    """The smallest number of RoIs, to a sixteenth, such that there are enough slots if all tiles with more RoIs are
    shared and no share has more RoIs."""
    tile = tl.arange(0, AT_ONCE)
    count = counts_of(counts, tile, tiles)  # usually all
    most = tl.max(count, 0)
    for first in range(AT_ONCE, tiles, AT_ONCE):
        most = tl.maximum(most, tl.max(counts_of(counts, first + tile, tiles), 0))
    low, high = FEWEST - 1, tl.maximum(most.to(tl.int32), FEWEST)
    while high - low > 1 + low // 16:
        length = (low + high) // 2
        needed = slots_needed(count, length.to(tl.float32))
        for first in range(AT_ONCE, tiles, AT_ONCE):
            needed += slots_needed(counts_of(counts, first + tile, tiles), length.to(tl.float32))
        fits = 1.0001 * needed <= length.to(tl.float32) * slots  # whatever the sum was rounded to
        low, high = tl.where(fits, low, length), tl.where(fits, length, high)
    return high


@triton.jit
def crowded(counts, tile, tiles, length):
    """Which tiles have more than `length` RoIs, as 0 or 1, and the number of these RoIs."""
    count = tl.load(counts + tile, mask=tile < tiles, other=0)
    return (count > length).to(tl.int32), tl.where(count > length, count, 0)


@triton.jit(do_not_specialize=["tiles", "slots"])
def shares_kernel(counts, shares, tiles, slots, TILES: tl.constexpr, AT_ONCE: tl.constexpr):
    """Write `shares`, int32 ``[1 + slots, SHARE]``, for `TILES` tiles.

    The first slot of a crowded tile is the number of crowded tiles before it, plus that of their RoIs divided by the
    length of shares, rounded down. Every tile therefore has a slot for each of its shares, the slots in use have no
    gaps, and nothing has to be added up over shares.
    """
    length = length_of_shares(counts, tiles, slots, AT_ONCE)
    start = tl.program_id(0) * TILES
    before, rois_before = tl.cast(0, tl.int64), tl.cast(0, tl.int64)
    for first in range(0, start, AT_ONCE):
        is_crowded, count = crowded(counts, first + tl.arange(0, AT_ONCE), start, length)
        before += tl.sum(is_crowded, 0)
        rois_before += tl.sum(count.to(tl.int64), 0)
    tile = start + tl.arange(0, TILES)
    is_crowded, count = crowded(counts, tile, tiles, length)
    up_to, rois_up_to = before + tl.cumsum(is_crowded, 0), rois_before + tl.cumsum(count.to(tl.int64), 0)
    slot, end = up_to - is_crowded + (rois_up_to - count) // length, up_to + rois_up_to // length
    own = tl.where(is_crowded != 0, end - slot, 0).to(tl.int32)
    of_each = tl.cdiv(count, tl.maximum(own, 1))
    for number in range(tl.max(own, 0)):
        row, has_share = shares + SHARE * (1 + slot + number), number < own
        tl.store(row, tile, mask=has_share)
        tl.store(row + 1, number, mask=has_share)
        tl.store(row + 2, own, mask=has_share)
        tl.store(row + 3, of_each, mask=has_share)
    if tl.program_id(0) == tl.num_programs(0) - 1:
        tl.store(shares, length)
        for unused in range(tl.max(end, 0), slots, TILES):
            slot = unused + tl.arange(0, TILES)
            tl.store(shares + SHARE * (1 + slot), NONE, mask=slot < slots)


@triton.jit(do_not_specialize=["channels"])
def sum_shares_kernel(
    partial,
    shares,
    grad_features,
    heights,
    widths,
    first_tiles,
    strides,
    channels,
    CHANNELS_LAST: tl.constexpr,
    PLANAR: tl.constexpr,
    VECTOR: tl.constexpr,
    LEVELS: tl.constexpr,
    TILE_Y: tl.constexpr,
    TILE_X: tl.constexpr,
    CHANNELS: tl.constexpr,
    PARTS: tl.constexpr,
    ADDS: tl.constexpr,
):
    """Write a crowded tile of the gradient of a map for some channels: the sums of its shares, added in their order.
    With `ADDS`, add it to the tile.

    If `PARTS` is more than 1, the channels are divided into that many blocks."""
    slot, _, block = program_of(channels, CHANNELS)
    row = shares + SHARE * (1 + slot)
    own, number, count = tl.load(row), tl.load(row + 1), tl.load(row + 2)
    if (own == NONE) | (number != 0):
        return
    total = solid_zeros(CHANNELS, TILE_Y, TILE_X, partial.dtype.element_ty, CHANNELS_LAST)
    for share in tl.range(0, count, loop_unroll_factor=2):
        total += tl.load(partial + places_in_slot(total, slot + share, block, channels, CHANNELS))
    channel, is_channel = channels_of(block, channels, CHANNELS, VECTOR)
    if PARTS > 1:
        channel = channel * PARTS + tl.program_id(1)
    place = tile_of(own, heights, widths, first_tiles, TILE_Y, TILE_X, LEVELS)
    maps = Maps(grad_features, heights, widths, strides)
    write_tile(total, maps, place, channel, is_channel, CHANNELS_LAST, PLANAR, VECTOR, LEVELS, ADDS)
