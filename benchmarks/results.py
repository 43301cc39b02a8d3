"""The results of a run as data, written to JSON and read back."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .cases import Case
from .peers import Entry
from .summary import Summary

SCHEMA = 1


@dataclass
class Measurement:
    """One implementation on one case: a summary, or the reason why there is none."""

    entry: Entry
    status: str  # "measured", "wrong answer", "unsupported" or "failed"
    error: float | None = None
    tolerance: float | None = None
    summary: Summary | None = None
    note: str = ""
    details: dict[str, str] = field(default_factory=dict)


@dataclass
class Floor:
    """The memory floor of a case, for any layout."""

    case: Case
    compulsory_bytes: int
    milliseconds: float


@dataclass
class Report:
    """One run on one machine."""

    machine: dict[str, Any]
    versions: dict[str, str]
    settings: dict[str, Any]
    bandwidth: dict[str, float] = field(default_factory=dict)  # bytes per second by number of threads
    measurements: list[Measurement] = field(default_factory=list)
    floors: list[Floor] = field(default_factory=list)
    not_measured: dict[str, str] = field(default_factory=dict)  # reasons by peer
    schema: int = SCHEMA

    def find(self, peer: str, case: Case, output: str | None = None) -> Measurement | None:
        """Return the measurement of an implementation on exactly this case, with either kind of output if None."""
        for measurement in self.measurements:
            entry = measurement.entry
            if entry.peer == peer and entry.case == case and output in (None, entry.output):
                return measurement
        return None

    def floor(self, case: Case) -> Floor | None:
        return next((floor for floor in self.floors if floor.case == case), None)

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")


def read_report(path: Path) -> Report:
    """Read a report. Raises ValueError if the file is not a report."""
    raw = json.loads(path.read_text())
    if not isinstance(raw, dict) or raw.get("schema") != SCHEMA:
        raise ValueError(f"{path.name}: expected a report of schema {SCHEMA}")
    try:
        raw["measurements"] = [_measurement(item) for item in raw["measurements"]]
        raw["floors"] = [Floor(**{**item, "case": Case(**item["case"])}) for item in raw["floors"]]
        return Report(**raw)
    except (KeyError, TypeError) as reason:
        raise ValueError(f"{path.name}: expected a report of schema {SCHEMA}: {reason}") from None


def _measurement(raw: dict[str, Any]) -> Measurement:
    entry = Entry(**{**raw["entry"], "case": Case(**raw["entry"]["case"])})
    summary = None if raw["summary"] is None else Summary(**raw["summary"])
    return Measurement(**{**raw, "entry": entry, "summary": summary})
