"""The results of a run on a CUDA device: as JSON, as lines of a table, and as Markdown for the page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..markdown import table, write_between
from ..workloads import WORKLOADS
from .record import Record, record_of
from .timing import REPEATS

SCHEMA = 1
BEGIN, END = "<!-- gpu:begin -->", "<!-- gpu:end -->"


@dataclass
class Row:
    """One row of the table: our time and one peer's. Times are per call. None means not measured."""

    workload: str
    what: str
    layout: str
    dtype: str
    points: int
    ours_us: float | None
    eager_us: float | None
    """Time of the host for a call outside a CUDA graph."""
    floor_us: float
    """The larger of two times: reading every level once and writing the output once (or the reverse, for the backward
    pass) at the rate of a device copy, and moving every RoI's pixels and bins at the rate of a copy in the L2 cache.
    """
    extra_memory: float | None
    """Memory of our call besides inputs and outputs, as a fraction of them."""
    peer: str = "none"
    peer_us: float | None = None
    peer_eager_us: float | None = None
    notes: list[str] = field(default_factory=list)
    """Why something was not measured."""


TITLES = ["workload", "what", "layout", "type", "points", "ours, us", "floor, us", "eager, us"]
TITLES += ["peer", "its us", "its eager, us", "extra memory"]


@dataclass
class Report:
    """One run on one machine."""

    machine: dict[str, Any]
    versions: dict[str, str]
    date: str
    repeats: int
    rates: dict[str, float]
    """Bytes read and written per microsecond by a device copy, in "memory" and within the "cache"."""
    first_calls: dict[str, dict[str, float]]
    """Seconds, by the state of Triton's cache ("empty", "filled") and by the first call."""
    rows: list[Row] = field(default_factory=list)
    schema: int = SCHEMA

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")


def read_reports(paths: Sequence[Path]) -> Report:
    """Read one report, or several of the same machine and versions: the head of the first, and the rows of all.

    Raises ValueError for anything else.
    """
    reports = [_read(path) for path in paths]
    for path, report in zip(paths, reports, strict=True):
        if (report.machine, report.versions) != (reports[0].machine, reports[0].versions):
            raise ValueError(f"{path.name}: expected the machine and the versions of {paths[0].name}")
    reports[0].rows = [row for report in reports for row in report.rows]
    return reports[0]


def _read(path: Path) -> Report:
    try:
        raw = json.loads(path.read_text())
        if "steps" in raw:  # written by `benchmarks.gpu run`
            return report_of(record_of(path, raw))
        if raw["schema"] != SCHEMA:
            raise ValueError(f"schema {raw['schema']}")
        raw["rows"] = [Row(**row) for row in raw["rows"]]
        return Report(**raw)
    except (KeyError, TypeError, ValueError) as reason:
        raise ValueError(f"{path.name}: expected a GPU report of schema {SCHEMA}: {reason}") from None


def report_of(record: Record) -> Report:
    """The times measured so far by a run in steps."""
    tools = record.steps["tools"].items["tools"].found
    rates = next(record.found("rates"), {"memory": 0.0, "cache": 0.0})
    first_calls = next(record.found("first_calls"), {})
    rows = [Row(**row) for rows in record.found("rows") for row in rows]
    return Report(tools["machine"], tools["versions"], record.date, REPEATS, rates, first_calls, rows)


def heading(report: Report) -> str:
    """The machine, the versions, and what applies to all rows."""
    machine, rates = report.machine, report.rates
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    lines = [
        f"Machine: {machine['gpu']}, {machine['multiprocessors']} multiprocessors, {machine['memory_gb']} GB, "
        f"{machine['cache_mb']} MB of L2 cache, beside {machine['cpu']}; a device copy runs at "
        f"{rates['memory'] / 1e3:.0f} GB/s, within the L2 cache at {rates['cache'] / 1e3:.0f} GB/s "
        "(bytes read and written).",
        f"Versions: {versions}.",
        _first_calls(report.first_calls),
        f"{report.date}; medians of up to {report.repeats}.",
    ]
    return "\n".join(lines)


def _first_calls(seconds: dict[str, dict[str, float]]) -> str:
    if not seconds:
        return "First call in a process: not measured."
    empty, filled = seconds["empty"], seconds["filled"]
    parts = [f"{what} {empty[what]:.2f} s, {filled[what]:.2f} s" for what in empty]
    return (
        "First call in a process (box-test, NHWC, fp16), with an empty Triton cache and with a filled one: "
        f"{'; '.join(parts)}."
    )


def cells(row: Row) -> list[str]:
    return [
        row.workload,
        row.what,
        row.layout,
        row.dtype,
        f"S{row.points}",
        _number(row.ours_us),
        f"{row.floor_us:.1f}{_ratio(row.ours_us, row.floor_us)}",
        _number(row.eager_us),
        row.peer,
        f"{_number(row.peer_us)}{_ratio(row.peer_us, row.ours_us)}",
        f"{_number(row.peer_eager_us)}{_ratio(row.peer_eager_us, row.eager_us)}",
        "-" if row.extra_memory is None else f"{row.extra_memory:.1%}",
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _ratio(value: float | None, base: float | None) -> str:
    return "" if value is None or not base else f" ({value / base:.2f}x)"


def render(report: Report, goals: Sequence[Sequence[str]]) -> str:
    """Return all text between the markers: the goals, and a table for every workload and direction."""
    parts = [
        heading(report),
        *([table(["goal", "worst", "where", ""], goals)] if goals else []),
        "Microseconds per call. Device times come from replays of CUDA graphs. The eager columns show how long the "
        "host takes to enqueue a call. Brackets show our time as a multiple of the floor, and a peer's as a "
        "multiple of ours.",
    ]
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in report.rows:
        groups.setdefault((row.workload, row.what), []).append(row)
    for (workload, what), members in groups.items():
        shape = f" ({WORKLOADS[workload].shape})" if workload in WORKLOADS else ""
        parts += [f"**{workload}, {what}**{shape}", table(TITLES[2:], [cells(row)[2:] for row in members])]
    notes = dict.fromkeys(
        f"- {row.workload}, {row.what}, {row.layout} {row.dtype} S{row.points}: {note}"
        for row in report.rows
        for note in row.notes
    )
    return "\n\n".join([*parts, *(["Not measured:", "\n".join(notes)] if notes else [])]) + "\n"


def write_page(path: Path, report: Report, goals: Sequence[Sequence[str]]) -> None:
    write_between(path, render(report, goals), BEGIN, END)
