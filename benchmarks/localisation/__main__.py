"""The command line: ``python -m benchmarks.localisation``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from roialign.detection.training.optimisation import OFFSET_RATE

from .. import equivariance
from ..options import DOCS, Out, Processes, check_write_docs
from ..process import ROOT
from ..terminal import make_console, make_progress
from .pictures import BASE, draw_curves, draw_sampling, draw_sliding
from .plan import FULL, POOLERS, SMALL, Plan
from .report import compact, write_report
from .running import head_of_report, run_with_progress
from .side_by_side import draw_differences
from .statistics import chosen, difference_of, mean_of, metric, paired
from .whole_page import PAGE, REPORT, whole_page

RESULTS = ROOT / "benchmarks" / "results" / "localisation"

application = typer.Typer(add_completion=False)


@application.command()
def main(
    small: Annotated[
        bool, typer.Option("--small", help="One dataset, one stride, short training. Takes a few minutes.")
    ] = False,
    out: Out = None,
    processes: Processes = 2,
    write_docs: Annotated[bool, typer.Option("--write-docs", help="Write docs/localisation.md and its files.")] = False,
) -> None:
    """Train detectors that differ only in their pooler, slide boxes over photographs, and compare the results."""
    check_write_docs(small, write_docs)
    console = make_console()
    plan = SMALL if small else FULL
    folder = out or RESULTS / ("small" if small else "full")
    report = _measure(console, plan, folder, processes)
    write_report(folder / REPORT, report)
    show(console, report)
    pages = DOCS if write_docs else folder
    _write(pages, folder, plan, report)
    console.print(f"written: {pages.name}/localisation.md, its pictures, {folder.name}/{REPORT}")


def _measure(console: Console, plan: Plan, folder: Path, processes: int) -> dict[str, Any]:
    with make_progress(console) as progress:
        results = run_with_progress(folder, plan, processes, progress, "poolers trained and evaluated")
        sliding = progress.add_task("boxes that slide", total=len(list(equivariance.cases())))
        measured = equivariance.measure(lambda: progress.advance(sliding))
    return {
        **head_of_report(folder, plan),
        "offset_rate": OFFSET_RATE,
        "results": [compact(result) for result in results],
        "equivariance": equivariance.compact(measured),
    }


def _write(pages: Path, folder: Path, plan: Plan, report: dict[str, Any]) -> None:
    draw_curves(pages / "localisation_overlap.png", report["results"])
    draw_sliding(pages / "localisation_sliding.png", report["equivariance"])
    draw_sampling(pages / "localisation_sampling.png", report["equivariance"])
    draw_differences(pages / "localisation_detections.png", folder, plan)
    write_report(pages / REPORT, report)
    (pages / PAGE).write_text(whole_page(pages), encoding="utf-8")


def show(console: Console, report: dict[str, Any]) -> None:
    """Print the means and the paired gains over RoIPool."""
    results = report["results"]
    table = Table(title="Average precision (means over datasets and seeds) and gains over RoIPool", box=SIMPLE_HEAD)
    columns = [(kind, name) for kind in ("box", "mask") for name in ("AP", "AP75")]
    for title in ("stride", "pooler", *(" ".join(column) for column in columns), "gain in box AP75"):
        table.add_column(title, justify="left" if title in ("pooler",) else "right")
    for stride in sorted({result["stride"] for result in results}, reverse=True):
        for pooler in POOLERS:
            own = chosen(results, stride=stride, pooler=pooler)
            values = [f"{mean_of(own, metric(*column)):.1f}" for column in columns]
            gain = difference_of(paired(results, pooler, BASE, metric("box", "AP75"), stride=stride))
            table.add_row(str(stride), pooler, *values, "" if pooler == BASE else str(gain))
    console.print(table)


if __name__ == "__main__":
    application()
