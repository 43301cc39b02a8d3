"""Count how often the loops of the kernels run for a workload, and what they read, from its boxes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from roialign.triton import launch
from roialign.triton.separable import LANES
from roialign.triton.shares import FEWEST, WORDS

from ..workloads import Array, Workload
from .calls import data_of

#: Smallest transfer from memory, in bytes.
SECTOR = 32


def spans(start: Array, length: Array, size: Array, bins: int, ratio: int) -> tuple[Array, Array]:
    """Return ``[K, bins]``: the first pixel of every bin along an axis, and one past the last, for a grid of points."""
    of_bin = (length / bins)[:, None]
    count = np.ceil(of_bin) if ratio == 0 else float(ratio)
    low = start[:, None] + of_bin * (np.arange(bins) + 0.5 / count)
    high = start[:, None] + of_bin * (np.arange(bins) + 1 - 0.5 / count)
    sides = size[:, None]
    first = np.clip(np.floor(low), 0, sides - 1)
    end = np.clip(np.floor(high) + 2, first + 1, sides)
    none = (high < -1) | (low > sides)
    return np.where(none, 0, first).astype(np.int64), np.where(none, 0, end).astype(np.int64)


@dataclass(frozen=True)
class Axes:
    """The spans of both axes for all RoIs, and the sizes of their maps."""

    y: tuple[Array, Array]
    x: tuple[Array, Array]

    def turns(self, channels_last: bool) -> tuple[int, int, int]:
        """Return the iterations of the loops of the forward pass over all RoIs, for one block of channels: over rows of
        bins, their columns of pixels (or blocks of columns, for planar maps), and two rows of pixels."""
        first, end = self.x
        if channels_last:
            columns = (end - first).max(1)
        else:
            columns = -(-(end.max(1) - first.min(1)).clip(0) // (int(LANES.value) - 1))
        rows = -(-(self.y[1] - self.y[0]) // 2)
        return rows.size, int(columns.sum() * rows.shape[1]), int((columns * rows.sum(1)).sum())

    def pixels(self, element: int, channels_last: bool, channels: int) -> int:
        """Return the bytes that the RoIs read in whole sectors, counted for each RoI separately."""
        height, width = ((end.max(1) - first.min(1)).clip(0) for first, end in (self.y, self.x))
        if channels_last:
            return int((height * width).sum() * channels * element)
        sectors = np.ceil(width * element / SECTOR) + (width > 0) * (1 - 1 / (SECTOR / element))
        return int((height * sectors).sum() * channels * SECTOR)


@lru_cache(maxsize=4)
def axes_of(workload: Workload, ratio: int) -> Axes:
    data = data_of(workload)
    boxes, level = data.rois.astype(np.float64), data.level_of_roi
    scale, height, width = (
        np.array([getattr(one, name) for one in workload.levels])[level] for name in ("scale", "height", "width")
    )

    def axis(low: int, size: Array, bins: int) -> tuple[Array, Array]:
        start = boxes[:, low] * scale - 0.5
        return spans(start, (boxes[:, low + 2] - boxes[:, low]) * scale, size, bins, ratio)

    return Axes(axis(2, height, workload.output_size[0]), axis(1, width, workload.output_size[1]))


@dataclass(frozen=True)
class Meetings:
    """How tiles of the maps and RoIs meet, over all RoIs."""

    tiles: int
    pairs: int
    """Pairs of a tile and a RoI that meet."""
    counts: Array
    """The number of RoIs of each tile."""
    rows: int
    """Rows of bins that meet the tile, over all pairs and chunks of bins along x."""
    chunks: int
    bins: int
    """Bins that meet the tile."""

    def longest(self, slots: int) -> int:
        """Return the largest number of RoIs of one program, if tiles are shared among this many slots."""
        most = int(self.counts.max())
        for length in range(int(FEWEST.value), most if slots else 0):
            if (self.counts + length)[self.counts > length].sum() <= length * slots:
                return length
        return most


def meetings(workload: Workload, ratio: int, tile: launch.Tiling) -> Meetings:
    axes, data = axes_of(workload, ratio), data_of(workload)
    counts = {
        level: np.zeros((workload.images, -(-one.height // tile.rows), -(-one.width // tile.columns)), np.int64)
        for level, one in enumerate(workload.levels)
    }
    pairs = rows = chunks = bins = 0
    for row, (image, level) in enumerate(zip(data.rois[:, 0].astype(int), data.level_of_roi, strict=True)):
        near_y, near_x = (
            met(first[row], end[row], side, count)
            for (first, end), side, count in (
                (axes.y, tile.rows, counts[level].shape[1]),
                (axes.x, tile.columns, counts[level].shape[2]),
            )
        )
        used_y, used_x = near_y > 0, near_x > 0
        counts[level][image] += used_y[:, None] & used_x[None, :]
        of_x = -(-near_x // launch.BINS_AT_ONCE)
        pairs += int(used_y.sum() * used_x.sum())
        chunks += int(used_y.sum() * of_x.sum())
        rows += int(near_y.sum() * of_x.sum())
        bins += int(near_y.sum() * near_x.sum())
    all_counts = np.concatenate([count.ravel() for count in counts.values()])
    return Meetings(all_counts.size, pairs, all_counts, rows, chunks, bins)


def met(first: Array, end: Array, side: int, count: int) -> Array:
    """Return how many bins of an axis meet each of its tiles, including the bins in between, which also take time."""
    low = np.arange(count)[:, None] * side
    meets = (end > first) & (first < low + side) & (end > low)
    number = np.arange(len(first))
    least = np.where(meets, number, len(first)).min(1)
    most = np.where(meets, number + 1, 0).max(1)
    return np.maximum(most - least, 0)


def word_turns(workload: Workload) -> int:
    """Return the iterations of one program over the words of bits."""
    words: int = launch.blocks_of(launch.blocks_of(workload.rois, 32), int(WORDS.value))
    return words


def bytes_of_maps(workload: Workload, element: int) -> int:
    pixels: Any = sum(level.height * level.width for level in workload.levels)
    return int(pixels) * workload.images * workload.channels * element


def touched_bytes(workload: Workload, ratio: int, element: int) -> int:
    """Return the bytes of the pixels that any RoI reads, each once."""
    axes, data = axes_of(workload, ratio), data_of(workload)
    total = 0
    for level, one in enumerate(workload.levels):
        mask = np.zeros((workload.images, one.height, one.width), dtype=bool)
        for row in np.flatnonzero(data.level_of_roi == level):
            (first_y, end_y), (first_x, end_x) = ((first[row], end[row]) for first, end in (axes.y, axes.x))
            image = int(data.rois[row, 0])
            mask[image, first_y.min() : end_y.max(), first_x.min() : end_x.max()] = True
        total += int(mask.sum())
    return total * workload.channels * element
