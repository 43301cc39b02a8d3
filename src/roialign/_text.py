"""Text for people: names as they can be shown."""

from __future__ import annotations


def printable(text: object) -> str:
    """Text without control characters and without what cannot be encoded, as file names may hold."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(text))


def cut(text: str, length: int) -> str:
    """Text of at most so many letters."""
    return text if len(text) <= length else f"{text[: length - 3]}..."
