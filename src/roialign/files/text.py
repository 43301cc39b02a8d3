"""Reads text, JSON and JSON Lines, with error messages that say what is wrong with the file."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from .kinds import UTF_16, UTF_32, check_readable, what_is
from .problems import FileError

#: The largest number of characters of a value in a message.
MOST_CHARACTERS = 80
JSON_LINES = "with one value per line: convert it to a list with `jq -s . lines.jsonl > list.json`"


class Digest(Protocol):
    """A hash of :mod:`hashlib`."""

    def update(self, data: bytes, /) -> None:
        """Add bytes to the hash."""


def read_text(path: Path, digest: Digest | None = None) -> str:
    """Read a UTF-8 file, with or without a byte-order mark. Its bytes are added to `digest`.

    Raises
    ------
    FileError
        If the file is not UTF-8 text.
    """
    check_readable(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FileError(error.strerror or str(error)) from error
    if digest is not None:
        digest.update(content)
    known = what_is(content)
    if known in (UTF_16, UTF_32):  # which can be valid UTF-8 with zero bytes
        raise FileError(f"not UTF-8 text: it is {known}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        what = f"; it is {known}" if known else ": save it as UTF-8"
        raise FileError(f"not UTF-8 text: byte {error.start}{what}") from error


def lines_of(text: str) -> list[str]:
    r"""The lines of a text, without their ends: ``\n``, ``\r\n`` or ``\r``.

    `str.splitlines` also splits at marks that may stand within a name, such as U+2028.

    >>> lines_of("one\r\ntwo")
    ['one', 'two']
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def read_json(path: Path, digest: Digest | None = None) -> Any:
    """Read a JSON file. Its bytes are added to `digest`.

    Raises
    ------
    FileError
        If the file is not JSON, with the line and column.
    """
    text = read_text(path, digest)
    try:
        return _parsed(text)
    except json.JSONDecodeError as error:
        known = what_is(text[:600].encode(errors="replace"))
        if known:
            raise FileError(f"not JSON: it is {known}") from error
        if _is_json_lines(text):
            raise FileError(f"not JSON: it looks like JSON Lines, {JSON_LINES}") from error
        raise FileError(f"not JSON: line {error.lineno}, column {error.colno}: {error.msg}") from error


def read_json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield the line number, from 1, and the value of each line of a JSON Lines file, skipping empty lines.

    For a line that is not JSON, the value is a :class:`FileError`.

    Raises
    ------
    FileError
        If the file cannot be read as text.
    """
    text = read_text(path)
    known = what_is(text[:600].encode(errors="replace"))
    if known:
        raise FileError(f"not JSON Lines: it is {known}")
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield number, _parsed(line)
        except json.JSONDecodeError as error:
            yield number, FileError(f"not JSON: column {error.colno}: {error.msg}")
        except FileError as error:
            yield number, error


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise
    except RecursionError as error:
        raise FileError("not usable JSON: brackets nested too deeply") from error
    except ValueError as error:  # Python limits the number of digits of an integer
        raise FileError("not usable JSON: a number with thousands of digits") from error


def _is_json_lines(text: str) -> bool:
    """Whether the first two lines are one JSON value each."""
    first, _, rest = text.partition("\n")
    try:
        return all(isinstance(json.loads(line), (dict, list)) for line in (first, rest.partition("\n")[0]))
    except (ValueError, RecursionError):
        return False


class _Short(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxlist, self.maxdict = 3, 6, 6
        self.maxstring = self.maxother = self.maxlong = 60


_short = _Short()


def shown(value: object) -> str:
    """Format a JSON value for a message, shortened if it is long.

    >>> shown("two")
    '"two"'
    """
    try:
        simple = value is None or isinstance(value, (bool, int, float, str))
        small = isinstance(value, (list, dict)) and len(value) <= 20
        text = json.dumps(value, ensure_ascii=False, default=repr) if simple or small else _short.repr(value)
    except (RecursionError, ValueError):
        text = _short.repr(value)
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 3]}..."


def quoted(value: object) -> str:
    """Return the `repr` of a value, shortened if it is long."""
    text = _short.repr(value)
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 3]}..."
