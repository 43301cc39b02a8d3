"""The RoIs of crowded tiles, shared out among programs: a tile that all RoIs touch takes no longer than others.

A program owns a tile of a gradient and adds up, in their order, the RoIs that touch it. Of a tile that more of them
touch than `length`, several programs take a share each and write their sums to memory of their own, a *slot*, and a
last kernel adds those up, in their order. What is shared out depends on the RoIs and on how many slots there are, and
not on which program comes first, so the bits of an answer do not either; and there are as many slots and programs
whatever the RoIs are, so nobody has to wait until they have been counted.
"""

from __future__ import annotations

from typing import NamedTuple

import triton
import triton.language as tl

from .blocks import channels_of, solid_zeros
from .tiles import Maps, tile_of, write_tile

#: Words of bits at once, 32 RoIs each.
WORDS = tl.constexpr(32)
#: RoIs that no tile is too crowded with. A share begins with a word, so it takes as many or up to 31 more.
FEWEST = tl.constexpr(32)
#: The number of a program that has nothing to do.
NONE = tl.constexpr(-1)


class Share(NamedTuple):
    """What one program has: a tile, or a share of a crowded one, of some channels."""

    tile: tl.tensor
    number: tl.tensor
    """Of the share; NONE where there is nothing to do."""
    length: tl.tensor
    """RoIs of a share."""
    words: tl.tensor
    """Words of bits to look through."""
    program: tl.tensor
    """Which is that of its slot, where it is below the number of slots."""
    block: tl.tensor
    """Of channels."""


@triton.jit
def bits_of(words, mask):
    """Words of bits, as integers that are not negative."""
    return tl.load(words, mask=mask, other=0).to(tl.int64) & 0xFFFFFFFF


@triton.jit
def bits_set(bits):
    """How many bits are set in the lower 32 of int64: of pairs, of fours, of eights, of all."""
    bits = bits - ((bits >> 1) & 0x55555555)
    bits = (bits & 0x33333333) + ((bits >> 2) & 0x33333333)
    bits = (bits + (bits >> 4)) & 0x0F0F0F0F
    return ((bits * 0x01010101) >> 24) & 0xFF


