"""`roialign extract` without a backbone: pools pixels and feature maps into one file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import typer
from rich.console import Console

from .._text import counted
from ..extract.matching import Groups, group_by_input, likely_input, missing_text
from ..extract.pipeline import PooledRow, Settings, extract
from ..files.boxes import Box, read_boxes
from ..files.columns import TableReading
from ..files.doubts import Doubts
from ..files.folders import MAP_ENDINGS, expand
from ..files.images import IMAGE_ENDINGS
from ..files.problems import FileError, Problems, StoppedByProblem
from ..files.writing import not_written
from .outputs import Output, check_outputs
from .tables import print_table, rows_table
from .terminal import end, fails, print_line, progress_bar, reported_problems


class Choice(NamedTuple):
    """The options that do not affect pooling."""

    plot: Path | None
    plot_box: int | None
    ignore_missing: bool
    strict: bool
    seed: int | None


def pool_inputs(
    inputs: list[Path], boxes: Path, reading: TableReading, out: Path, settings: Settings, choice: Choice
) -> None:
    """Pool pixels or feature maps into one .npz file, and with `--plot`, draw the steps."""
    plot, plot_box, ignore_missing, strict, _ = choice
    errors = Console(stderr=True)
    problems = reported_problems(errors)
    named = set(inputs)
    try:
        written = [path for path in (out, plot) if path]
        inputs = expand(inputs, (*IMAGE_ENDINGS, *MAP_ENDINGS), written, problems)
    except ValueError as error:
        raise fails(errors, error) from error
    outputs: list[Output] = [("--out", out, (".npz",)), ("--plot", plot, (".png", ".pdf", ".svg"))]
    check_outputs(outputs, [*inputs, boxes])
    if plot is not None:
        from ..extract import plot as _  # noqa: F401 - a missing package is reported before the work
    if settings.sampling == "exact" and settings.sampling_ratio != (0, 0):
        ratio = "x".join(map(str, dict.fromkeys(settings.sampling_ratio)))
        problems.remark("--sampling-ratio", f"{ratio} is ignored with --sampling exact", "not read")
    if settings.sampling != "random" and choice.seed is not None:
        problems.remark("--seed", f"{choice.seed} is only used by --sampling random", "not read")
    groups = read_groups(boxes, reading, inputs, problems)
    if groups is None:
        raise typer.Exit(1)
    report_missing(groups, ignore_missing, problems, errors)
    if strict:
        end(errors, problems)  # reports all rows; of the images, only the first is reported
    problems.strict = strict
    # Files of a folder without boxes are not read. If there are no boxes, an input gives the shape of the empty result.
    used = {path: own for path, own in groups.boxes.items() if own or path in named} or groups.boxes
    try:
        rows = _extract(used, settings, out, problems, errors)
    except StoppedByProblem:
        raise typer.Exit(1) from None
    problems.strict = False
    if plot is not None:
        _plot(plot, plot_box, used, rows, settings, problems)
    end(errors, problems)


def read_groups(boxes: Path, reading: TableReading, inputs: Sequence[Path], problems: Problems) -> Groups | None:
    """Return the boxes of every input; None if the box file cannot be read at all."""
    try:
        before = len(problems)
        rows = read_boxes(boxes, problems, reading)
        if not rows and len(problems) == before:
            problems.remark(boxes, "it contains no box", "no box")
        return group_by_input(rows, inputs, problems)
    except FileError as error:
        problems.add(boxes, error)
    return None


def report_missing(groups: Groups, ignore: bool, problems: Problems, errors: Console) -> None:
    """Report boxes of images that are not among the inputs, as skipped or as a problem."""
    if groups.missing and ignore:
        print_line(errors, f"skipped: {missing_text(groups.missing)}")
    elif groups.missing:
        first = groups.missing[0]
        likely = likely_input(first.image or "", groups)
        hint = "" if likely is None else f" (did you mean {likely}?)"
        more = f"the first is {first.image!r}{hint}; --ignore-missing skips them"
        problems.add(first.where, f"{missing_text(groups.missing)}; {more}")


def _extract(
    groups: dict[Path, list[Box]], settings: Settings, out: Path, problems: Problems, errors: Console
) -> list[PooledRow]:
    doubts = Doubts()
    try:
        with progress_bar(errors, len(groups), "Pooling") as done:
            rows = extract(groups, settings, out, problems, done, doubts)
    except OSError as error:
        problems.add(out, not_written(error))
        return []
    doubts.remark_in(problems)
    if not rows and problems:
        problems.add(out, "not written, because no box could be pooled")
        return []
    console = Console()
    print_table(console, rows_table(rows))
    size = "x".join(map(str, settings.output_size))
    print_line(console, f"wrote {out}: {counted(len(rows), 'row')} of {size} bins")
    return rows


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
        problems.add(plot, f"not drawn, because {which} pooled")
        return
    boxes = groups[chosen[0].input]
    try:
        plot_roi_align(plot, chosen[0].input, boxes, boxes.index(chosen[0].box), settings)
    except OSError as error:  # the features are written already
        problems.add(plot, not_written(error))
        return
    except Exception as error:  # Matplotlib raises many kinds of errors
        problems.add(plot, f"cannot be drawn: {str(error) or type(error).__name__}")
        return
    print_line(Console(), f"drew {plot}: row {chosen[0].box.row} of {chosen[0].input.name}")
