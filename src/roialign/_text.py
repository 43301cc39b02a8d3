"""Text for people: names as they can be shown, and numbers with their nouns."""

from __future__ import annotations

import re

#: What ends a line for some reader of text.
LINE_BREAKS = re.compile("[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")


def printable(text: object) -> str:
    """Text without control characters and without what cannot be encoded, as file names may hold."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(text))


def one_line(text: object) -> str:
    """Text whose line breaks, as a file name may hold, stand as escapes.

    >>> one_line("a\\nb.png")
    'a\\\\nb.png'
    """
    return LINE_BREAKS.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))


def cut(text: str, length: int) -> str:
    """Text of at most so many letters."""
    return text if len(text) <= length else f"{text[: length - 3]}..."


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """A number and its noun.

    >>> counted(1, "row"), counted(2, "row"), counted(0, "box", "boxes")
    ('1 row', '2 rows', '0 boxes')
    """
    return f"{count} {noun if count == 1 else plural or f'{noun}s'}"


def encodable(text: str) -> str:
    """Text that UTF-8 can hold: what it cannot, as parts of file names in other encodings, stands as an escape."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
