"""Distribution of the bins and channels of a result, or of its gradient, over the programs of a kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...triton.launch import MOST_COLUMNS, Contraction, blocks_of, plain_strides, power_of_two, vector_of
from ...triton.separable import LANES


@dataclass(frozen=True)
class Block:
    """The work of one program: some bins of a RoI, and some channels."""

    maps: Sequence[Tensor]
    output: Tensor
    size: Contraction
    is_last: bool
    """Whether channels are contiguous in memory."""
    bins: int

    @classmethod
    def of(
        cls,
        sizes: Mapping[bool, Mapping[int, Contraction]],
        maps: Sequence[Tensor],
        output: Tensor,
        is_last: bool,
    ) -> Block:
        """Choose a block. `sizes` is a table of :mod:`roialign.triton.launch`."""
        size = sizes[is_last][output.element_size()]
        return cls(maps, output, size, is_last, min(size.bins, power_of_two(output.shape[2] * output.shape[3])))

    @property
    def per_row(self) -> tuple[int, int]:
        """The number of blocks of bins and of channels per RoI."""
        _, channels, bins_y, bins_x = self.output.shape
        return blocks_of(bins_y * bins_x, self.bins), blocks_of(channels, self.size.channels)

    @property
    def grid(self) -> tuple[int, int]:
        """The grid: blocks of bins of all RoIs first, so that neighbours share memory, then blocks of channels."""
        of_bins, of_channels = self.per_row
        return len(self.output) * of_bins, of_channels

    @property
    def strides(self) -> tuple[Any, Any]:
        return plain_strides(self.maps), strides_of_one(self.output)

    def constants(self, vector: str) -> dict[str, Any]:
        """The constants of a kernel. `vector` is the name of the vector size of the result or its gradient."""
        return {
            "CHANNELS_LAST": self.is_last,
            "VECTOR": vector_of(self.maps) if self.is_last else 1,
            vector: vector_of([self.output]) if self.is_last else 1,
            "BINS": self.bins,
            "CHANNELS": self.size.channels,
            "num_warps": self.size.warps,
        }


@dataclass(frozen=True)
class RowsOfBins(Block):
    """The work of one program: some rows of bins, and some channels, no more than there are."""

    @property
    def columns(self) -> int:
        """The number of bins in a row. For planar maps, every thread has one."""
        most = power_of_two(self.output.shape[3])
        return min(most, MOST_COLUMNS) if self.is_last else LANES.value

    @property
    def channels(self) -> int:
        narrow = MOST_COLUMNS // self.columns if self.is_last else 1
        return min(self.size.channels * narrow, max(power_of_two(self.output.shape[1] + 1) // 2, 1))

    @property
    def rows(self) -> int:
        return min(self.size.bins, power_of_two(self.output.shape[2]))

    @property
    def per_row(self) -> tuple[int, int]:
        _, channels, bins_y, bins_x = self.output.shape
        return blocks_of(bins_y, self.rows) * blocks_of(bins_x, self.columns), blocks_of(channels, self.channels)

    def constants(self, vector: str) -> dict[str, Any]:
        sizes = {"ROWS": self.rows, "COLUMNS": self.columns, "CHANNELS": self.channels}
        return {name: value for name, value in super().constants(vector).items() if name != "BINS"} | sizes


def sums_dtype(output: Tensor) -> torch.dtype:
    """The dtype in which a result, or its gradient, is summed and weights are stored."""
    return torch.float64 if output.dtype == torch.float64 else torch.float32


def strides_of_one(tensor: Tensor) -> tuple[int, ...]:
    return tuple([strides[0] for strides in plain_strides([tensor])])
