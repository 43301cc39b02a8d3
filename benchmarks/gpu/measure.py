"""Measure the standard workloads on a CUDA device: ours, torchvision's CUDA operators, torch's einsum, a device copy.

    python -m benchmarks.gpu [--workloads box-test,c4,points] [--json gpu.json]
    python -m benchmarks.gpu --from-json gpu.json --write-docs

"points" means the operators of the pointwise family (benchmarks/gpu/points.py), compared with torchvision's.

Every call is captured in a CUDA graph over several sets of inputs, which are larger than the L2 cache. The results are
medians of replays, timed with events. A peer that cannot be captured, such as torchvision's deterministic mode, is
timed directly with events. "Eager" times are those in which the host enqueues one uncaptured call. Before anything is
timed, results are compared with our float64 results of the same run. A failure is recorded, and the run continues.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from ..markdown import line, table
from ..pages import GPU
from ..workloads import WORKLOADS
from . import first_call
from . import points as of_points
from .calls import DTYPES, Inputs, check, check_peer, einsum_calls, ours, torchvision_calls
from .cells import WORKLOAD_NAMES, Cell, cells_of
from .device import workload_of
from .goals import judged
from .results import TITLES, Report, Row, cells, heading, read_reports, render, write_page
from .timing import (
    REPEATS,
    Rates,
    Times,
    attempt,
    deterministic,
    device_microseconds,
    extra_memory,
    host_microseconds,
    measure_rates,
    times_of,
)
from .tools import machine_here, versions_here

WANTED = (*WORKLOAD_NAMES, "points")

#: The default peer.
PEERS = ("torchvision", "einsum", "torchvision, deterministic")


def measure_cell(cell: Cell, rates: Rates, has_torchvision: bool, wanted: Sequence[str] = PEERS) -> Iterator[Row]:
    """Return a row for every available peer, or one without a peer."""
    inputs = Inputs(workload_of(cell.workload), DTYPES[cell.dtype], cell.layout == "NHWC")
    points, backward = cell.points, cell.backward
    floor = max(inputs.bytes / rates.memory, inputs.footprint / rates.cache)
    call = ours(inputs, points, backward)
    answer, wrong = attempt(lambda: check(inputs, points, backward))
    own, failed = (None, []) if wrong else attempt(lambda: times_of(call, inputs.sets))
    extra = None if own is None else extra_memory(call, inputs.bytes)
    times = own or (None, None)
    of_ours = (cell.workload, cell.what, cell.layout, cell.dtype, points, *times, floor, extra)

    def beside(make: Callable[..., Any]) -> Times:
        peer = make(inputs, points, backward)
        if answer is not None:
            check_peer(peer, answer, inputs.dtype)
        return times_of(peer.call, inputs.sets)

    peers: dict[str, Callable[[], Times]] = {}
    if has_torchvision and cell.dtype != "bf16":
        peers["torchvision"] = lambda: beside(torchvision_calls)
    if len(inputs.scales) == 1:
        peers["einsum"] = lambda: beside(einsum_calls)
    if backward and "torchvision" in peers:
        peers["torchvision, deterministic"] = lambda: in_deterministic_mode(inputs, points)
    peers = {name: time for name, time in peers.items() if name in wanted}
    if not peers:
        yield Row(*of_ours, notes=[*wrong, *failed])
    for peer, time in peers.items():
        its, reason = attempt(time)
        notes = [*wrong, *failed, *(f"{peer}: {why}" for why in reason)]
        yield Row(*of_ours, peer, *(its or (None, None)), notes)


def in_deterministic_mode(inputs: Inputs, points: int) -> Times:
    """Measure the backward of torchvision's deterministic mode, which torch compiles from basic operators. It uses one
    set of inputs, because it moves far more than fits into the L2 cache."""
    with deterministic():
        call = torchvision_calls(inputs, points, True, sets=1).call
        return Times(device_microseconds(call, 1, captured=False), host_microseconds(call, 1))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--workloads", default=",".join(WANTED), help="workload names, separated by commas")
    parser.add_argument("--json", type=Path, help="file for all results")
    parser.add_argument("--from-json", type=Path, nargs="+", help="show these results instead of measuring")
    parser.add_argument("--write-docs", action="store_true", help="write the tables of docs/performance/gpu.md")
    options = parser.parse_args(arguments)
    unknown = set(options.workloads.split(",")) - {*WORKLOADS, "points"}
    if unknown:
        parser.error(f"--workloads: expected names among {', '.join(WORKLOADS)}, got {', '.join(sorted(unknown))}")
    if options.from_json:
        try:
            report = read_reports(options.from_json)
        except (OSError, ValueError) as reason:
            parser.error(f"--from-json: {reason}")
        print(render(report, []))
    elif torch.cuda.is_available():
        report = run(options.workloads.split(","), options.json)
    else:
        print("benchmarks.gpu: torch sees no CUDA device here, so nothing was measured", file=sys.stderr)
        return 1
    print("\n" + "\n".join(" | ".join(goal) for goal in judged(report.rows)))
    if options.write_docs:
        write_page(GPU, report, judged(report.rows))
    return int(any(row.ours_us is None for row in report.rows))


def run(workloads: Sequence[str], json_path: Path | None) -> Report:
    """Measure and print. After every line, write all results so far."""
    first_calls, _ = attempt(first_call.in_new_processes)
    # Derivatives run on the stream of their call, and the default stream cannot be captured, so everything runs on one
    # stream.
    with torch.cuda.stream(torch.cuda.Stream()):
        rates = measure_rates()
        versions = versions_here()
        if "torchvision" not in versions:
            print("benchmarks.gpu: torchvision is not installed: not measured", file=sys.stderr)
        today = datetime.now(timezone.utc).date().isoformat()
        report = Report(machine_here(), versions, today, REPEATS, rates._asdict(), first_calls or {})
        print(heading(report) + "\n")
        print(table(TITLES, []))
        for row in measure_all(workloads, rates, "torchvision" in versions):
            report.rows.append(row)
            print(line(cells(row)), flush=True)
            if json_path is not None:
                report.write(json_path)
    return report


def measure_all(workloads: Iterable[str], rates: Rates, has_torchvision: bool) -> Iterator[Row]:
    for name in workloads:
        if name == "points":
            yield from of_points.measure(rates)
        else:
            for cell in cells_of([name]):
                yield from measure_cell(cell, rates, has_torchvision)
