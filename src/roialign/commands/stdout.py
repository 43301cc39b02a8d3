"""Standard output that marks the errors of writing to it, to tell them from those of other files and of sockets."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager

#: The file name in an error of writing to standard output.
STDOUT = "<stdout>"


class Stdout(io.TextIOWrapper):
    """Text output whose errors have the file name `STDOUT`."""

    def write(self, text: str) -> int:
        with _marked():
            return super().write(text)

    def flush(self) -> None:
        with _marked():
            super().flush()


@contextmanager
def _marked() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        error.filename = STDOUT
        raise


def mark_errors() -> None:
    """Replace ``sys.stdout`` by a :class:`Stdout` that writes to the same file, unless it is closed or no file."""
    old = sys.stdout
    if isinstance(old, io.TextIOWrapper):
        sys.stdout = Stdout(
            old.buffer,
            encoding=old.encoding,
            errors=old.errors,
            line_buffering=old.line_buffering,
            write_through=old.write_through,
        )


def error_text(error: OSError) -> str:
    """The text of an error without its number: the file, if there is one, and what went wrong."""
    why = error.strerror or str(error) or type(error).__name__
    if error.filename is None:
        return why
    return f"{'output cannot be written' if error.filename == STDOUT else error.filename}: {why}"
