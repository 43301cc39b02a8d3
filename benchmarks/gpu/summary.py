"""Print a short summary of a record."""

from __future__ import annotations

from .goals import judged
from .record import Record
from .results import Row, cells, report_of


def summary(record: Record) -> str:
    """Return lines with the device, all times, the memory of calls, and the goals."""
    tools = record.steps["tools"].items.get("tools") if "tools" in record.steps else None
    if tools is None or tools.outcome != "passed":
        return "nothing is known of this machine"
    report = report_of(record)
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    programs = ", ".join(name for name, line in tools.found["programs"].items() if line)
    lines = [f"{report.machine['gpu']}; {versions}; programs: {programs}"]
    if report.rows:
        lines += ["microseconds, beside the floor and a peer", *map(line_of, report.rows)]
        lines += [" | ".join(goal) for goal in judged(report.rows) if goal[-1] != "not measured"]
    kept = list(record.found("extra_memory"))
    if kept:
        lines.append(f"memory that calls keep: {max(kept):.1%} of inputs and outputs at most")
    return "\n".join(lines)


def line_of(row: Row) -> str:
    of_row = cells(row)
    return f"{' '.join(of_row[:5])}: {of_row[5]}, floor {of_row[6]}, eager {of_row[7]}; {of_row[8]} {of_row[9]}"
