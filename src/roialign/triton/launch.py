"""Launching of kernels: block sizes and warps by layout and dtype, and the device and stream.

The sizes come from a table, sizes.json, and not from an autotuner. The first call of a process therefore compiles one
variant instead of twenty, and every process sums in the same order.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib.resources import files
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
import triton
from torch import Tensor
from triton import knobs
from triton.compiler import CompiledKernel
from triton.runtime import driver
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
#: `bins` are rows of bins here. For channels-last maps, a row has up to `MOST_COLUMNS` bins, and a program of fewer has
#: more channels: a thread has 32 sums. It loads 16 bytes at once, eight times before it waits. For planar maps, a row
#: has up to 32 bins. A program has more rows there, because it takes longer to begin.
FORWARD = table_of("FORWARD", Contraction)
MOST_COLUMNS = 16
#: For bins of any rows. There are four sums instead of one.
BOXES = table_of("BOXES", Contraction)
#: Tiles are small, so that small maps give enough programs. Each warp looks up RoIs and bins itself, so several warps
#: per program would only add barriers. Neighbouring threads have other channels and each holds all pixels of the tile,
#: so that threads never exchange values. Hence a planar tile is 8 pixels (32 bytes) wide and has as many channels as a
#: warp has threads.
FEATURES = table_of("FEATURES", Tiling)
#: The bins of a row that are loaded at once, while the previous row is added.
BINS_AT_ONCE = 4
#: The maximum number of registers per thread, so that a multiprocessor holds 12 warps.
FEATURES_REGISTERS = 168
#: The threads of a warp. A minimum or maximum over as many values is one instruction.
LANES = 32
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
#: For maximal points, whose number is compared with that of every pixel of the tile; and if every bin has its own
#: channels, which are few.
POINTS_FEATURES_MAX = table_of("POINTS_FEATURES_MAX", Tiling)
POINTS_FEATURES_POSITION = table_of("POINTS_FEATURES_POSITION", Tiling)
POINTS_BINS, POINTS_AT_ONCE = 8, 2
#: The bins whose winners are read at once.
WINNERS_BINS = 4
#: The maximum number of bins of a RoI that are processed at once, and the warps of a program that computes a RoI.
ROI_BINS, ROI_WARPS = 256, 1
#: For the table kernel: the number of pixels per bin that are processed at once, with one warp per axis of a RoI.
TABLE_PIXELS, TABLE_WARPS = 4, 1
#: The number of tiles of a strip, which are compared with so many words of 32 RoIs at once.
MASK_TILES, MASK_WORDS, MASK_WARPS = 16, 8, 4
#: The extra memory of a call, as a fraction of its inputs and result. If the tables of all RoIs would take more, RoIs
#: are pooled in parts, whose sizes are multiples of this number: large enough for a launch, and keeping addresses
#: aligned. There are more parts than this limit only if tables would exceed `MOST_TABLES` of `torch.triton.rows`.
#: Tables of so many bytes are not divided, because several launches take longer than the work of such a small call.
EXTRA, FEWEST_ROWS, MOST_PARTS, LEAST_TABLES = 0.049, 32, 4, 1 << 21
#: Crowded tiles are handled if there are more RoIs than this. The sums of their shares may take this many bytes, even
#: beyond `EXTRA`, if there are more than this many RoIs per tile. Then, for sharing: the tiles per program, the counts
#: that it holds to find the length of shares, which is one search if these are all, and the warps.
SHARED_FROM, LEAST_SHARED, CROWDED = 64, 1 << 22, 3
SHARES_TILES, SHARES_AT_ONCE, SHARES_WARPS = 256, 8192, 8
#: RoIs are sorted by place if their number is within these limits, since every one is compared with every other. Then
#: the rows per program, the rows they are compared with at once, and the warps.
ORDERED = (32, 4096)
ORDER_ROWS, ORDER_OTHERS, ORDER_WARPS = 8, 1024, 8
#: The rows per program of small kernels.
ROWS, ROW_WARPS = 64, 2


#: The maximum size of the second and third dimensions of a CUDA grid.
MOST_PROGRAMS = 65535
#: The versions of Triton whose compiled kernels are launched directly. Kernels for AMD depend on more than our kinds.
VERSIONS = ("3.5.", "3.6.", "3.7.", "3.8.", "3.9.")
IS_KNOWN = triton.__version__.startswith(VERSIONS) and torch.version.hip is None


#: The place of the stream among the arguments of a launcher.
STREAM = 3


class Compiled(NamedTuple):
    """A compiled kernel, which is launched without the checks of Triton that take longer than the launch."""

    run: Callable[..., None]
    """Its launcher."""
    function: Any
    options: tuple[Any, ...]
    """The first arguments of the launcher after the function."""
    constants: tuple[Any, ...]
    """The values of the parameters after the arguments."""

    def launch(self, grid: tuple[int, int, int], stream: int, arguments: Sequence[Any]) -> None:
        """Launch it. A pointer is a tensor or an address."""
        self.run(*self.arguments(grid, stream, arguments))

    def arguments(self, grid: tuple[int, int, int], stream: int | None, given: Sequence[Any]) -> list[Any]:
        """All arguments of the launcher."""
        return [*grid, stream, self.function, *self.options, None, None, None, *given, *self.constants]


class Recorder(threading.local):
    """Who records the launches of this thread."""

    note: Callable[[Compiled | None, tuple[int, ...], tuple[Any, ...]], None] | None = None
    """Takes a kernel, or None if it must not be launched directly, the grid and the arguments."""


RECORDER = Recorder()
#: By kernel, device, kinds of arguments and constants.
COMPILED: dict[Any, Compiled] = {}
NO_CONTEXT = nullcontext()


def launch(kernel: Any, grid: tuple[int, ...], device: torch.device, *arguments: Any, **constants: Any) -> None:
    """Run a kernel on the current stream of the device of its tensors; in the interpreter, without NumPy's warnings."""
    if 0 in grid:
        return
    constants.setdefault("enable_fp_fusion", True)  # the default of Triton is another from version 3.10 on
    if max(grid[1:], default=1) > MOST_PROGRAMS or math.prod(grid) >= 2**31:  # beyond it, Triton launches nothing
        raise NotImplementedError(
            f"{kernel.fn.__name__}: expected RoIs, channels and bins that fit one kernel launch, got a grid of {grid}"
        )
    if isinstance(kernel, InterpretedFunction):
        with np.errstate(all="ignore"):
            kernel[grid](*arguments, **constants)
        return
    with on_device(device):
        if not IS_KNOWN or kernel.pre_run_hooks or is_watched():
            compiled = None
            kernel[grid](*arguments, **constants)
        else:
            key = (kernel.fn, device.index, tuple(map(kind_of, arguments)), tuple(constants.items()))
            compiled = COMPILED.get(key)
            if compiled is not None:
                compiled.launch(sides_of(grid), current_stream(device), arguments)
            else:
                binary = kernel[grid](*arguments, **constants)
                if isinstance(binary, CompiledKernel):
                    COMPILED[key] = compiled = compiled_of(binary, kernel, arguments, constants)
    if RECORDER.note is not None:
        RECORDER.note(compiled, grid, arguments)


