"""What every command does at the terminal: a progress bar, lines of text, errors, and the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from .._text import counted, printable
from ..files.problems import Problem, Problems

#: Of a longer message, as torch may give, these are shown.
MOST_LINES = 20


class Advance(Protocol):
    """Says that so many more are done."""

    def __call__(self, count: int = 1) -> None: ...


def _ignore(count: int = 1) -> None:
    del count


@contextmanager
def progress_bar(console: Console, total: int, what: str) -> Iterator[Advance]:
    """A bar on a terminal, to be told of what is done; elsewhere nothing."""
    if not console.is_terminal:
        yield _ignore
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count=1: progress.advance(task, count)


def print_line(console: Console, text: str) -> None:
    """One line as it is, however long."""
    console.print(Text(printable(text)), soft_wrap=True, highlight=False)


def print_error(console: Console, error: object) -> None:
    """An error; each line of a longer one is an error of its own."""
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
