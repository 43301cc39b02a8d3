"""The standard streams of a command, whose errors do not end it before its files are written."""

from __future__ import annotations

import io
import os
import sys

#: The file name in an error of writing to standard output.
STDOUT = "<stdout>"


class Stream(io.TextIOWrapper):
    """Text output that keeps the first error of writing, and raises none."""

    failure: OSError | None = None

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self.failure = self.failure or error
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self.failure = self.failure or error


def prepare_streams() -> None:
    """Replace ``sys.stdout`` and ``sys.stderr`` by a :class:`Stream`, unless they are no files.

    Characters that they cannot encode are escaped. A stream that is closed becomes the null device. Otherwise, the next
    file that is opened would get its number, to which libraries write messages.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            nowhere = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115 - used until the process ends
            os.set_inheritable(nowhere.fileno(), True)  # as standard streams are
            setattr(sys, name, nowhere)
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            setattr(sys, name, _reopened(stream))


def _reopened(old: io.TextIOWrapper) -> Stream:
    return Stream(
        old.buffer,
        encoding=old.encoding,
        errors="backslashreplace",
        line_buffering=old.line_buffering,
        write_through=old.write_through,
    )


def check_stdout() -> None:
    """Raise the first error of writing to standard output, with the file name `STDOUT`."""
    sys.stdout.flush()
    failure = getattr(sys.stdout, "failure", None)
    if failure is not None:
        failure.filename = STDOUT
        raise failure


def error_text(error: OSError) -> str:
    """The text of an error without its number: the file, if there is one, and what went wrong."""
    why = error.strerror or str(error) or type(error).__name__
    if error.filename is None:
        return why
    return f"{'output cannot be written' if error.filename == STDOUT else error.filename}: {why}"
