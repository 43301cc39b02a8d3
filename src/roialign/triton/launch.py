"""How kernels are launched: block sizes and warps by the layout and the dtype, and on which device and stream.

The numbers are a table, sizes.json, and not the outcome of an autotuner, so that the first call of a process compiles
one variant and not twenty, and so that every process sums in the same order.
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
    """Of a program that owns a block of bins and channels of one RoI."""

    bins: int
    channels: int
    warps: int


class Tiling(NamedTuple):
    """Of a program that owns a tile of a gradient of features, and some of its channels."""

    rows: int
    columns: int
    channels: int
    warps: int


T = TypeVar("T", Contraction, Tiling)


def table_of(name: str, kind: Callable[..., T]) -> dict[bool, dict[int, T]]:
    """A table of sizes.json: by whether channels lie beside each other, then by bytes per element.

    `python -m benchmarks.gpu tune` writes them there, with what it has measured.
    """
    return {
        layout == "NHWC": {int(size): kind(*numbers) for size, numbers in sizes.items()}
        for layout, sizes in SIZES[name].items()
    }


SIZES = json.loads(files(__package__).joinpath("sizes.json").read_text())["sizes"]
#: A thread loads 16 bytes of a channels-last map at once, and a block is 8 to 16 such loads a thread, all of them in
#: flight: what hides the latency of memory. Planar maps are read along the bins, which lie within a few sectors of a
#: row, 16 channels at a time.
FORWARD = table_of("FORWARD", Contraction)
#: Four sums instead of one: half the block.
BOXES = table_of("BOXES", Contraction)
#: Small tiles, so that there are programs enough on small maps; planar ones are a sector (32 bytes) wide or more. Every
#: warp looks up RoIs and bins for itself, so warps of a program would share nothing but barriers: they have one. It
#: reads the gradients of several bins at once, those of two rows of them, which hides the latency of memory as more
#: warps would.
FEATURES = table_of("FEATURES", Tiling)
BINS_AT_ONCE = 8
#: The same of the pointwise family. A point costs four loads and float64 numbers of its own, so blocks are smaller.
POINTS_FORWARD = table_of("POINTS_FORWARD", Contraction)
#: Of the points that have won, which differ from channel to channel; and of sums, of which there are seven.
POINTS_SUMS = table_of("POINTS_SUMS", Contraction)
#: Programs enough for those: where RoIs are many, one program has several blocks of channels and keeps one set of sums.
SUMS_PROGRAMS = 512
#: A gradient of features; points at once of a bin's mean. One warp again: the weights of the pixels of a tile are sums
#: over its points, for which more of them would have to wait for each other.
POINTS_FEATURES = table_of("POINTS_FEATURES", Tiling)
POINTS_AT_ONCE = 4
#: Bins at once of one RoI, at most, and warps where a program owns a RoI.
ROI_BINS, ROI_WARPS = 256, 1
#: The table kernel: pixels at once per bin. One warp per axis of a RoI.
TABLE_PIXELS, TABLE_WARPS = 4, 1
#: Tiles at once, against 32 RoIs.
MASK_TILES, MASK_WARPS = 16, 4
#: What a call may keep besides its inputs and its answer, as a part of them. RoIs whose tables would take more are
#: pooled in parts, of a multiple of so many: they are worth a launch, and leave addresses as aligned as they were. No
#: call has more parts than these, even if it keeps more.
EXTRA, FEWEST_ROWS, MOST_PARTS = 0.049, 32, 4
#: Crowded tiles are looked for where there are more RoIs than these; the sums of their shares may take so many bytes,
#: even beyond `EXTRA`, where there are more RoIs than tiles. Tiles at once, and warps, where they are counted and where
#: they are shared out.
SHARED_FROM, LEAST_SHARED = 64, 1 << 20
COUNT_TILES, COUNT_WARPS = 32, 4
SHARES_TILES, SHARES_WARPS = 2048, 8
#: RoIs are ordered by place where they are at least so many, and at most so many: every one is compared with every
#: other. Rows at once, against others, and warps.
ORDERED = (32, 4096)
ORDER_ROWS, ORDER_OTHERS, ORDER_WARPS = 16, 128, 4
#: Rows at once of small kernels.
ROWS, ROW_WARPS = 64, 2


#: Of a dimension of CUDA's grids other than the first.
MOST_PROGRAMS = 65535


def launch(kernel: Any, grid: tuple[int, ...], device: torch.device, *arguments: Any, **constants: Any) -> None:
    """Run a kernel on the current stream of the device of its tensors; in the interpreter, without NumPy's warnings."""
    if 0 in grid:
        return
    if max(grid[1:], default=1) > MOST_PROGRAMS:
        raise NotImplementedError(f"{kernel.fn.__name__}: too many channels or bins for one launch: a grid of {grid}")
    with on_device(device, isinstance(kernel, InterpretedFunction)):
        kernel[grid](*arguments, **constants)


def on_device(device: torch.device, interpreted: bool) -> AbstractContextManager[Any]:
    """Where a kernel runs: Triton takes the current device, whatever its tensors are on."""
    if interpreted:
        return np.errstate(all="ignore")
    if device.index is None or device.index == torch.cuda.current_device():
        return ExitStack()
    return torch.cuda.device(device)


def power_of_two(count: int) -> int:
    """The least power of two that is no less."""
    return 1 << max(count - 1, 0).bit_length()


def blocks_of(count: int, block: int) -> int:
    return -(-count // block)


def is_channels_last(tensors: Sequence[Tensor]) -> bool:
    """Whether the channels of a pixel, more than one, lie beside each other in all of them."""
    return all(tensor.stride(1) == 1 and tensor.shape[1] > 1 for tensor in tensors)


def vector_of(tensors: Sequence[Tensor]) -> int:
    """How many channels of channels-last tensors a thread may read or write at once: 16 bytes' worth, or 1."""
    vector = 16 // tensors[0].element_size()
    for tensor in tensors:
        steps = [tensor.stride(axis) for axis in (0, 2, 3) if tensor.shape[axis] > 1]
        if tensor.data_ptr() % 16 or tensor.shape[1] % vector or any(step % vector for step in steps):
            return 1
    return vector


def map_sizes(maps: Sequence[Tensor]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Heights and widths."""
    return plain([level.shape[2] for level in maps]), plain([level.shape[3] for level in maps])


def plain_strides(tensors: Sequence[Tensor]) -> tuple[tuple[int, ...], ...]:
    """The strides n, c, y, x of every level; 0, which fits any vector, where there is one place only."""
    found = [[0 if tensor.shape[axis] == 1 else tensor.stride(axis) for tensor in tensors] for axis in range(4)]
    return tuple([plain(strides) for strides in found])
