"""What went wrong with a file or a row, collected so that the others are still done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from .._text import one_line

#: So many remarks of one kind are told; the others are counted.
MOST_REMARKS = 10
#: So many rows of a file are named; the others are counted.
MOST_NAMED = 1000


class FileError(ValueError):
    """A file, or a part of it, cannot be used; the message says why."""


class DatasetError(FileError):
    """A data set, or a part of it, cannot be used; the message names the file and the row."""


class Refused(Exception):  # noqa: N818 - nothing has failed: a user has asked for it
    """What is wrong has been told, and nothing may be left out."""


class DataWarning(UserWarning):
    """Something in the data was left out, or was read in one of two ways that it can be meant."""


class Remark(NamedTuple):
    """Something to look at about a file that was read."""

    what: str
    kind: str
    """What remarks of one kind have in common."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that could not be done."""

    where: str
    """The file, and the row where there is one."""
    what: str
    kind: str = ""
    """What remarks of one kind have in common."""

    def __str__(self) -> str:
        return one_line(f"{self.where}: {self.what}")


@dataclass
class Problems:
    """The problems of a run, in the order in which they were met.

    A problem is something that was left out. A remark is something that was done, but that its owner should look at;
    it is told and not counted.
    """

    listener: Callable[[Problem], None] | None = None
    """Told of every problem at once."""
    remark_listener: Callable[[Problem], None] | None = None
    """Told of the first remarks of every kind at once."""
    found: list[Problem] = field(default_factory=list)
    remarks: list[Problem] = field(default_factory=list)
    strict: bool = False
    """Whether the first problem ends the run: :class:`Refused`."""
    places: dict[str, str] = field(default_factory=dict)
    """How files are named that a list has named: with the list and the line."""
    _kinds: Counter[str] = field(default_factory=Counter)
    _told: set[Problem] = field(default_factory=set)

    def add(self, where: object, what: object) -> None:
        """Something that was left out; the same thing again, of a file that is read twice, is not added again.

        Raises
        ------
        Refused
            Where nothing may be left out.
        """
        problem = Problem(self.places.get(str(where), str(where)), str(what))
        if problem in self._told:
            return
        self._told.add(problem)
        self.found.append(problem)
        if self.listener is not None:
            self.listener(problem)
        if self.strict:
            raise Refused(problem)

    def remark(self, where: object, what: object, kind: str) -> None:
        """Something to look at; remarks of one kind are alike."""
        remark = Problem(self.places.get(str(where), str(where)), str(what), kind)
        if remark in self._told:
            return
        self._told.add(remark)
        self.remarks.append(remark)
        self._kinds[kind] += 1
        if self.remark_listener is None or self._kinds[kind] > MOST_REMARKS:
            return
        self.remark_listener(remark)
        if self._kinds[kind] == MOST_REMARKS:
            self.remark_listener(Problem(remark.where, f"more remarks of this kind ({kind}) are not shown"))

    def include(self, others: Problems) -> None:
        """Add what others have collected."""
        for problem in others.found:
            self.add(problem.where, problem.what)
        for remark in others.remarks:
            self.remark(remark.where, remark.what, remark.kind)

    def __getstate__(self) -> dict[str, object]:
        """For another process, which has nobody to tell."""
        return {**self.__dict__, "listener": None, "remark_listener": None}

    def __iter__(self) -> Iterator[Problem]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)


class RowProblems:
    """The problems of the rows of one file, or of a part of it: a mistake that is in every row is not told forever."""

    def __init__(self, problems: Problems, place: object) -> None:
        self._problems, self._place = problems, place
        self._count = 0

    def add(self, where: object, what: object) -> None:
        """A row that was left out."""
        self._count += 1
        if self._count <= MOST_NAMED:
            self._problems.add(where, what)

    def end(self) -> None:
        """How many were not named."""
        if self._count > MOST_NAMED:
            self._problems.add(self._place, f"{self._count - MOST_NAMED} more rows cannot be used")
