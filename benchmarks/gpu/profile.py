"""Show what limits the kernels of a call, measured by Nsight Compute's `ncu` on this machine's GPU.

    python -m benchmarks.gpu profile [--cells "box-test forward NHWC fp16 S2, c4 backward NCHW fp32 S2"] [--seconds 60]

Every kernel of a call runs several times with hardware counters. The table shows for each kernel its time, its
registers and warps, how busy the units of a multiprocessor and the L2 cache are, and what its warps wait for most.
"""

from __future__ import annotations

import argparse
import csv
import io
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch

from ..markdown import table
from ..process import ROOT
from .calls import DTYPES, Inputs, ours
from .cells import Cell, cells_of
from .device import workload_of
from .tools import program

CELLS = "box-test forward NHWC fp16 S2, box-test forward NCHW fp32 S2, box-train backward NHWC fp16 S2"
#: By title, the metric of Nsight Compute, and what to multiply it with.
METRICS = {
    "us": ("gpu__time_duration.sum", 1.0),
    "registers": ("launch__registers_per_thread", 1.0),
    "warps": ("sm__warps_active.avg.per_cycle_active", 1.0),
    "M instructions": ("smsp__inst_executed.sum", 1e-6),
    "issuing, %": ("smsp__issue_active.avg.pct_of_peak_sustained_active", 1.0),
    "L1, %": ("l1tex__throughput.avg.pct_of_peak_sustained_active", 1.0),
    "L2, %": ("lts__throughput.avg.pct_of_peak_sustained_elapsed", 1.0),
    "memory, %": ("dram__cycles_active.avg.pct_of_peak_sustained_elapsed", 1.0),
}
#: Between these, the name of a reason for which warps wait.
STALL, OF_STALL = "smsp__average_warps_issue_stalled_", "_per_issue_active.ratio"


def cell_of(text: str) -> Cell:
    """Return the cell with this name."""
    known = {cell.name: cell for cell in cells_of()}
    if text not in known:
        raise ValueError(f"no cell is named {text!r}; an example is 'box-test forward NHWC fp16 S2'")
    return known[text]


def call_once(cells: Sequence[Cell]) -> None:
    """Call each cell after a warm-up, with the profiler on. This is what `ncu` runs."""
    runtime = torch.cuda.cudart()  # type: ignore[no-untyped-call]
    for cell in cells:
        inputs = Inputs(workload_of(cell.workload), DTYPES[cell.dtype], cell.layout == "NHWC", sets=1)
        call = ours(inputs, cell.points, cell.backward)
        for _ in range(2):
            call(0)
        torch.cuda.synchronize()
        runtime.cudaProfilerStart()
        call(0)
        torch.cuda.synchronize()
        runtime.cudaProfilerStop()


def profiled(cells: Sequence[Cell], seconds: float) -> str:
    """Run `ncu` on the cells, and return its table of all metrics."""
    ncu = program("ncu")
    if ncu is None:
        raise FileNotFoundError("ncu is not here; it is a part of Nsight Compute")
    inside = [
        sys.executable,
        "-m",
        "benchmarks.gpu",
        "profile",
        "--inside",
        "--cells",
        ", ".join(c.name for c in cells),
    ]
    options = ["--clock-control", "none", "--profile-from-start", "off", "--set", "full", "--csv", "--page", "raw"]
    done = subprocess.run([ncu, *options, *inside], cwd=ROOT, capture_output=True, text=True, timeout=seconds)
    if done.returncode:
        lines = [line for line in done.stdout.splitlines() if line.startswith("==ERROR==")]
        raise RuntimeError("; ".join(lines) or done.stderr.strip()[-300:] or f"ncu ended with code {done.returncode}")
    return done.stdout


def kernels_of(text: str) -> Iterator[dict[str, str]]:
    """Iterate over the kernels in the table of all metrics. Its second row holds the units."""
    lines = [line for line in text.splitlines() if line.startswith('"')]
    rows = csv.DictReader(io.StringIO("\n".join(lines)))
    next(rows, None)
    yield from rows


def cells_of_kernel(kernel: Mapping[str, str]) -> list[str]:
    """Return a row of the table."""
    found = [f"{factor * float(kernel[metric].replace(',', '')):.1f}" for metric, factor in METRICS.values()]
    waits = {
        name.removeprefix(STALL).removesuffix(OF_STALL): float(value)
        for name, value in kernel.items()
        if name.startswith(STALL) and name.endswith(OF_STALL) and "selected" not in name
    }
    most = sorted(waits.items(), key=lambda wait: -wait[1])[:3]
    return [
        kernel["Kernel Name"],
        kernel["Grid Size"],
        *found,
        ", ".join(f"{name} {ratio:.1f}" for name, ratio in most),
    ]


def render(text: str) -> str:
    """Format the table of all metrics."""
    titles = ["kernel", "grid", *METRICS, "warps that wait, per instruction issued"]
    return table(titles, [cells_of_kernel(kernel) for kernel in kernels_of(text)])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu profile", description=__doc__)
    parser.add_argument("--cells", default=CELLS, help="names of cells, separated by commas")
    parser.add_argument("--seconds", type=float, default=60.0, help="time limit")
    parser.add_argument("--raw", type=Path, help="file for all metrics, as CSV")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    try:
        cells = [cell_of(text.strip()) for text in options.cells.split(",")]
    except ValueError as reason:
        parser.error(f"--cells: {reason}")
    if options.inside:
        call_once(cells)
        return 0
    try:
        text = profiled(cells, options.seconds)
    except (OSError, RuntimeError, subprocess.TimeoutExpired) as reason:
        print(f"benchmarks.gpu profile: {reason}", file=sys.stderr)
        return 1
    if options.raw is not None:
        options.raw.write_text(text)
    print(render(text))
    return 0
