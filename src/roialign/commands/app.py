"""The command line: `roialign extract` and `roialign info`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from ..extract.matching import group_by_input
from ..extract.pipeline import PooledRow, Settings, extract
from ..files.boxes import Box, read_boxes
from ..files.problems import FileError, Problem, Problems
from . import options
from .info import info_table
from .tables import printable, rows_table

app = typer.Typer(
    help="Region-of-interest features of images and feature maps.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command("info")
def info_command() -> None:
    """Show versions, instruction set, threads, and which backends run here, for bug reports."""
    Console().print(info_table())


@app.command("extract")
def extract_command(
    inputs: options.Inputs,
    boxes: options.BoxFile,
    out: options.Out = Path("features.npz"),
    output_size: options.OutputSize = "7",
    spatial_scale: options.SpatialScale = 1.0,
    stride: options.Stride = 1,
    sampling: options.Sampling = "exact",
    sampling_ratio: options.SamplingRatio = "0",
    aligned: options.Aligned = True,
    seed: options.Seed = None,
    layout: options.Layout = "NCHW",
    array_name: options.ArrayName = None,
    backend: options.Backend = "cpu",
    plot: options.Plot = None,
    plot_box: options.PlotBox = None,
) -> None:
    """Pool every box of every input with RoIAlign into one .npz file.

    The file holds, one row per box, `features`, `boxes`, `images`, `labels` and `rows` (the box's place in its file,
    from 0), and `settings`. What cannot be read is reported with its file and row and the rest is done; the exit code
    is then 1. The file is replaced in one step, or not at all.
    """
    settings = options.make_settings(
        output_size, spatial_scale, stride, sampling, sampling_ratio, aligned, seed, layout, array_name, backend
    )
    inputs = list(dict.fromkeys(inputs))
    options.check_outputs(out, plot, [*inputs, boxes])
    if plot is not None:
        from ..extract import plot as _  # noqa: F401 - a missing package is reported before the work
    errors = Console(stderr=True)
    problems = problems_on(errors)
    groups = _read_groups(boxes, inputs, problems)
    if groups is None:
        raise typer.Exit(1)
    rows = _extract(groups, settings, out, problems, errors)
    if plot is not None:
        _plot(plot, plot_box, groups, rows, settings, problems)
    if problems:
        errors.print(f"{len(problems)} problem{'s' * (len(problems) != 1)}", style="bold red", highlight=False)
        raise typer.Exit(1)


def _read_groups(boxes: Path, inputs: Sequence[Path], problems: Problems) -> dict[Path, list[Box]] | None:
    """The boxes of every input; None if the box file cannot be read at all."""
    try:
        return group_by_input(read_boxes(boxes, problems), inputs, problems)
    except FileError as error:
        problems.add(boxes, error)
    return None


def _extract(
    groups: dict[Path, list[Box]], settings: Settings, out: Path, problems: Problems, errors: Console
) -> list[PooledRow]:
    try:
        with progress_bar(errors, len(groups), "Pooling") as done:
            rows = extract(groups, settings, out, problems, done)
    except OSError as error:
        problems.add(out, f"not written: {error.strerror or error}")
        return []
    if not rows and problems:
        problems.add(out, "not written: no box could be done")
        return []
    console = Console()
    console.print(rows_table(rows))
    size = "x".join(map(str, settings.output_size))
    print_line(console, f"wrote {out}: {len(rows)} row{'s' * (len(rows) != 1)} of {size} bins")
    return rows


@contextmanager
def progress_bar(console: Console, total: int, what: str) -> Iterator[Callable[[], None]]:
    """A bar on a terminal, to be told of every input that is done; elsewhere nothing."""
    if not console.is_terminal:
        yield lambda: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)


def _plot(
    plot: Path,
    plot_box: int | None,
    groups: dict[Path, list[Box]],
    rows: Sequence[PooledRow],
    settings: Settings,
    problems: Problems,
) -> None:
    from ..extract.plot import plot_roi_align

    chosen = [row for row in rows if plot_box is None or row.box.row == plot_box]
    if not chosen:
        which = "no box was" if plot_box is None else f"row {plot_box} was not"
        problems.add(plot, f"not drawn: {which} pooled")
        return
    boxes = groups[chosen[0].input]
    try:
        plot_roi_align(plot, chosen[0].input, boxes, boxes.index(chosen[0].box), settings)
    except Exception as error:  # the features have been written
        problems.add(plot, f"not drawn: {str(error) or type(error).__name__}")
        return
    print_line(Console(), f"drew {plot}: row {chosen[0].box.row} of {chosen[0].input.name}")


def problems_on(console: Console) -> Problems:
    """Problems that are reported as they are met."""
    return Problems(lambda problem: report_problem(console, problem), lambda remark: report_remark(console, remark))


def report_remark(console: Console, remark: Problem) -> None:
    console.print(Text.assemble(("note: ", "bold yellow"), printable(remark)), soft_wrap=True, highlight=False)


def report_problem(console: Console, problem: Problem) -> None:
    console.print(Text.assemble(("error: ", "bold red"), printable(problem)), soft_wrap=True, highlight=False)


def print_line(console: Console, text: str) -> None:
    console.print(Text(printable(text)), soft_wrap=True, highlight=False)
