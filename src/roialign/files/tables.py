"""Reads text tables as spreadsheets and scripts write them, with automatic detection of the delimiter."""

from __future__ import annotations

import bisect
import csv
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from .problems import FileError
from .text import shown

#: The possible delimiters. The one that occurs most often in the header is used; of equally frequent ones, the first.
#: Excel uses semicolons in countries with a decimal comma.
DELIMITERS = ",;\t|"
#: The line that Excel may write before the header to give the delimiter.
EXCEL = re.compile(r'"?sep=(.)"?[,;\s]*', re.IGNORECASE | re.DOTALL)
COMMENT = "#"
#: Matches text that looks like a number.
NUMBER = re.compile(r"\s*[+-]?\d[\d.,eE+-]*\s*")
#: The largest number of lines of a quoted field. If a field seems longer, its quote is treated as a mistake.
MOST_LINES = 100
#: The largest number of characters of a field, as in Python's `csv`.
MOST_CHARACTERS = 131_072


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row below the header."""

    line: int
    """The number of its first line, from 1."""
    fields: list[str]
    """Without leading and trailing white space."""
    wrong: str | None = None
    """Why the row cannot be read."""
    is_comment: bool = False
    """Whether it would be a row if it did not begin with ``#``."""


class TextTable:
    """A table with a header. Excel's line ``sep=;`` and comments, which begin with ``#``, may precede the header.

    Raises
    ------
    FileError
        If the header cannot be read.
    """

    def __init__(self, text: str) -> None:
        self._lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self._quoted = [number for number, line in enumerate(self._lines) if '"' in line]
        excel = EXCEL.fullmatch(self._lines[0])
        first = 1 if excel else 0
        start = next((number for number in range(first, len(self._lines)) if self._is_used(number)), first)
        header = self._lines[start] if start < len(self._lines) else ""
        self.delimiter = excel[1] if excel else max(DELIMITERS, key=header.count)
        self.header: list[str] = []
        self.header, self._below = self._header(start)
        self.commented_header: list[str] | None = None
        """The last comment above the rows, if it has the same number of fields. Some scripts comment out the header."""
        above = [number for number in range(first, start) if self._lines[number].strip()]
        if above and self._lines[above[-1]].count(self.delimiter) == header.count(self.delimiter):
            self.commented_header = self._lines[above[-1]].lstrip(f"{COMMENT} ").split(self.delimiter)
            self._first_row = start

    def use_comment(self) -> None:
        """Use the comment above the first line as the header."""
        assert self.commented_header is not None
        self.header, self._below = [name.strip() for name in self.commented_header], self._first_row

    def rows(self) -> Iterator[TableRow]:
        """Yield the rows in order, skipping empty lines and comments."""
        number = self._below
        while number < len(self._lines):
            line, at = self._lines[number].strip(), number
            if not line or line.startswith(COMMENT):
                number += 1
                if line.count(self.delimiter) == len(self.header) - 1 and self._is_row(line.lstrip(f"{COMMENT} ")):
                    yield TableRow(at + 1, [], is_comment=True)
                continue
            number, fields, wrong = self._fields(at)
            if wrong is not None or any(fields):
                yield TableRow(at + 1, fields, wrong)

    def _header(self, start: int) -> tuple[list[str], int]:
        if start >= len(self._lines):
            return [], start
        below, names, wrong = self._fields(start)
        if wrong is not None:
            raise FileError(f"line {start + 1}: {wrong}")
        return names, below

    def _is_used(self, number: int) -> bool:
        line = self._lines[number].strip()
        return bool(line) and not line.startswith(COMMENT)

    def _fields(self, number: int) -> tuple[int, list[str], str | None]:
        """Return the index of the line after the row, the fields of the row, and why it cannot be read."""
        line = self._lines[number]
        if '"' not in line:
            fields = line.split(self.delimiter)
        else:
            try:
                end, fields = self._quoted_fields(number)
            except csv.Error as error:
                return number + 1, [], str(error)
            number = end - 1
        longest = max(map(len, fields))
        if longest > MOST_CHARACTERS:
            return number + 1, [], f"expected fields of at most {MOST_CHARACTERS} characters, found one of {longest}"
        return number + 1, [field.strip() for field in fields], None

    def _quoted_fields(self, number: int) -> tuple[int, list[str]]:
        """Return the index of the line after the row, and its fields. Quoted fields may span several lines."""
        first, last = (bisect.bisect_left(self._quoted, line) for line in (number, number + MOST_LINES))
        for end in self._quoted[first:last]:
            below = self._lines[number + 1 : end + 1]
            inside = [*below[:-1], *(line.partition('"')[0] for line in below[-1:])]  # the field may end in this line
            if any(map(self._is_row, inside)):
                break  # a stray quote, because a quoted field does not contain rows
            try:
                return end + 1, self._parsed("\n".join(self._lines[number : end + 1]))
            except csv.Error as error:
                if "field limit" in str(error):
                    raise csv.Error(
                        f"expected fields of at most {MOST_CHARACTERS} characters, found a longer one"
                    ) from None
                if any(map(self._is_row, below)):
                    break  # a stray quote, and the row below has quotes, too
                if "unexpected end of data" not in str(error):
                    raise csv.Error("characters after a closing quote") from None
        raise csv.Error("a quote that is not closed")

    def _parsed(self, text: str) -> list[str]:
        return next(csv.reader([text], delimiter=self.delimiter, strict=True, skipinitialspace=True))

    def _is_row(self, line: str) -> bool:
        """Whether a line is a complete row: it has as many fields as the header, and at least four numbers."""
        fields = line.split(self.delimiter)
        numbers = sum(bool(NUMBER.fullmatch(field)) for field in fields)
        return len(fields) == len(self.header) and numbers >= 4


class Numbers:
    """Parses the numbers of a table.

    If the delimiter is a semicolon, the decimal separator may be a comma, as Excel writes it in many countries. The
    first separator that occurs is used for the whole table, so that a comma between thousands is not misread.
    """

    def __init__(self, delimiter: str) -> None:
        self._decimal = None if delimiter == ";" else "."

    def number(self, name: str, text: str) -> float:
        """Parse a field of the column `name`.

        Raises
        ------
        FileError
            If it is not a number.
        """
        if self._decimal is None:
            self._decimal = next((sign for sign in ".," if sign in text), None)
        if "_" not in text and not (self._decimal == "," and "." in text):  # float() ignores underscores
            with suppress(ValueError):
                return float(text.replace(",", ".") if self._decimal == "," else text)
        raise FileError(f"{name}: expected a number, found {shown(text)}")
