"""The entry point of the `roialign` command."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import TypeGuard

from .._extras import missing_text, part_of
from .._signals import clean_up_when_terminated, is_one_of_several
from .stdout import STDOUT, error_text, mark_errors


def main() -> None:
    """Run the command line. If a package is missing, print one line that says how to install it.

    Characters that the terminal or the locale cannot encode are escaped. If the output cannot be written, an error says
    so, unless it is a pipe whose reader has ended. Other errors of files, pipes and sockets are printed in one line.
    Ctrl-C and SIGTERM end the command with exit codes 130 and 143, after it has cleaned up.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    mark_errors()
    if not is_one_of_several():  # else a handler would wait for processes that have ended
        clean_up_when_terminated()
    has_failed = False
    try:
        try:
            _run()
        except SystemExit as stop:
            if _is_of_another_pipe(stop.__context__):  # Typer and click end without a message
                raise stop.__context__ from None
            has_failed = stop.code not in (None, 0)
            raise
        except KeyboardInterrupt:  # while modules are imported; Typer handles it later
            has_failed = True
            sys.exit(130)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except OSError as error:
        if error.filename == STDOUT:
            _discard_output()
            if has_failed or isinstance(
                error, BrokenPipeError
            ):  # an error has been printed, or nobody reads the output
                sys.exit(1)
        sys.exit(f"error: {error_text(error)}")


def _is_of_another_pipe(error: BaseException | None) -> TypeGuard[BrokenPipeError]:
    """Whether it is the error of a pipe other than standard output, such as one to another process."""
    return isinstance(error, BrokenPipeError) and error.filename != STDOUT


def _run() -> None:
    try:
        os.getcwd()
    except FileNotFoundError:  # torch's libraries would end the process with a message about something else
        sys.exit("error: the current folder has been deleted; change to another one")
    try:
        from .app import app

        app(prog_name="roialign")
    except ModuleNotFoundError as error:
        if sys.argv[1:] == ["doctor"]:  # it lists all missing packages
            from .doctor import examine

            sys.exit(examine())
        name = error.name or ""
        if name.partition(".")[0] in ("", "roialign"):
            raise
        if "pip install" in str(error):  # raised by `require`
            sys.exit(f"error: {error}")
        part = part_of(name)
        text = missing_text(part) if part else ""
        sys.exit(f"error: {text or f'{error}: an installed package needs it'}")


def _discard_output() -> None:
    """Let the rest of the output go nowhere, so that Python does not fail to write it at exit."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())


if __name__ == "__main__":
    main()