def compiled_of(binary: CompiledKernel, kernel: Any, arguments: tuple[Any, ...], constants: dict[str, Any]) -> Compiled:
    """The kernel of an ordinary launch with these arguments."""
    parameters = kernel.signature.parameters
    bound = kernel.signature.bind(*arguments, **{name: constants[name] for name in constants if name in parameters})
    bound.apply_defaults()
    values = tuple(bound.arguments.values())[len(arguments) :]
    run, options = launcher_of(binary.run, binary.packed_metadata)
    return Compiled(run, binary.function, options, values)


def launcher_of(run: Any, metadata: Any) -> tuple[Callable[..., None], tuple[Any, ...]]:
    """The launcher of a kernel, and its arguments between the function and the hooks.

    In Triton 3.6 it wraps a compiled function, and takes as long. A kernel that needs no memory beside its arguments
    can do without the wrapper.
    """
    needs_memory = getattr(run, "global_scratch_size", 1) or getattr(run, "profile_scratch_size", 1)
    if not triton.__version__.startswith("3.6.") or needs_memory:
        return run, (metadata,)
    return run.launch, (run.launch_cooperative_grid, run.launch_pdl, None, None, metadata)


def kind_of(argument: Any) -> Any:
    """What Triton compiles a kernel for, or something finer: the type of an argument, and what divides it."""
    if type(argument) is int:
        return argument % 16 == 0, argument == 1, -(1 << 31) <= argument < 1 << 31, argument < 1 << 63
    if type(argument) is tuple:
        return tuple(map(kind_of, argument))
    if isinstance(argument, Tensor):
        return argument.dtype, argument.data_ptr() % 16 == 0
    return type(argument), argument


def sides_of(grid: tuple[int, ...]) -> tuple[int, int, int]:
    """The three sides of a grid."""
    x, y, z = (*grid, 1, 1)[:3]
    return x, y, z


def current_stream(device: torch.device) -> int:
    """The current stream of a device, which must be the current one."""
    return driver.active.get_current_stream(device.index)  # type: ignore[no-any-return]


def is_watched() -> bool:
    """Whether a profiler of Triton wants to see launches, or kernels are debugged."""
    runtime = knobs.runtime
    enter, leave = runtime.launch_enter_hook, runtime.launch_exit_hook
    return bool(getattr(enter, "calls", enter) or getattr(leave, "calls", leave) or runtime.debug)


def on_device(device: torch.device) -> AbstractContextManager[Any]:
    """Make the device of the tensors current, because Triton always uses the current device."""
    if device.index is None or device.index == torch.cuda.current_device():
        return NO_CONTEXT
    return torch.cuda.device(device)


def at_most_registers(count: int) -> dict[str, int]:
    """The option that limits the registers of a thread. Triton refuses it for AMD's GPUs."""
    return {} if torch.version.hip is not None else {"maxnreg": count}


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