@triton.jit
def bits_of_share(share, touched, first, words, seen):
    """The share's own of some words of its tile, from the number `first` on; and how many RoIs there are up to there,
    of which `seen` come before.

    A word belongs to the share that its first RoI falls into.
    """
    number = first + tl.arange(0, WORDS)
    bits = bits_of(touched + share.tile * words + number, number < words)
    count = bits_set(bits).to(tl.int32)  # 64 bits are divided by a function of their own
    before = seen + tl.cumsum(count, 0) - count
    return tl.where(before // share.length == share.number, bits, 0), seen + tl.sum(count, 0)


@triton.jit
def next_roi(bits, number):
    """The number of the next bit, above `number`, that is set in words; 32 * WORDS where there is none."""
    base = 32 * tl.arange(0, WORDS)
    done = tl.minimum(tl.maximum(number + 1 - base, 0), 32).to(tl.int64)
    left = (bits >> done) << done
    # A power of two is exact in float32, and its exponent says which.
    exponent = ((left & -left).to(tl.float32).to(tl.int32, bitcast=True) >> 23) - 127
    return tl.min(tl.where(left != 0, base + exponent, 32 * WORDS), 0)


@triton.jit
def program_of(channels, CHANNELS: tl.constexpr):
    """The number of a program among those of its block of channels, how many those are, and its block: neighbours have
    the same RoIs."""
    blocks = tl.cdiv(channels, CHANNELS)
    number = tl.program_id(0)
    return number // blocks, tl.num_programs(0) // blocks, number % blocks


@triton.jit
def share_of(counts, shares, words, slots, channels, CHANNELS: tl.constexpr):
    """What this program has.

    The first programs have a slot each, the others a tile each, from the last one on: those of coarse levels, which
    more RoIs touch than others, come first and do not keep the device waiting in the end.
    """
    program, programs, block = program_of(channels, CHANNELS)
    has_slot = program < slots
    own = tl.load(shares + 1 + 2 * program, mask=has_slot, other=0).to(tl.int64)
    first = tl.load(shares + 2 + 2 * program, mask=has_slot, other=0)
    length = tl.load(shares, mask=slots > 0, other=0x7FFFFFFF)
    tile = tl.where(has_slot, tl.maximum(own, 0), (programs - 1 - program).to(tl.int64))
    is_crowded = tl.load(counts + tile, mask=slots > 0, other=0) > length
    has_work = tl.where(has_slot, own >= 0, ~is_crowded)
    number = tl.where(has_work, tl.where(has_slot, program - first, 0), NONE)
    return Share(tile, number, length, tl.where(number == NONE, 0, words), program, block)


@triton.jit
def places_in_slot(total, slot, block, channels, CHANNELS: tl.constexpr):
    """Where a program's sums, a block of three sides, lie among those of all."""
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
    VECTOR: tl.constexpr,
    LEVELS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Write a program's sums: to its slot, or to its tile of the maps."""
    has_work = share.number != NONE
    at = places_in_slot(total, share.program, share.block, channels, CHANNELS)
    if share.program < slots:
        if has_work:
            tl.store(partial + at, total)
    else:
        write_tile(total, maps, place, channel, is_channel & has_work, CHANNELS_LAST, VECTOR, LEVELS)


@triton.jit(do_not_specialize=["tiles", "words"])
def count_kernel(touched, counts, tiles, words, TILES: tl.constexpr):
    """Write how many RoIs touch each tile."""
    tile = tl.program_id(0).to(tl.int64) * TILES + tl.arange(0, TILES)
    count = tl.zeros((TILES,), tl.int64)
    for first in range(0, words, WORDS):
        number = first + tl.arange(0, WORDS)
        mask = (tile < tiles)[:, None] & (number < words)[None, :]
        count += tl.sum(bits_set(bits_of(touched + tile[:, None] * words + number[None, :], mask)), 1)
    tl.store(counts + tile, count.to(tl.int32), mask=tile < tiles)


@triton.jit
def length_of_shares(counts, tiles, slots, TILES: tl.constexpr):
    """How many RoIs a share has at least, so that there are slots enough for every share of every crowded tile."""
    rois, crowded = tl.cast(0, tl.int64), tl.cast(0, tl.int64)
    for first in range(0, tiles, TILES):
        tile = first + tl.arange(0, TILES)
        count = tl.load(counts + tile, mask=tile < tiles, other=0).to(tl.int64)
        rois += tl.sum(tl.where(count > FEWEST, count, 0), 0)
        crowded += tl.sum((count > FEWEST).to(tl.int64), 0)
    # A tile of c RoIs, more than the length, has fewer shares than c / length + 1, and so than 2 c / length.
    length = tl.cdiv(2 * rois, slots)
    left = slots - crowded
    length = tl.where(left > 0, tl.minimum(length, tl.cdiv(rois, tl.maximum(left, 1))), length)
    return tl.maximum(length, FEWEST)


@triton.jit(do_not_specialize=["tiles", "slots"])
def shares_kernel(counts, shares, tiles, slots, TILES: tl.constexpr):
    """Write `shares`, int32: the RoIs of a share, then of every slot its tile, or NONE, and the first slot of that."""
    length = length_of_shares(counts, tiles, slots, TILES)
    tl.store(shares, length.to(tl.int32))
    taken = tl.cast(0, tl.int64)
    for first in range(0, tiles, TILES):
        tile = first + tl.arange(0, TILES)
        count = tl.load(counts + tile, mask=tile < tiles, other=0).to(tl.int64)
        own = tl.where(count > length, tl.cdiv(count, length), 0)
        first_slot = taken + tl.cumsum(own, 0) - own
        for share in range(tl.max(own, 0)):
            slot = shares + 1 + 2 * (first_slot + share)
            tl.store(slot, tile.to(tl.int32), mask=share < own)
            tl.store(slot + 1, first_slot.to(tl.int32), mask=share < own)
        taken += tl.sum(own, 0)
    for first in range(taken, slots, TILES):
        slot = first + tl.arange(0, TILES)
        tl.store(shares + 1 + 2 * slot, NONE, mask=slot < slots)


@triton.jit(do_not_specialize=["channels"])
def sum_shares_kernel(
    partial,
    counts,
    shares,
    grad_features,
    heights,
    widths,
    first_tiles,
    strides,
    channels,
    CHANNELS_LAST: tl.constexpr,
    VECTOR: tl.constexpr,
    LEVELS: tl.constexpr,
    TILE_Y: tl.constexpr,
    TILE_X: tl.constexpr,
    CHANNELS: tl.constexpr,
    PARTS: tl.constexpr,
):
    """Write a crowded tile of the gradient of a map, of some channels: the sums of its shares, added in their order.

    Of `PARTS` more than 1, the channels are dealt out to as many blocks in turn."""
    slot, _, block = program_of(channels, CHANNELS)
    own = tl.load(shares + 1 + 2 * slot).to(tl.int64)
    is_first = (own >= 0) & (tl.load(shares + 2 + 2 * slot) == slot)
    tile = tl.where(is_first, own, 0)
    count = tl.cdiv(tl.load(counts + tile).to(tl.int64), tl.load(shares).to(tl.int64))
    total = solid_zeros(CHANNELS, TILE_Y, TILE_X, partial.dtype.element_ty, CHANNELS_LAST)
    for share in range(tl.where(is_first, count, 0)):
        total += tl.load(partial + places_in_slot(total, slot + share, block, channels, CHANNELS))
    channel, is_channel = channels_of(block, channels, CHANNELS, VECTOR)
    if PARTS > 1:
        channel = channel * PARTS + tl.program_id(1)
    place = tile_of(tile, heights, widths, first_tiles, TILE_Y, TILE_X, LEVELS)
    maps = Maps(grad_features, heights, widths, strides)
    write_tile(total, maps, place, channel, is_channel & is_first, CHANNELS_LAST, VECTOR, LEVELS)
