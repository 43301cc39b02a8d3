"""Predict the times of calls on a GPU, from the bytes that they move and from the compiled kernels.

    python -m benchmarks.gpu predict [--from-json gpu.json] [--write-docs]

Nothing is run. The kernels are compiled for compute capability 9.0, and their instructions are counted loop by loop.
The iterations of the loops are counted from the boxes of the workload. If the results of a run are given, the table
also shows the measured times.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from roialign.triton import launch

from ..markdown import table, write_between
from ..pages import GPU_PREDICTIONS
from ..workloads import WORKLOADS, Workload
from . import trips
from .calls import DTYPES, Inputs, ours
from .cells import FIRST, Cell
from .results import Report, read_reports

if TYPE_CHECKING:
    from .compiler import Launch

BEGIN, END = "<!-- predicted:begin -->", "<!-- predicted:end -->"
POINTS = 2


@dataclass(frozen=True)
class Device:
    """Rates of a device, per microsecond."""

    memory: float
    """Bytes read and written by a large copy."""
    cache: float
    """Bytes read from the L2 cache."""
    cycles: float
    multiprocessors: int = 132
    schedulers: int = 4


#: The copy rates were observed on such devices, and are nine tenths of the manufacturer's figures. The others are
#: typical.
DEVICES = {"H100": Device(3.0e6, 5.5e6, 1750.0), "H200": Device(4.3e6, 5.5e6, 1750.0)}
#: Typical cycles between two instructions of a warp, and cycles to wait for memory in every iteration that loads.
PER_INSTRUCTION, PER_LOAD = 2.0, 300.0
#: Microseconds from the end of a kernel to the start of the next one in a graph.
PER_LAUNCH = 1.5
#: Bytes of spans and weights that a program of the backward pass reads for a RoI.
PER_PAIR = 256
#: Number of pixels of a bin that a row of a table processes at once.
CHUNK = launch.TABLE_PIXELS


@dataclass(frozen=True)
class Kernel:
    """One launch of a call: the bytes that it moves, and the work of its warps."""

    name: str
    memory: float
    cache: float
    """In bytes."""
    instructions: float
    """Instructions of all warps."""
    cycles: float
    """Cycles of all programs, one after another, if each ran alone."""
    longest: float
    """Cycles of one program."""
    at_once: int
    """Programs on a multiprocessor at once."""

    def times(self, device: Device) -> dict[str, float]:
        """Return the microseconds of each possible limit."""
        places = device.multiprocessors * self.at_once
        return {
            "memory": self.memory / device.memory,
            "L2": self.cache / device.cache,
            "issue": self.instructions / (device.multiprocessors * device.schedulers * device.cycles),
            "latency": max(self.longest, self.cycles / places) / device.cycles,
        }


@dataclass(frozen=True)
class Prediction:
    """The prediction for one cell."""

    cell: Cell
    kernels: list[Kernel]

    def microseconds(self, device: Device) -> tuple[float, str]:
        """Return the time of the call, and what limits its slowest kernel."""
        slowest = [max(kernel.times(device).items(), key=lambda pair: pair[1]) for kernel in self.kernels]
        bound = max(slowest, key=lambda pair: pair[1])[0]
        return sum(time for _, time in slowest) + PER_LAUNCH * len(self.kernels), bound


def kernels_of(cell: Cell, launches: Sequence[Launch]) -> list[Kernel]:
    workload, element = WORKLOADS[cell.workload], DTYPES[cell.dtype].itemsize
    found = []
    for one in launches:
        if one.kernel == "forward":
            # Used by a call that processes its RoIs in parts.
            part = one.programs / sum(other.programs for other in launches if other.kernel == "forward")
            found.append(of_forward(one, workload, element, cell, part))
        elif one.kernel == "adjoint_features":
            found.append(of_features(one, workload, element, cell, launches))
        else:
            found.append(of_small(one, workload))
    return found


def turns_of(one: Launch, turns: Sequence[float], programs: int) -> tuple[float, float]:
    """Return the instructions of all warps and the cycles of all programs, one after another. `often` has the
    iterations of the loops of each depth, over all programs."""
    instructions = cycles = 0.0
    for body in one.code.bodies:
        often = programs if body.depth == 0 else turns[min(body.depth, len(turns)) - 1]
        instructions += often * body.instructions
        cycles += often * (PER_INSTRUCTION * body.instructions + (PER_LOAD if body.number("LDG") else 0.0))
    return instructions * one.warps, cycles


def of_forward(one: Launch, workload: Workload, element: int, cell: Cell, part: float) -> Kernel:
    axes = trips.axes_of(workload, POINTS)
    last = cell.layout == "NHWC"
    rows = launch.FORWARD[last][element].bins
    blocks = one.programs / workload.rois / launch.blocks_of(workload.output_size[0], rows)
    depth = max(body.depth for body in one.code.bodies)  # a program with one row of bins has no loop over them
    instructions, cycles = turns_of(one, [turns * blocks for turns in axes.turns(last)][-depth:], one.programs)
    answer = workload.output_elements * element
    memory = trips.touched_bytes(workload, POINTS, element) + answer
    cache = axes.pixels(element, cell.layout == "NHWC", workload.channels) + answer
    longest = cycles / one.programs * 2  # the largest RoIs have about twice the pixels
    return Kernel("forward", part * memory, part * cache, instructions, cycles, longest, one.programs_at_once)


def without_second_pass(one: Launch) -> Launch:
    """Leave out the second nest of loops, which only runs for gradients that are not finite."""
    nests = [index for index, body in enumerate(one.code.bodies) if body.depth == 1]
    return replace(one, code=replace(one.code, bodies=one.code.bodies[: nests[1]]))


def of_features(one: Launch, workload: Workload, element: int, cell: Cell, launches: Sequence[Launch]) -> Kernel:
    one = without_second_pass(one)
    tile = launch.FEATURES[cell.layout == "NHWC"][element]
    met, blocks = trips.meetings(workload, POINTS, tile), launch.blocks_of(workload.channels, tile.channels)
    own = [one.programs * trips.word_turns(workload), met.pairs * blocks, met.chunks * blocks, met.rows * blocks]
    instructions, cycles = turns_of(one, own, one.programs)
    _, of_pair = turns_of(one, [0, 1, met.chunks / max(met.pairs, 1), met.rows / max(met.pairs, 1)], 0)
    slots = sum(other.programs for other in launches if other.kernel == "sum_shares") // blocks
    _, alone = turns_of(one, [trips.word_turns(workload), 0, 0, 0], 1)
    answer, maps = workload.output_elements * element, trips.bytes_of_maps(workload, element)
    cache = met.bins * workload.channels * element + met.pairs * blocks * PER_PAIR + maps
    longest = alone + met.longest(slots) * of_pair
    return Kernel("adjoint_features", answer + maps, cache, instructions, cycles, longest, one.programs_at_once)


def of_small(one: Launch, workload: Workload) -> Kernel:
    """Predict the kernels of tables, tiles and shares. They run once, except for the pixels of a table."""
    axes = trips.axes_of(workload, POINTS)
    chunks = [math.ceil(float((end - first).max(1).mean()) / CHUNK) for first, end in (axes.y, axes.x)]
    often = one.programs * (max(chunks) if one.kernel == "taps" else 1)
    instructions, cycles = turns_of(one, [often, often * POINTS], one.programs)
    return Kernel(one.kernel, 0.0, 0.0, instructions, cycles, cycles / one.programs, one.programs_at_once)


def cells() -> Iterator[Cell]:
    for workload in (*FIRST, "vit", "video"):
        for backward in (False, True):
            for layout, dtype in (("NHWC", "fp16"), ("NCHW", "fp32")):
                yield Cell(workload, backward, layout, dtype, POINTS)


def predict(cell: Cell) -> Prediction:
    from .compiler import compiled_only

    inputs = Inputs(WORKLOADS[cell.workload], DTYPES[cell.dtype], cell.layout == "NHWC", sets=1, device="cpu")
    with compiled_only() as launches:
        ours(inputs, cell.points, cell.backward, "triton")(0)
    return Prediction(cell, kernels_of(cell, launches))


def measured(report: Report | None, cell: Cell) -> float | None:
    rows = report.rows if report else []
    own = [row.ours_us for row in rows if (row.workload, row.what, row.layout, row.dtype, row.points) == key(cell)]
    return own[0] if own else None


def key(cell: Cell) -> tuple[str, str, str, str, int]:
    return cell.workload, cell.what, cell.layout, cell.dtype, cell.points


def line(found: Prediction, report: Report | None) -> list[str]:
    memory, cache, instructions = (
        sum(getattr(kernel, name) for kernel in found.kernels) for name in ("memory", "cache", "instructions")
    )
    cells = [found.cell.workload, found.cell.what, f"{found.cell.layout} {found.cell.dtype}", str(len(found.kernels))]
    cells += [f"{memory / 1e6:.1f}", f"{cache / 1e6:.1f}", f"{instructions / 1e6:.1f}"]
    cells.append(f"{32 * instructions / cache:.1f}")
    for device in DEVICES.values():
        kernels = [kernel.times(device) for kernel in found.kernels]
        parts = [sum(times[name] for times in kernels) for name in ("memory", "L2", "issue", "latency")]
        time, bound = found.microseconds(device)
        cells += [" / ".join(f"{part:.0f}" for part in parts), f"**{time:.0f}**, {bound}"]
    if report is not None:
        time_here = measured(report, found.cell)
        cells.append("-" if time_here is None else f"{time_here:.1f}")
    return cells


def render(found: Sequence[Prediction], report: Report | None) -> str:
    titles = ["workload", "what", "layout, type", "kernels", "memory, MB", "L2, MB", "M warp instructions"]
    titles.append("instructions per byte of L2")
    for name in DEVICES:
        titles += [f"{name}: memory / L2 / issue / latency, us", f"{name}: us, bound by"]
    if report is not None:
        titles.append(f"measured on {report.machine['gpu']}, us")
    return table(titles, [line(one, report) for one in found])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu predict", description=__doc__)
    parser.add_argument("--from-json", type=Path, nargs="+", help="results of a run, to compare with")
    parser.add_argument("--write-docs", action="store_true", help="write docs/performance/gpu-predictions.md")
    options = parser.parse_args(arguments)
    os.environ["TRITON_INTERPRET"] = "0"
    try:
        report = read_reports(options.from_json) if options.from_json else None
    except (OSError, ValueError) as reason:
        parser.error(f"--from-json: {reason}")
    text = render([predict(cell) for cell in cells()], report)
    print(text)
    if options.write_docs:
        write_between(GPU_PREDICTIONS, text + "\n", BEGIN, END)
    return 0
