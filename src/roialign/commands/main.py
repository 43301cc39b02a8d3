"""The entry point of the `roialign` command."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from .._extras import missing_text, part_of
from .._signals import clean_up_when_terminated, is_one_of_several
from .streams import STDOUT, check_stdout, error_text, prepare_streams


def main() -> None:
    """Run the command line. If a package is missing, print one line that says how to install it.

    If the output cannot be written, the command still writes its files. Then an error says so, unless the output is a
    pipe whose reader has ended. Messages that cannot be written are dropped. Other errors of files, pipes and sockets
    are printed in one line. Ctrl-C and SIGTERM end the command with exit codes 130 and 143, after it has cleaned up.
    """
    prepare_streams()
    if not is_one_of_several():  # else a handler would wait for processes that have ended
        clean_up_when_terminated()
    code: int | str | None = 0
    try:
        try:
            _run()
        except SystemExit as stop:
            if isinstance(stop.__context__, BrokenPipeError):  # of another pipe: Typer and click end without a message
                raise stop.__context__ from None
            code = stop.code
        except KeyboardInterrupt:  # while modules are imported; Typer handles it later
            code = 130
        check_stdout()  # not after another exception, which matters more
    except OSError as error:
        if error.filename == STDOUT:
            _discard_output()
            if not isinstance(error, BrokenPipeError):  # else nobody reads the output
                sys.stderr.write(f"error: {error_text(error)}\n")
            sys.exit(code or 1)
        sys.exit(f"error: {error_text(error)}")
    sys.exit(code)


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
