"""Gradients to features by tiles: which RoIs touch which tile, and how the work of crowded tiles is shared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..._derivatives import Inputs
from ...triton import launch as table
from ...triton.launch import launch, map_sizes, plain_strides
from ...triton.numbers import plain
from ...triton.shares import FEWEST, SHARE, shares_kernel, sum_shares_kernel
from ...triton.tiles import tiles_kernel
from .blocks import sums_dtype
from .rows import Rows, of_rows, parts_of_sums

#: Write the gradient of some RoIs into the maps, or add it to them: takes the RoIs, the rest of the inputs, the maps,
#: and whether to add.
Part = Callable[[Rows, Inputs, tuple[Tensor, ...], bool], None]


def sum_parts(part: Part, rows: Rows, inputs: Inputs, maps: tuple[Tensor, ...], bytes_per_row: int) -> None:
    """Write a gradient of features, in parts if the tables and bits of all RoIs would be too large. Parts are added in
    order, in the dtype of sums."""
    dtype = sums_dtype(inputs.grad_output)
    copies = 0 if maps[0].dtype == dtype else dtype.itemsize * sum(level.numel() for level in maps)
    parts = parts_of_sums(len(rows.rois), bytes_per_row, (*maps, inputs.grad_output), copies)
    sums = maps
    if len(parts) > 1 and copies:
        sums = tuple([torch.empty_like(level, dtype=dtype) for level in maps])
    for own in parts:
        part(rows.part(own), of_rows(inputs, own), sums, own.start > 0)
    if sums is not maps:
        for level, total in zip(maps, sums, strict=True):
            level.copy_(total)


@dataclass(frozen=True)
class Tiles:
    """The tiles of a gradient, on the device."""

    maps: tuple[Tensor, ...]
    tiling: table.Tiling
    first_tiles: tuple[int, ...]
    """Of every level."""
    touched: Tensor
    """A bit for each RoI that touches a tile, ``[tiles, ceil(K / 32)]``."""
    counts: Tensor
    """The number of RoIs that touch each tile."""
    shares: Tensor
    """The result of `roialign.triton.shares.shares_kernel`. Empty if there are no slots."""
    partial: Tensor
    """The sums of the shares, one slot for each."""
    channels: int
    parts: int
    """The ratio of the channels of the maps to those of the result: more than 1 if each bin has its own channels."""
    adds: bool
    """Whether tiles are added to the maps."""

    @staticmethod
    def bytes_per_row(maps: tuple[Tensor, ...], tiling: table.Tiling) -> int:
        """The memory per RoI in bytes: a bit for each tile."""
        return table.blocks_of(first_tiles_of(maps, tiling.rows, tiling.columns)[-1], 8)

    @classmethod
    def of(
        cls,
        places: Tensor,
        maps: tuple[Tensor, ...],
        gradient: Tensor,
        tiling: table.Tiling,
        kept: int,
        adds: bool,
        parts: int = 1,
    ) -> Tiles:
        """Find the RoIs of each tile without synchronising. `kept` bytes of the extra memory are already in use."""
        *first_tiles, tiles = first_tiles_of(maps, tiling.rows, tiling.columns)
        *first_strips, strips = first_tiles_of(maps, tiling.rows, tiling.columns * table.MASK_TILES)
        words = table.blocks_of(len(places), 32)
        numbers: dict[str, Any] = {"dtype": torch.int32, "device": places.device}
        touched, counts = torch.empty((tiles, words), **numbers), torch.empty(tiles, **numbers)
        first = plain(first_tiles)
        launch(
            tiles_kernel,
            (strips,),
            places.device,
            places,
            touched,
            counts,
            *map_sizes(maps),
            first,
            plain(first_strips),
            len(places),
            words,
            TILE_Y=tiling.rows,
            TILE_X=tiling.columns,
            LEVELS=len(maps),
            TILES=table.MASK_TILES,
            WORDS=table.MASK_WORDS,
            num_warps=table.MASK_WARPS,
        )
        dtype = sums_dtype(gradient)
        block = tiling.rows * tiling.columns * tiling.channels
        blocks = table.blocks_of(gradient.shape[1], tiling.channels) * parts
        kept += touched.nbytes + counts.nbytes
        left = int(table.EXTRA * sum(tensor.nbytes for tensor in (*maps, gradient))) - kept
        if len(places) > table.CROWDED * tiles:  # some tiles are crowded, whatever the positions of the RoIs
            left = max(left, table.LEAST_SHARED)
        may_be_crowded = tiles > 0 and len(places) > table.SHARED_FROM
        slots = max(left, 0) // (block * blocks * dtype.itemsize + 4 * SHARE.value) if may_be_crowded else 0
        slots = min(slots, most_slots(tiles, len(places)))
        shares = torch.empty((1 + slots if slots else 0, SHARE.value), **numbers)
        if slots:
            launch(
                shares_kernel,
                (table.blocks_of(tiles, table.SHARES_TILES),),
                places.device,
                counts,
                shares,
                tiles,
                slots,
                TILES=table.SHARES_TILES,
                AT_ONCE=table.SHARES_AT_ONCE,
                num_warps=table.SHARES_WARPS,
            )
        partial = torch.empty((slots, blocks, block), dtype=dtype, device=places.device)
        return cls(maps, tiling, first, touched, counts, shares, partial, gradient.shape[1], parts, adds)

    @property
    def slots(self) -> int:
        return len(self.partial)

    @property
    def grid(self) -> tuple[int, int]:
        """The grid: blocks of channels of every slot and then of every tile."""
        return self.blocks * (self.slots + len(self.touched)), self.parts

    @property
    def blocks(self) -> int:
        return table.blocks_of(self.channels, self.tiling.channels)

    @property
    def written(self) -> tuple[Tensor, ...]:
        return self.touched, self.counts, self.shares, self.partial

    @cached_property
    def target(self) -> tuple[Any, ...]:
        """The arguments that locate a tile."""
        return self.maps, *map_sizes(self.maps), self.first_tiles, plain_strides(self.maps)

    @property
    def sizes(self) -> tuple[int, int]:
        return self.touched.shape[1], self.slots

    @property
    def constants(self) -> dict[str, int | bool]:
        tiling = self.tiling
        return {
            "TILE_Y": tiling.rows,
            "TILE_X": tiling.columns,
            "CHANNELS": tiling.channels,
            "ADDS": self.adds,
            "num_warps": tiling.warps,
        }

    def sum_shares(self, **layout: Any) -> None:
        """Write the crowded tiles, after their shares have been computed."""
        if not self.slots:
            return
        launch(
            sum_shares_kernel,
            (self.blocks * self.slots, self.parts),
            self.touched.device,
            self.partial,
            self.shares,
            *self.target,
            self.channels,
            **layout,
            **self.constants,
            LEVELS=len(self.maps),
            PARTS=self.parts,
        )


def most_slots(tiles: int, rois: int) -> int:
    """The largest number of slots that is of use: with more, shares do not become shorter.

    If all RoIs touch all tiles, shares of `FEWEST` need one slot for every `FEWEST` RoIs of a tile and one more. The
    divisor is smaller by one, and there is another slot for each tile, because the kernel compares rounded sums.
    """
    return tiles * (2 + rois // (int(FEWEST.value) - 1))


def first_tiles_of(maps: tuple[Tensor, ...], rows: int, columns: int) -> list[int]:
    """The number of tiles of this size on all levels before each level, and on all levels."""
    first = [0]
    for level in maps:
        images, _, height, width = level.shape
        first.append(first[-1] + images * table.blocks_of(height, rows) * table.blocks_of(width, columns))
    return first
