"""Text for people: names as they can be shown, and numbers with their nouns."""

from __future__ import annotations


def printable(text: object) -> str:
    """Text without control characters and without what cannot be encoded, as file names may hold."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(text))


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
