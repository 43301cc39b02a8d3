"""What every command does at the terminal: a progress bar, lines of text, errors, and the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from .._text import counted, printable
from ..files.problems import Problem, Problems

#: Of a longer message, as torch may give, these are shown.
MOST_LINES = 20
#: Where there is no terminal, the progress of a long run is said so often.
SECONDS_PER_LINE = 60.0


class Advance(Protocol):
    """Says that so many more are done."""

    def __call__(self, count: int = 1) -> None: ...


def _ignore(count: int = 1) -> None:
    del count


class _Speed(ProgressColumn):
    """How many are done in a second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f} {self._unit}/s")


class _Lines:
    """What a bar shows, as a line every so often, for a run whose output goes to a file."""

    def __init__(self, console: Console, total: int, unit: str) -> None:
        self._console, self._total, self._unit = console, total, unit
        self._count, self._start = 0, time.monotonic()
        self._said = self._start

    def __call__(self, count: int = 1) -> None:
        self._count += count
        now = time.monotonic()
        if now - self._said < SECONDS_PER_LINE:
            return
        self._said = now
        speed = self._count / (now - self._start)
        left = timedelta(seconds=round((self._total - self._count) / speed))
        done = f"{self._count} of {self._total} {self._unit}"
        print_line(self._console, f"{done}, {speed:.1f} {self._unit}/s, {left} left")


@contextmanager
def progress_bar(console: Console, total: int, what: str, unit: str | None = None) -> Iterator[Advance]:
    """A bar on a terminal, to be told of what is done, with their number in a second where they have a `unit`.

    Elsewhere it is a line every minute for those with a unit, whose runs are long; for others it is nothing.
    """
    if not console.is_terminal:
        yield _ignore if unit is None else _Lines(console, total, unit)
        return
    speed = () if unit is None else (_Speed(unit),)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), *speed, TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count=1: progress.advance(task, count)


def print_line(console: Console, text: str) -> None:
    """One line as it is, however long."""
    console.print(Text(printable(text)), soft_wrap=True, highlight=False)


def print_error(console: Console, error: object) -> None:
    """An error; each line of a longer one is an error of its own."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        error = f"{error.filename}: {error.strerror}"  # without the number, which Python puts first
    lines = str(error).splitlines() or [type(error).__name__]
    for line in lines[:MOST_LINES]:
        console.print(Text.assemble(("error: ", "bold red"), printable(line)), soft_wrap=True, highlight=False)
    if len(lines) > MOST_LINES:
        print_line(console, f"and {counted(len(lines) - MOST_LINES, 'more line')}")


def reported_problems(console: Console) -> Problems:
    """Problems and remarks that are printed as they are met."""

    def remark(remark: Problem) -> None:
        console.print(Text.assemble(("note: ", "bold yellow"), printable(remark)), soft_wrap=True, highlight=False)

    return Problems(lambda problem: print_error(console, problem), remark)


def fails(console: Console, error: object) -> typer.Exit:
    """Print what ends a command; raise the answer."""
    print_error(console, error)
    return typer.Exit(1)


def end(console: Console, problems: Problems) -> None:
    """The exit code 1, and how many, where there were problems."""
    if problems:
        console.print(counted(len(problems), "problem"), style="bold red", highlight=False)
        raise typer.Exit(1)
