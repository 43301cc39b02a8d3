"""The output of a run in a terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from .results import Report
from .tables import cells, compare_ours, comparison_table, group_rows, header, make_rows, peer_names

#: Columns of words. The others are numbers.
TEXT = ("workload", "layout", "type", "what", "points")


def make_console() -> Console:
    """Return a console as wide as the terminal, or wide enough for the tables if the output is a file."""
    console = Console()
    return console if console.is_terminal else Console(width=150)


def make_progress(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=console,
    )


def show(report: Report, console: Console) -> None:
    """Print the tables, the speed behind the floor, and the peers that were not measured."""
    rows = make_rows(report)
    console.print(
        "milliseconds per call; in brackets, our time as a multiple of the floor, a peer's as a multiple of ours"
    )
    for workload, direction, members in group_rows(rows):
        names = peer_names(members)
        table = Table(title=f"{workload}, {direction}", title_justify="left", box=box.SIMPLE_HEAD)
        for title in header(names):
            table.add_column(title, justify="left" if title in TEXT else "right")
        for row in members:
            table.add_row(*cells(row, names))
        console.print(table)
    own = Table(title="roialign compared with itself", title_justify="left", box=box.SIMPLE_HEAD)
    titles, lines = comparison_table(compare_ours(rows))
    for title in titles:
        own.add_column(title, justify="left" if title in TEXT else "right")
    for line in lines:
        own.add_row(*line)
    console.print(own)
    for threads, value in report.bandwidth.items():
        console.print(f"copy, {threads} thread{'' if threads == '1' else 's'}: {value / 1e9:.1f} GB/s")
    for name, reason in report.not_measured.items():
        console.print(f"{name}: not measured, {reason}")
    for measurement in report.measurements:
        if measurement.status in ("failed", "wrong answer", "unsupported"):
            case, note = measurement.entry.case, measurement.note or f"error {measurement.error}"
            console.print(f"{measurement.entry.peer}, {case.workload}, {case.dtype}: {measurement.status}, {note}")
