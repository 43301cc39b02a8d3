"""Collects errors in files and rows, so that the remaining files and rows are still processed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from .._text import counted, one_line

#: The number of remarks of one kind to report. Further ones are only counted.
MOST_REMARKS = 10
#: The number of rows of one file to report. Further ones are only counted.
MOST_NAMED = 1000


class FileError(ValueError):
    """A file or a part of it cannot be used. The message says why."""


class DatasetError(FileError):
    """A dataset or a part of it cannot be used. The message names the file and the row."""


class StoppedByProblem(Exception):  # noqa: N818 - the problem has been reported already
    """The run stops at the first problem, because the user asked for it."""


class DataWarning(UserWarning):
    """Something in the data was left out, or was ambiguous."""


class Remark(NamedTuple):
    """A note about a file that was read, which the user should check."""

    what: str
    kind: str
    """The kind of the remark. The number of reported remarks of each kind is limited."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A file or row that could not be used, or a remark about one."""

    where: str
    """The file and, if known, the row."""
    what: str
    kind: str = ""
    """The kind of a remark."""
    rows: int = 1
    """The number of files or rows that it is about."""

    def __str__(self) -> str:
        return one_line(f"{self.where}: {self.what}")


@dataclass
class Problems:
    """The problems and remarks of a run, in the order in which they occurred.

    A problem is something that was left out. A remark is about something that was used but that the user should check.
    Remarks do not count as problems.
    """

    listener: Callable[[Problem], None] | None = None
    """Called with each problem."""
    remark_listener: Callable[[Problem], None] | None = None
    """Called with the first remarks of each kind."""
    found: list[Problem] = field(default_factory=list)
    remarks: list[Problem] = field(default_factory=list)
    strict: bool = False
    """Whether the first problem raises :class:`StoppedByProblem`."""
    places: dict[str, str] = field(default_factory=dict)
    """The names to report for files that came from a list: the list, the line and the file."""
    _kinds: Counter[str] = field(default_factory=Counter)
    _known: set[Problem] = field(default_factory=set)

    def add(self, where: object, what: object, rows: int = 1) -> None:
        """Add a problem of some files or rows, unless it is known already because the file was read twice.

        Raises
        ------
        StoppedByProblem
            If `strict`.
        """
        problem = Problem(self.places.get(str(where), str(where)), str(what), rows=rows)
        if problem in self._known:
            return
        self._known.add(problem)
        self.found.append(problem)
        if self.listener is not None:
            self.listener(problem)
        if self.strict:
            raise StoppedByProblem(problem)

    def remark(self, where: object, what: object, kind: str) -> None:
        """Add a remark, unless it is known already."""
        remark = Problem(self.places.get(str(where), str(where)), str(what), kind)
        if remark in self._known:
            return
        self._known.add(remark)
        self.remarks.append(remark)
        self._kinds[kind] += 1
        if self.remark_listener is None or self._kinds[kind] > MOST_REMARKS:
            return
        self.remark_listener(remark)
        if self._kinds[kind] == MOST_REMARKS:
            self.remark_listener(Problem(remark.where, f"more remarks of this kind ({kind}) are not shown"))

    def include(self, others: Problems) -> None:
        """Add the problems and remarks of another collection."""
        for problem in others.found:
            self.add(problem.where, problem.what, problem.rows)
        for remark in others.remarks:
            self.remark(remark.where, remark.what, remark.kind)

    def __getstate__(self) -> dict[str, object]:
        """Return the state without the listeners, which stay in this process."""
        return {**self.__dict__, "listener": None, "remark_listener": None}

    def __iter__(self) -> Iterator[Problem]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)


class RowProblems:
    """The problems of the rows of one file or section, of which only the first `MOST_NAMED` are reported."""

    def __init__(self, problems: Problems, place: object) -> None:
        self._problems, self._place = problems, place
        self._count = 0

    def add(self, where: object, what: object) -> None:
        """Add a row that was left out."""
        self._count += 1
        if self._count <= MOST_NAMED:
            self._problems.add(where, what)

    def end(self) -> None:
        """Report the number of further rows."""
        more = self._count - MOST_NAMED
        if more > 0:
            self._problems.add(self._place, f"{counted(more, 'more row')} cannot be used", more)
