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
from .tiles import Maps, tile_of, write_tile

#: The number of words of bits that are processed at once, with 32 RoIs each.
WORDS = tl.constexpr(32)
#: A tile with at most this many RoIs is not crowded. A share starts at a word, so it may have up to 31 more.
FEWEST = tl.constexpr(32)
#: The tile of a program that has no work.
NONE = tl.constexpr(-1)


class Share(NamedTuple):
    """The work of one program: a tile, or a share of a crowded tile, for some channels."""

    tile: tl.tensor
    number: tl.tensor
    """The tile of the share, or NONE if there is no work."""
    length: tl.tensor
    """The number of RoIs of a share."""
    words: tl.tensor
    """The number of words of bits to search."""
    program: tl.tensor
    """The index of its slot, if it is below the number of slots."""
    block: tl.tensor
    """The block of channels."""


@triton.jit
def bits_of(words, mask):
    """Load words of bits as non-negative integers."""
    return tl.load(words, mask=mask, other=0).to(tl.int64) & 0xFFFFFFFF


@triton.jit
def bits_set(bits):
    """The number of bits set in the lower 32 bits of int64, by sums over pairs, groups of four, of eight, and all."""
    bits = bits - ((bits >> 1) & 0x55555555)
    bits = (bits & 0x33333333) + ((bits >> 2) & 0x33333333)
    bits = (bits + (bits >> 4)) & 0x0F0F0F0F
    return ((bits * 0x01010101) >> 24) & 0xFF


@triton.jit
def bits_of_share(share, touched, first, words, seen):
    """The bits of the share in some words of its tile, from the word `first` on, and the number of RoIs up to their
    end. `seen` is the number of RoIs before them.

    A word belongs to the share that its first RoI belongs to.
    """
    number = first + tl.arange(0, WORDS)
    bits = bits_of(touched + share.tile * words + number, number < words)
    count = bits_set(bits).to(tl.int32)  # because a 64-bit division is a function call
    before = seen + tl.cumsum(count, 0) - count
    return tl.where(before // share.length == share.number, bits, 0), seen + tl.sum(count, 0)


@triton.jit
def next_roi(bits, number):
    """The index of the next set bit above `number`, or 32 * WORDS if there is none."""
    base = 32 * tl.arange(0, WORDS)
    done = tl.minimum(tl.maximum(number + 1 - base, 0), 32).to(tl.int64)
    left = (bits >> done) << done
    # A power of two is exact in float32, and its exponent is the index.
    exponent = ((left & -left).to(tl.float32).to(tl.int32, bitcast=True) >> 23) - 127
    return tl.min(tl.where(left != 0, base + exponent, 32 * WORDS), 0)


@triton.jit
def program_of(channels, CHANNELS: tl.constexpr):
    """The index of a program within its block of channels, the number of programs in the block, and the block.
    Neighbouring programs have the same RoIs."""
    blocks = tl.cdiv(channels, CHANNELS)
    number = tl.program_id(0)
    return number // blocks, tl.num_programs(0) // blocks, number % blocks


@triton.jit
def share_of(counts, shares, words, slots, channels, CHANNELS: tl.constexpr):
    """The work of this program.

    The first programs have a slot each. The others have a tile each, starting from the last tile. The tiles of coarse
    levels, which most RoIs touch, therefore come first and do not delay the end of the kernel.
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
    VECTOR: tl.constexpr,
    LEVELS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Write the sums of a program to its slot, or to its tile of the maps."""
    has_work = share.number != NONE
    at = places_in_slot(total, share.program, share.block, channels, CHANNELS)
    if share.program < slots:
        if has_work:
            tl.store(partial + at, total)
    else:
        write_tile(total, maps, place, channel, is_channel & has_work, CHANNELS_LAST, VECTOR, LEVELS)


@triton.jit(do_not_specialize=["tiles", "words"])
def count_kernel(touched, counts, tiles, words, TILES: tl.constexpr):
    """Write the number of RoIs that touch each tile."""
    tile = tl.program_id(0).to(tl.int64) * TILES + tl.arange(0, TILES)
    count = tl.zeros((TILES,), tl.int64)
    for first in range(0, words, WORDS):
        number = first + tl.arange(0, WORDS)
        mask = (tile < tiles)[:, None] & (number < words)[None, :]
        count += tl.sum(bits_set(bits_of(touched + tile[:, None] * words + number[None, :], mask)), 1)
    tl.store(counts + tile, count.to(tl.int32), mask=tile < tiles)


@triton.jit
def length_of_shares(counts, tiles, slots, TILES: tl.constexpr):
    """The minimum number of RoIs per share, such that there are enough slots for all shares of all crowded tiles."""
    rois, crowded = tl.cast(0, tl.int64), tl.cast(0, tl.int64)
    for first in range(0, tiles, TILES):
        tile = first + tl.arange(0, TILES)
        count = tl.load(counts + tile, mask=tile < tiles, other=0).to(tl.int64)
        rois += tl.sum(tl.where(count > FEWEST, count, 0), 0)
        crowded += tl.sum((count > FEWEST).to(tl.int64), 0)
    # A tile with c > length RoIs has fewer than c / length + 1 shares, and therefore fewer than 2 c / length.
    length = tl.cdiv(2 * rois, slots)
    left = slots - crowded
    length = tl.where(left > 0, tl.minimum(length, tl.cdiv(rois, tl.maximum(left, 1))), length)
    return tl.maximum(length, FEWEST)


@triton.jit(do_not_specialize=["tiles", "slots"])
def shares_kernel(counts, shares, tiles, slots, TILES: tl.constexpr):
    """Write `shares`, int32: the RoIs per share; then the tile of every slot, or NONE, and its first slot."""
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
    """Write a crowded tile of the gradient of a map for some channels: the sums of its shares, added in their order.

    If `PARTS` is more than 1, the channels are divided into that many blocks."""
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
