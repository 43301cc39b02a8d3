"""Launching of kernels: block sizes and warps by layout and dtype, and the device and stream.

The sizes come from a table, sizes.json, and not from an autotuner. The first call of a process therefore compiles one
variant instead of twenty, and every process sums in the same order.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from importlib.resources import files
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor
from triton.runtime.interpreter import InterpretedFunction

from .numbers import plain


class Contraction(NamedTuple):
    """The sizes of a program that computes a block of bins and channels of one RoI."""

    bins: int
    channels: int
    warps: int


class Tiling(NamedTuple):
    """The sizes of a program that computes a tile of a gradient of features, for some of its channels."""

    rows: int
    columns: int
    channels: int
    warps: int


T = TypeVar("T", Contraction, Tiling)


def table_of(name: str, kind: Callable[..., T]) -> dict[bool, dict[int, T]]:
    """Read a table of sizes.json, indexed by whether maps are channels-last, then by bytes per element.

    `python -m benchmarks.gpu tune` writes the tables from its measurements.
    """
    return {
        layout == "NHWC": {int(size): kind(*numbers) for size, numbers in sizes.items()}
        for layout, sizes in SIZES[name].items()
    }


SIZES = json.loads(files(__package__).joinpath("sizes.json").read_text())["sizes"]
#: A thread loads 16 bytes of a channels-last map at once. A block has 8 to 16 such loads per thread in flight, which
#: hides the memory latency. Planar maps are read along the bins, which lie within a few sectors of a row, for 16
#: channels at a time.
FORWARD = table_of("FORWARD", Contraction)
#: Half the block size, because there are four sums instead of one.
BOXES = table_of("BOXES", Contraction)
#: Tiles are small, so that small maps give enough programs. Planar tiles are at least a sector (32 bytes) wide. Each
#: warp looks up RoIs and bins itself, so several warps per program would only add barriers. A program has one warp,
#: which reads the gradients of two rows of bins at once. This hides the memory latency as well as more warps would.
FEATURES = table_of("FEATURES", Tiling)
BINS_AT_ONCE = 8
#: The same for the pointwise family. A point needs four loads and its own float64 values, so blocks are smaller.
POINTS_FORWARD = table_of("POINTS_FORWARD", Contraction)
#: For maximal points, which differ between channels, and for sums, of which there are seven. Then the factor of the
#: warps for maximal points.
POINTS_SUMS = table_of("POINTS_SUMS", Contraction)
WINNERS_WARPS = 2
#: The number of programs for sums. With many RoIs, one program handles several blocks of channels with one set of sums.
SUMS_PROGRAMS = 512
#: For a gradient of features; and the numbers of bins, and of points in a row, that are processed at once. Again one
#: warp: it has the points of two rows of eight bins, one for each thread.
POINTS_FEATURES = table_of("POINTS_FEATURES", Tiling)
POINTS_BINS, POINTS_AT_ONCE = 8, 2
#: The maximum number of bins of a RoI that are processed at once, and the warps of a program that computes a RoI.
ROI_BINS, ROI_WARPS = 256, 1
#: For the table kernel: the number of pixels per bin that are processed at once, with one warp per axis of a RoI.
TABLE_PIXELS, TABLE_WARPS = 4, 1
#: The number of tiles that are compared with 32 RoIs at once.
MASK_TILES, MASK_WARPS = 16, 4
#: The extra memory of a call, as a fraction of its inputs and result. If the tables of all RoIs would take more, RoIs
#: are pooled in parts, whose sizes are multiples of this number: large enough for a launch, and keeping addresses
#: aligned. A call never has more parts than this limit, even if it needs more memory.
EXTRA, FEWEST_ROWS, MOST_PARTS = 0.049, 32, 4
#: Crowded tiles are handled if there are more RoIs than this. The sums of their shares may take this many bytes, even
#: beyond `EXTRA`, if there are more RoIs than tiles. Then the tiles per program and the warps, for counting and for
#: sharing.
SHARED_FROM, LEAST_SHARED = 64, 1 << 20
COUNT_TILES, COUNT_WARPS = 32, 4
SHARES_TILES, SHARES_WARPS = 2048, 8
#: RoIs are sorted by place if their number is within these limits, since every one is compared with every other. Then
#: the rows per program, the rows they are compared with at once, and the warps.
ORDERED = (32, 4096)
ORDER_ROWS, ORDER_OTHERS, ORDER_WARPS = 16, 128, 4
#: The rows per program of small kernels.
ROWS, ROW_WARPS = 64, 2


#: The maximum size of the second and third dimensions of a CUDA grid.
MOST_PROGRAMS = 65535


def launch(kernel: Any, grid: tuple[int, ...], device: torch.device, *arguments: Any, **constants: Any) -> None:
    """Run a kernel on the current stream of the device of its tensors; in the interpreter, without NumPy's warnings."""
    if 0 in grid:
        return
    if max(grid[1:], default=1) > MOST_PROGRAMS:
        raise NotImplementedError(
            f"{kernel.fn.__name__}: expected channels and bins that fit one kernel launch, got a grid of {grid}"
        )
    with on_device(device, isinstance(kernel, InterpretedFunction)):
        kernel[grid](*arguments, **constants)


def on_device(device: torch.device, interpreted: bool) -> AbstractContextManager[Any]:
    """Make the device of the tensors current, because Triton always uses the current device."""
    if interpreted:
        return np.errstate(all="ignore")
    if device.index is None or device.index == torch.cuda.current_device():
        return ExitStack()
    return torch.cuda.device(device)


def power_of_two(count: int) -> int:
    """The smallest power of two that is at least `count`."""
    return 1 << max(count - 1, 0).bit_length()


def blocks_of(count: int, block: int) -> int:
    return -(-count // block)


def is_channels_last(tensors: Sequence[Tensor]) -> bool:
    """Whether there are several channels, and those of a pixel are adjacent in memory in all tensors."""
    return all(tensor.stride(1) == 1 and tensor.shape[1] > 1 for tensor in tensors)


def vector_of(tensors: Sequence[Tensor]) -> int:
    """The number of channels of channels-last tensors that a thread can read or write at once: 16 bytes, or 1."""
    vector = 16 // tensors[0].element_size()
    for tensor in tensors:
        steps = [tensor.stride(axis) for axis in (0, 2, 3) if tensor.shape[axis] > 1]
        if tensor.data_ptr() % 16 or tensor.shape[1] % vector or any(step % vector for step in steps):
            return 1
    return vector


def map_sizes(maps: Sequence[Tensor]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The heights and widths of the maps."""
    return plain([level.shape[2] for level in maps]), plain([level.shape[3] for level in maps])


def plain_strides(tensors: Sequence[Tensor]) -> tuple[tuple[int, ...], ...]:
    """The strides n, c, y, x of each level. An axis of size 1 has stride 0, which fits any vector."""
    found = [[0 if tensor.shape[axis] == 1 else tensor.stride(axis) for tensor in tensors] for axis in range(4)]
    return tuple([plain(strides) for strides in found])
