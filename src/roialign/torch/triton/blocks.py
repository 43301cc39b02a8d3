"""Distribution of the bins and channels of a result, or of its gradient, over the programs of a kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...triton.launch import Contraction, blocks_of, plain_strides, power_of_two, vector_of


@dataclass(frozen=True)
class Block:
    """The work of one program: some bins of a RoI, and some channels."""

    maps: Sequence[Tensor]
    output: Tensor
    size: Contraction
    is_last: bool
    """Whether channels are contiguous in memory."""
    bins: int
    channels: int
    row: int
    """The largest number of bins in a row of a program, which has `bins` rows. If it is 0, it has `bins` bins."""

    @classmethod
    def of(
        cls,
        sizes: Mapping[bool, Mapping[int, Contraction]],
        maps: Sequence[Tensor],
        output: Tensor,
        is_last: bool,
        row: int = 0,
    ) -> Block:
        """Choose a block. `sizes` is a table of :mod:`roialign.triton.launch`."""
        size = sizes[is_last][output.element_size()]
        _, channels, bins_y, bins_x = output.shape
        bins = min(size.bins, power_of_two(bins_y if row else bins_y * bins_x))
        if row:  # no more channels than there are
            return cls(maps, output, size, is_last, bins, min(size.channels, power_of_two(channels + 1) // 2), row)
        return cls(maps, output, size, is_last, bins, size.channels, row)

    @property
    def per_row(self) -> tuple[int, int]:
        """The number of blocks of bins and of channels per RoI."""
        _, channels, bins_y, bins_x = self.output.shape
        if self.row:
            of_bins = blocks_of(bins_y, self.bins) * blocks_of(bins_x, self.row)
        else:
            of_bins = blocks_of(bins_y * bins_x, self.bins)
        return of_bins, blocks_of(channels, self.channels)

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
            "CHANNELS": self.channels,
            "num_warps": self.size.warps,
        }


def sums_dtype(output: Tensor) -> torch.dtype:
    """The dtype in which a result, or its gradient, is summed and weights are stored."""
    return torch.float64 if output.dtype == torch.float64 else torch.float32


def strides_of_one(tensor: Tensor) -> tuple[int, ...]:
    return tuple([strides[0] for strides in plain_strides([tensor])])
