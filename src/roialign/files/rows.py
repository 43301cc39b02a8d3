"""Checks the rows of an annotation file: their ids, what they refer to, and their numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from .._text import counted
from .._validate import LARGEST_COORDINATE
from .problems import DatasetError, Problems, RowProblems
from .text import quoted

Row = Mapping[str, Any]
#: The id of a row.
Identity = int | str

ORPHANS = "images or categories that cannot be used"


def value_text(row: Row, name: str) -> str:
    """Format a value of a row for a message."""
    return quoted(row[name]) if name in row else "nothing"


def good_rows(
    path: Path, section: str, rows: Iterable[Any], problems: Problems, check: Callable[[Row, int], dict[str, Any]]
) -> Table:
    """Return the rows as `check` returns them, with unique `id`; rows that raise are added to `problems`.

    Rows that refer to an invalid row are only counted, because that row has been reported.
    """
    table = Table()
    wrong = RowProblems(problems, f"{path}: {section}")
    orphans = 0
    for index, row in enumerate(rows):
        try:
            if not isinstance(row, dict):
                raise DatasetError(f"expected an object, got {quoted(row)}")
            table.add(check(row, index))
        except OrphanError:
            orphans += 1
        except ValueError as error:
            wrong.add(place_of(path, section, index), error)
            if isinstance(row, dict):
                table.refuse(row)
    wrong.end()
    if orphans:
        problems.add(f"{path}: {section}", f"{counted(orphans, 'row refers', 'rows refer')} to {ORPHANS}", orphans)
    return table


def place_of(path: Path, section: str, index: int) -> str:
    """Format the position of a row for a message."""
    return f"{path}: {section}[{index}]"


def identity(row: Row, name: str) -> Identity:
    """Return the id of a row: a whole number or text.

    Raises
    ------
    DatasetError
        If it is neither.
    """
    value = row.get(name)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, (Integral, str)) or value == "":
        raise DatasetError(f"{name}: expected a whole number, got {value_text(row, name)}")
    return value if isinstance(value, str) else int(value)


class OrphanError(DatasetError):
    """A row refers to a row that cannot be used."""


class Table:
    """Rows by their id. The number 7 and the text "7" refer to the same row, unless both are ids."""

    def __init__(self, rows: Iterable[dict[str, Any]] = ()) -> None:
        self.rows: list[dict[str, Any]] = []
        self._by_id: dict[Identity, dict[str, Any]] = {}
        self._refused: set[Identity] = set()
        for row in rows:
            self.add(row)

    def add(self, row: dict[str, Any]) -> None:
        """Add a row.

        Raises
        ------
        DatasetError
            If another row has the same id.
        """
        number = row.get("id")
        if number is not None and self._by_id.setdefault(number, row) is not row:
            raise DatasetError(f"id: {quoted(number)} occurs twice")
        self.rows.append(row)

    def refuse(self, row: Row) -> None:
        """Remember a row that cannot be used."""
        with suppress(DatasetError):
            self._refused.add(identity(row, "id"))

    def find(self, row: Row, name: str, of: str) -> dict[str, Any]:
        """Return the row whose id is ``row[name]``.

        Raises
        ------
        DatasetError
            If there is none.
        """
        wanted = identity(row, name)
        spellings = (wanted, as_number(wanted), str(wanted))
        for spelling in spellings:
            if spelling in self._by_id:
                return self._by_id[spelling]
        if not self._refused.isdisjoint(spellings):
            raise OrphanError(f"{name}: {quoted(row[name])} is among the {of} that cannot be used")
        raise DatasetError(f"{name}: {quoted(row[name])} is not among the {of}")


def as_number(value: Identity) -> Identity:
    """Convert text that is a whole number to a number."""
    plain = isinstance(value, str) and len(value) <= 100 and value.isascii() and value.removeprefix("-").isdigit()
    return int(value) if plain else value


def whole(row: Row, name: str, at_least: int) -> int:
    """Return ``row[name]`` as a whole number of at least `at_least`.

    Raises
    ------
    DatasetError
        If it is not one.
    """
    value = row.get(name)
    number = int(value) if isinstance(value, float) and value.is_integer() else value
    if isinstance(number, bool) or not isinstance(number, int) or number < at_least:
        raise DatasetError(f"{name}: expected a whole number of at least {at_least}, got {value_text(row, name)}")
    return number


def is_number(value: object) -> bool:
    """Whether a value is a finite number of Python or NumPy. Text and booleans are not numbers."""
    plain = value.item() if isinstance(value, np.generic) else value
    return isinstance(plain, (int, float)) and not isinstance(plain, bool) and abs(plain) <= LARGEST_COORDINATE
