"""Words for messages."""

from __future__ import annotations


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """A number and its noun.

    >>> counted(1, "row"), counted(2, "row"), counted(0, "box", "boxes")
    ('1 row', '2 rows', '0 boxes')
    """
    return f"{count} {noun if count == 1 else plural or f'{noun}s'}"
