"""Output of all commands at the terminal: progress bars, lines of text, errors, and exit codes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from .._text import counted, printable, with_names
from ..files.problems import Problem, Problems
from .streams import error_text

#: The largest number of lines of an error message to print. PyTorch's messages can be long.
MOST_LINES = 20
#: The time between lines of progress if the output is not a terminal.
SECONDS_PER_LINE = 60.0


class Advance(Protocol):
    """Advances a progress bar by a number of items."""

    def __call__(self, count: int = 1) -> None: ...


def _ignore(count: int = 1) -> None:
    del count


class _Speed(ProgressColumn):
    """Shows the number of items per second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f} {self._unit}/s")


class _Lines:
    """Prints progress as a line at regular intervals, for output that is not a terminal."""

    def __init__(self, console: Console, total: int, unit: str) -> None:
        self._console, self._total, self._unit = console, total, unit
        self._count, self._start = 0, time.monotonic()
        self._printed = self._start

    def __call__(self, count: int = 1) -> None:
        self._count += count
        now = time.monotonic()
        if now - self._printed < SECONDS_PER_LINE:
            return
        self._printed = now
        done = f"{self._count} of {self._total} {self._unit}"
        if self._count > 0:  # else the time left is unknown
            speed = self._count / (now - self._start)
            left = timedelta(seconds=round((self._total - self._count) / speed))
            done += f", {speed:.1f} {self._unit}/s, {left} left"
        print_line(self._console, done)


@contextmanager
def progress_bar(console: Console, total: int, what: str, unit: str | None = None) -> Iterator[Advance]:
    """Show a progress bar on a terminal. With a `unit`, it also shows the number of items per second.

    If the output is not a terminal, or one that cannot redraw a line (``TERM=dumb``), a line is printed every minute if
    there is a `unit`, and otherwise nothing.
    """
    if not console.is_interactive:
        yield _ignore if unit is None else _Lines(console, total, unit)
        return
    speed = () if unit is None else (_Speed(unit),)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), *speed, TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count=1: progress.advance(task, count)


def print_line(console: Console, text: str) -> None:
    """Print one line without wrapping or highlighting."""
    console.print(Text(printable(text)), soft_wrap=True, highlight=False)


def print_error(console: Console, error: object) -> None:
    """Print an error. Each line of a longer message is printed as an error."""
    if isinstance(error, OSError) and error.strerror:  # without the error number
        error = error_text(error)
    lines = str(error).splitlines() or [type(error).__name__]
    for line in lines[:MOST_LINES]:
        console.print(Text.assemble(("error: ", "bold red"), printable(line)), soft_wrap=True, highlight=False)
    if len(lines) > MOST_LINES:
        print_line(console, f"and {counted(len(lines) - MOST_LINES, 'more line')}")


def option_of(argument: str) -> str:
    """Return the option that is called like an argument of Python."""
    return "--" + argument.replace("_", "-")


def with_options(error: Exception, options: Mapping[str, str]) -> object:
    """Return an error, with options in place of the arguments of Python that its message begins with."""
    text = with_names(str(error), options)
    return error if text == str(error) else text  # an error of the system is printed in another form


def reported_problems(console: Console) -> Problems:
    """Return a collection of problems and remarks that prints each when it is added."""

    def remark(remark: Problem) -> None:
        console.print(Text.assemble(("note: ", "bold yellow"), printable(remark)), soft_wrap=True, highlight=False)

    return Problems(lambda problem: print_error(console, problem), remark)


def fails(console: Console, error: object) -> typer.Exit:
    """Print the error that stops a command, and return the exception to raise."""
    print_error(console, error)
    return typer.Exit(1)


def end(console: Console, problems: Problems) -> None:
    """If there were problems, print their number and exit with code 1."""
    if problems:
        console.print(counted(len(problems), "problem"), style="bold red", highlight=False)
        raise typer.Exit(1)
