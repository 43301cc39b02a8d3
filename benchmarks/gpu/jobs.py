"""The jobs of the workers besides tests, by kind and name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import cache, partial
from typing import Any

import torch

from . import first_call, points, tools, tune
from .calls import DTYPES, Inputs, check, ours
from .cells import WORKLOAD_NAMES, Cell, first_cells, other_cells
from .device import workload_of
from .measure import measure_cell
from .results import Row
from .timing import Rates, extra_memory, measure_rates

Job = Callable[[], dict[str, Any]]
CELLS = {"first": first_cells, "other": other_cells}


@cache
def rates() -> Rates:
    return measure_rates()


def on_a_stream(job: Job) -> Job:
    """Run on a new stream. Derivatives run on the stream of their call, and the default stream cannot be captured."""

    def run() -> dict[str, Any]:
        with torch.cuda.stream(torch.cuda.Stream()):
            return job()

    return run


def of_tools() -> dict[str, Job]:
    return {"tools": lambda: {"found": tools.found()}}


def of_answers() -> dict[str, Job]:
    """Check results at real sizes. This also compiles the kernels for the later measurements, in all workers in
    parallel."""
    return {cell.name: partial(answer, cell) for cell in first_cells()}


def answer(cell: Cell) -> dict[str, Any]:
    check(inputs_of(cell), cell.points, cell.backward)
    return {}


def inputs_of(cell: Cell) -> Inputs:
    return Inputs(workload_of(cell.workload), DTYPES[cell.dtype], cell.layout == "NHWC", sets=1)


def of_speed(which: str, *peers: str) -> dict[str, Job]:
    """Measure the rates of copies, and cells with some peers."""
    jobs: dict[str, Job] = {"rates": lambda: {"found": {"rates": rates()._asdict()}}}
    for cell in CELLS[which]():
        jobs[cell.name] = partial(speed, cell, peers)
    return {name: on_a_stream(job) for name, job in jobs.items()}


def speed(cell: Cell, peers: tuple[str, ...]) -> dict[str, Any]:
    return reply_of(list(measure_cell(cell, rates(), tools.has("torchvision"), peers)))


def reply_of(rows: list[Row]) -> dict[str, Any]:
    """Report a cell. It fails without a time of ours; a missing time of a peer is a note."""
    notes = list(dict.fromkeys(note for row in rows for note in row.notes))
    has_failed = any(row.ours_us is None for row in rows)
    found = {"rows": [asdict(row) for row in rows]}
    return {"outcome": "failed" if has_failed else "passed", "notes": notes, "found": found}


def of_operators() -> dict[str, Job]:
    """Measure the operators of the pointwise family."""
    jobs = {}
    for operator, layout, dtype, backward in points.cells():
        name = f"{operator.name} {'backward' if backward else 'forward'} {layout} {dtype}"
        jobs[name] = on_a_stream(partial(operator_speed, operator, layout, dtype, backward))
    return jobs


def operator_speed(operator: points.Operator, layout: str, dtype: str, backward: bool) -> dict[str, Any]:
    return reply_of([points.measure_cell(operator, layout, dtype, backward, rates())])


def of_deterministic() -> dict[str, Job]:
    """Measure box-train with torchvision's deterministic mode, which torch compiles first. This takes seconds."""
    cells = [Cell("box-train", True, "NCHW", dtype, 2) for dtype in ("fp32", "fp16")]
    peers = ("torchvision, deterministic",)
    return {f"{cell.name} deterministic": on_a_stream(partial(speed, cell, peers)) for cell in cells}


def of_memory() -> dict[str, Job]:
    """Measure the memory of calls besides inputs and outputs, as a fraction of them."""
    cells = [
        Cell(workload, backward, layout, dtype, 2)
        for workload in WORKLOAD_NAMES
        for layout, dtype in (("NHWC", "fp16"), ("NCHW", "fp32"))
        for backward in (False, True)
    ]
    return {cell.name: partial(memory, cell) for cell in cells}


def memory(cell: Cell) -> dict[str, Any]:
    inputs = inputs_of(cell)
    call = ours(inputs, cell.points, cell.backward)
    call(0)
    return {"found": {"extra_memory": extra_memory(call, inputs.bytes)}}


def of_first_calls() -> dict[str, Job]:
    return {"first calls": lambda: {"found": {"first_calls": first_call.in_new_processes()}}}


JOBS: dict[str, Callable[..., dict[str, Job]]] = {
    "tools": of_tools,
    "answers": of_answers,
    "speed": of_speed,
    "operators": of_operators,
    "deterministic": of_deterministic,
    "memory": of_memory,
    "first-calls": of_first_calls,
    "tune": tune.jobs,
}
