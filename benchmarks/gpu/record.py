"""The results of runs so far, in one JSON file that is always complete, so that the next run can resume."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

SCHEMA = 1
OUTCOMES = ("passed", "failed", "skipped")


@dataclass
class Item:
    """The result of one job of a step."""

    outcome: str
    seconds: float
    notes: list[str] = field(default_factory=list)
    found: dict[str, Any] = field(default_factory=dict)


@dataclass
class Results:
    """The results of one step."""

    items: dict[str, Item] = field(default_factory=dict)
    count: int | None = None
    """The number of jobs, or None until a worker reports it."""
    seconds: float = 0.0
    problem: str | None = None
    """The reason why the remaining jobs did not run."""

    def left(self, most: int | None = None) -> int | None:
        """Return how many of at most this many jobs are left, or None if the number is unknown."""
        return None if self.count is None else max(0, min(self.count, most or self.count) - len(self.items))

    def number(self, outcome: str) -> int:
        return sum(item.outcome == outcome for item in self.items.values())


@dataclass
class Record:
    """All steps by name."""

    path: Path
    steps: dict[str, Results] = field(default_factory=dict)
    date: str = ""

    @classmethod
    def read(cls, path: Path, say: Callable[[str], None]) -> Record:
        """Read the existing record. If the file is not a record, move it away and say so."""
        if not path.exists():
            return cls(path)
        try:
            return record_of(path, json.loads(path.read_text()))
        except (AttributeError, KeyError, TypeError, ValueError) as reason:
            say(f"{path.name}: no results of this version ({type(reason).__name__}: {reason})")
            cls(path).set_aside("unreadable", say)
            return cls(path)

    def set_aside(self, why: str, say: Callable[[str], None]) -> None:
        """Keep the file under another name."""
        aside = self.path.with_suffix(f".{why}.json")
        if self.path.exists():
            self.path.replace(aside)
            say(f"{self.path.name}: kept as {aside.name}; begun anew")

    def write(self) -> None:
        """Write to a new file next to it, then replace it atomically."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        whole = {
            "schema": SCHEMA,
            "date": self.date,
            "steps": {name: asdict(step) for name, step in self.steps.items()},
        }
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(whole, indent=1) + "\n")
        os.replace(part, self.path)

    def found(self, key: str) -> Iterator[Any]:
        """Iterate over the results of this kind in all jobs, in order."""
        for step in self.steps.values():
            for item in step.items.values():
                if key in item.found:
                    yield item.found[key]


def record_of(path: Path, raw: Any) -> Record:
    """Read what :meth:`Record.write` has written."""
    if raw["schema"] != SCHEMA:
        raise ValueError(f"schema {raw['schema']}, expected {SCHEMA}")
    steps = {}
    for name, step in raw["steps"].items():
        items = {key: Item(**item) for key, item in step["items"].items()}
        wrong = {item.outcome for item in items.values()} - set(OUTCOMES)
        if wrong:
            raise ValueError(f"outcome {sorted(wrong)}, expected some of {OUTCOMES}")
        steps[name] = Results(**{**step, "items": items})
    return Record(path, steps, str(raw["date"]))
