"""What rotated boxes and the alignment of their angle are worth: ``python -m benchmarks.localisation.rotated``."""

from __future__ import annotations

from typing import Annotated

import typer

from ..options import DOCS, Out, Processes, check_write_docs
from ..process import ROOT
from ..terminal import make_console, make_progress
from .report import compact, write_report
from .rotated_page import section
from .rotated_plan import FULL, SMALL
from .running import head_of_report, run_with_progress
from .whole_page import PAGE, ROTATED_REPORT, whole_page

RESULTS = ROOT / "benchmarks" / "results" / "localisation-rotated"


def main(
    small: Annotated[bool, typer.Option("--small", help="One dataset, short training. Takes a few minutes.")] = False,
    out: Out = None,
    processes: Processes = 2,
    write_docs: Annotated[
        bool, typer.Option("--write-docs", help=f"Write docs/{ROTATED_REPORT} and the section of docs/{PAGE}.")
    ] = False,
) -> None:
    """Train heads of rotated and upright boxes on the same maps and proposals, and compare the results."""
    check_write_docs(small, write_docs)
    console = make_console()
    plan = SMALL if small else FULL
    folder = out or RESULTS / ("small" if small else "full")
    with make_progress(console) as progress:
        results = run_with_progress(folder, plan, processes, progress, "heads trained and evaluated")
    report = {**head_of_report(folder, plan), "results": [compact(result) for result in results]}
    write_report(folder / ROTATED_REPORT, report)
    console.print(section(report), markup=False, soft_wrap=True)
    if write_docs:
        write_report(DOCS / ROTATED_REPORT, report)
        (DOCS / PAGE).write_text(whole_page(DOCS), encoding="utf-8")
        console.print(f"written: docs/{PAGE}, docs/{ROTATED_REPORT}")


if __name__ == "__main__":
    typer.run(main)
