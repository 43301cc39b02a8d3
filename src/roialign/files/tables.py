"""Reads tables of text, as spreadsheets and scripts write them: what divides their fields, and their rows by line."""

from __future__ import annotations

import bisect
import csv
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from .problems import FileError
from .text import shown

#: What may divide fields: what the header has most of, the first of them where it has as many of several. Semicolons
#: are Excel's, where the comma is decimal.
DELIMITERS = ",;\t|"
#: Excel's line before the header, which says what divides fields.
EXCEL = re.compile(r'"?sep=(.)"?[,;\s]*', re.IGNORECASE | re.DOTALL)
COMMENT = "#"
#: What looks like a number.
NUMBER = re.compile(r"\s*[+-]?\d[\d.,eE+-]*\s*")
#: A field in quotes may go on for so many lines; where it seems to go on for longer, its quote is one too many.
MOST_LINES = 100
#: So many letters a field may have, as in Python's own reader.
MOST_LETTERS = 131_072


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row below the header."""

    line: int
    """Where it begins, from 1."""
    fields: list[str]
    """Without white space at their ends."""
    wrong: str | None = None
    """Why it cannot be read."""
    is_comment: bool = False
    """Whether it would be a row if it did not begin with ``#``."""


class TextTable:
    """A table with a header, after Excel's ``sep=;`` where that is there, and after comments, which begin with ``#``.

    Raises
    ------
    FileError
        Where the header cannot be read.
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
        """The last comment above the rows, where it has as many fields: some scripts write the header so."""
        above = [number for number in range(first, start) if self._lines[number].strip()]
        if above and self._lines[above[-1]].count(self.delimiter) == header.count(self.delimiter):
            self.commented_header = self._lines[above[-1]].lstrip(f"{COMMENT} ").split(self.delimiter)
            self._first_row = start

    def use_comment(self) -> None:
        """Take the comment above the first line for the header."""
        assert self.commented_header is not None
        self.header, self._below = [name.strip() for name in self.commented_header], self._first_row

    def rows(self) -> Iterator[TableRow]:
        """The rows in their order; empty lines and comments are passed over."""
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
        """The line after the row that begins here, its fields, and what is wrong with it."""
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
        if longest > MOST_LETTERS:
            return number + 1, [], f"expected fields of at most {MOST_LETTERS} letters, found one of {longest}"
        return number + 1, [field.strip() for field in fields], None

    def _quoted_fields(self, number: int) -> tuple[int, list[str]]:
        """The line after the row, and its fields, of which one in quotes may go on in the lines below."""
        first, last = (bisect.bisect_left(self._quoted, line) for line in (number, number + MOST_LINES))
        for end in self._quoted[first:last]:
            if any(self._is_row(line) for line in self._lines[number + 1 : end + 1]):
                break  # a quote too many, and not a field that goes on for several rows
            try:
                return end + 1, self._parsed("\n".join(self._lines[number : end + 1]))
            except csv.Error as error:
                if "field limit" in str(error):
                    raise csv.Error(f"expected fields of at most {MOST_LETTERS} letters, found a longer one") from None
                if "unexpected end of data" not in str(error):
                    raise csv.Error("letters behind the quote that ends a field") from None
        raise csv.Error("a quote that is not closed")

    def _parsed(self, text: str) -> list[str]:
        return next(csv.reader([text], delimiter=self.delimiter, strict=True, skipinitialspace=True))

    def _is_row(self, line: str) -> bool:
        """Whether a line is a row by itself: of as many fields as the header, most of them numbers."""
        fields = line.split(self.delimiter)
        numbers = sum(bool(NUMBER.fullmatch(field)) for field in fields)
        return len(fields) == len(self.header) and numbers >= 4


class Numbers:
    """Reads the numbers of a table.

    Between semicolons the comma may be decimal, as Excel writes it in many countries. A table has one decimal sign: a
    comma between thousands is not taken for one where others have a point.
    """

    def __init__(self, delimiter: str) -> None:
        self._decimal = None if delimiter == ";" else "."

    def number(self, name: str, text: str) -> float:
        """The number of a field of the column `name`.

        Raises
        ------
        FileError
            Where it is none.
        """
        if self._decimal is None:
            self._decimal = next((sign for sign in ".," if sign in text), None)
        if "_" not in text and not (self._decimal == "," and "." in text):  # Python reads over the first
            with suppress(ValueError):
                return float(text.replace(",", ".") if self._decimal == "," else text)
        raise FileError(f"{name}: expected a number, found {shown(text)}")
