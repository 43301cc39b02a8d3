"""`roialign extract`: region features of images and feature maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer
from rich.console import Console

from .._text import counted
from ..extract.doubts import Doubts
from ..extract.folders import IMAGE_ENDINGS, MAP_ENDINGS, EmptyFolderError, expand_folders
from ..extract.matching import Groups, group_by_input, missing_text
from ..extract.pipeline import PooledRow, Settings, extract
from ..files.boxes import Box, read_boxes
from ..files.columns import Reading
from ..files.problems import FileError, Problems
from . import options
from .help import add_command
from .tables import rows_table
from .terminal import end, fails, print_line, progress_bar, reported_problems

EXAMPLES = """
# Every box of the file, pooled from the pixels of its photograph
roialign extract examples/astronaut.png --boxes examples/astronaut_boxes.csv

# All images of a folder, with the boxes that there are for them
roialign extract examples --boxes examples/astronaut_boxes.csv --ignore-missing

# As torchvision pools: 2 x 2 points a bin; and a picture of how
roialign extract examples/astronaut.png --boxes examples/astronaut_boxes.csv \\
    --sampling grid --sampling-ratio 2 --stride 8 --plot face.png
"""


def extract_command(
    inputs: options.Inputs,
    boxes: options.BoxFile,
    columns: options.ColumnNames = None,
    box_format: options.BoxFormat = None,
    ignore_missing: options.IgnoreMissing = False,
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
    is then 1. Boxes that look wrong, inverted or beside their input, are pooled as they are, with a note. The file
    is replaced in one step, or not at all.
    """
    settings = options.make_settings(
        output_size, spatial_scale, stride, sampling, sampling_ratio, aligned, seed, layout, array_name, backend
    )
    reading = options.make_reading(columns, box_format)
    errors = Console(stderr=True)
    named = set(inputs)
    try:
        inputs = expand_folders(inputs, (*IMAGE_ENDINGS, *MAP_ENDINGS), [path for path in (out, plot) if path])
    except EmptyFolderError as error:
        raise fails(errors, error) from error
    options.check_outputs(out, plot, [*inputs, boxes])
    if plot is not None:
        from ..extract import plot as _  # noqa: F401 - a missing package is reported before the work
    problems = reported_problems(errors)
    groups = _read_groups(boxes, reading, inputs, problems)
    if groups is None:
        raise typer.Exit(1)
    if groups.missing and ignore_missing:
        print_line(errors, f"passed over: {missing_text(groups.missing)}")
    elif groups.missing:
        more = f"the first is {groups.missing[0].image!r}; --ignore-missing passes over them"
        problems.add(groups.missing[0].where, f"{missing_text(groups.missing)}; {more}")
    # What a folder holds besides is not read; with no boxes at all the first input says the shape of an empty result.
    used = {path: own for path, own in groups.boxes.items() if own or path in named} or groups.boxes
    rows = _extract(used, settings, out, problems, errors)
    if plot is not None:
        _plot(plot, plot_box, used, rows, settings, problems)
    end(errors, problems)


def _read_groups(boxes: Path, reading: Reading, inputs: Sequence[Path], problems: Problems) -> Groups | None:
    """The boxes of every input; None if the box file cannot be read at all."""
    try:
        return group_by_input(read_boxes(boxes, problems, reading), inputs, problems)
    except FileError as error:
        problems.add(boxes, error)
    return None


def _extract(
    groups: dict[Path, list[Box]], settings: Settings, out: Path, problems: Problems, errors: Console
) -> list[PooledRow]:
    doubts = Doubts()
    try:
        with progress_bar(errors, len(groups), "Pooling") as done:
            rows = extract(groups, settings, out, problems, done, doubts)
    except OSError as error:
        problems.add(out, f"not written: {error.strerror or error}")
        return []
    doubts.remark_in(problems)
    if not rows and problems:
        problems.add(out, "not written: no box could be done")
        return []
    console = Console()
    console.print(rows_table(rows))
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
        problems.add(plot, f"not drawn: {which} pooled")
        return
    boxes = groups[chosen[0].input]
    try:
        plot_roi_align(plot, chosen[0].input, boxes, boxes.index(chosen[0].box), settings)
    except Exception as error:  # the features have been written
        problems.add(plot, f"not drawn: {str(error) or type(error).__name__}")
        return
    print_line(Console(), f"drew {plot}: row {chosen[0].box.row} of {chosen[0].input.name}")


def add_commands(app: typer.Typer) -> None:
    """Make the command known to the command line."""
    add_command(app, "extract", extract_command, EXAMPLES)
