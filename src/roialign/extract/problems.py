"""What went wrong with a file or a row, collected so that the others are still done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that could not be done."""

    where: str
    """The file, and the row where there is one."""
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass
class Problems:
    """The problems of a run, in the order in which they were met."""

    listener: Callable[[Problem], None] | None = None
    """Told of every problem at once."""
    found: list[Problem] = field(default_factory=list)

    def add(self, where: object, what: object) -> None:
        problem = Problem(str(where), str(what))
        self.found.append(problem)
        if self.listener is not None:
            self.listener(problem)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)
