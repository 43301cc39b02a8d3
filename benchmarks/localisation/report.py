"""The report of a run: all figures of all results in one file, from which the page is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from roialign.files.writing import atomic_write

from .statistics import Result

KEPT = ("AP", "AP_small", "AP_medium", "AP_large")
#: The parts of a report that have one line per item.
LISTS = ("results", "equivariance")


def compact(result: Result) -> Result:
    """Return a result with only the figures that the page shows, in four digits."""
    small = {name: result[name] for name in ("set", "stride", "seed", "pooler")}
    for kind, figures in result.items():
        if not isinstance(figures, dict):
            continue
        small[kind] = {name: _rounded(figures[name]) for name in KEPT if name in figures}
        small[kind]["AP_by_iou"] = {name: _rounded(value) for name, value in figures["AP_by_iou"].items()}
    return small


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def write_report(path: Path, report: dict[str, Any]) -> None:
    """Write one line per result, so that two versions can be compared line by line."""
    head = {name: value for name, value in report.items() if name not in LISTS}
    parts = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in head.items()]
    for name in LISTS:
        if name not in report:
            continue
        rows = ",\n".join(json.dumps(row, separators=(",", ":")) for row in report[name])
        parts.append(f"{json.dumps(name)}: [\n{rows}\n]")
    with atomic_write(path) as file:
        file.write(("{\n" + ",\n".join(parts) + "\n}\n").encode())


def read_report(path: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(path.read_text())
    return report
