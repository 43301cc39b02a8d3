"""Formatting of text for messages: printable names, and numbers with nouns."""

from __future__ import annotations

import re
from collections.abc import Mapping

#: The characters that some reader of text treats as line breaks.
LINE_BREAKS = re.compile("[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")

#: How `encodable` writes a byte of a file name that is not UTF-8.
ESCAPED_BYTES = re.compile(r"\\u(dc[89a-f][0-9a-f])")


def printable(text: object) -> str:
    """Replace control characters and characters that cannot be encoded, which file names may contain."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(text))


def one_line(text: object) -> str:
    """Escape line breaks, which file names may contain.

    >>> one_line("a\\nb.png")
    'a\\\\nb.png'
    """
    return LINE_BREAKS.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))


def cut(text: str, length: int) -> str:
    """Shorten a text to at most `length` characters."""
    return text if len(text) <= length else f"{text[: length - 3]}..."


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """A number followed by its noun, in the singular or plural.

    >>> counted(1, "row"), counted(2, "row"), counted(0, "box", "boxes")
    ('1 row', '2 rows', '0 boxes')
    """
    return f"{count} {noun if count == 1 else plural or f'{noun}s'}"


def with_names(message: str, names: Mapping[str, str]) -> str:
    """Replace the names of arguments that a message begins with, if all of them are in `names`.

    >>> with_names("size, overlap: expected less", {"size": "--patch-size", "overlap": "--patch-overlap"})
    '--patch-size, --patch-overlap: expected less'
    """
    start, colon, rest = message.partition(":")
    given = start.split(", ")
    return f"{', '.join(names[name] for name in given)}{colon}{rest}" if names.keys() >= set(given) else message


def encodable(text: str) -> str:
    """Escape what UTF-8 cannot encode, such as parts of file names in other encodings."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def decoded(text: str) -> str:
    r"""Undo :func:`encodable` for parts of file names in other encodings.

    >>> decoded(encodable("caf\udce9.png")) == "caf\udce9.png"
    True
    """
    return ESCAPED_BYTES.sub(lambda found: chr(int(found[1], 16)), text)
