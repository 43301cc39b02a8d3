"""What rotated boxes and the alignment of their angle are worth: ``python -m benchmarks.localisation.rotated``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..machine import describe_machine
from ..process import ROOT
from ..terminal import make_console, make_progress
from .plan import Plan
from .report import compact, write_report
from .rotated_page import section
from .rotated_plan import FULL, SMALL
from .run import OtherPlanError, minutes_of, run
from .whole_page import PAGE, ROTATED_REPORT, whole_page

RESULTS = ROOT / "benchmarks" / "results" / "localisation-rotated"
DOCS = ROOT / "docs"


def main(
    small: Annotated[bool, typer.Option("--small", help="One dataset, short training. Takes a few minutes.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for all results. Rerun with the same folder to resume.")
    ] = None,
    processes: Annotated[int, typer.Option(min=1, help="Number of processes. Each uses one thread.")] = 2,
    write_docs: Annotated[
        bool, typer.Option("--write-docs", help=f"Write docs/{ROTATED_REPORT} and the section of docs/{PAGE}.")
    ] = False,
) -> None:
    """Train heads of rotated and upright boxes on the same maps and proposals, and compare the results."""
    if small and write_docs:
        raise typer.BadParameter("the page quotes the whole run, not --small", param_hint="--write-docs")
    console = make_console()
    plan = SMALL if small else FULL
    folder = out or RESULTS / ("small" if small else "full")
    total = len(list(plan.cells())) * len(plan.poolers)
    with make_progress(console) as progress:
        task = progress.add_task("heads trained and evaluated", total=total)
        try:
            results = run(folder, plan, processes, lambda done: progress.update(task, completed=done))
        except OtherPlanError as reason:
            raise typer.BadParameter(str(reason), param_hint="--out") from None
    report = report_of(folder, plan, results)
    write_report(folder / ROTATED_REPORT, report)
    console.print(section(report), markup=False, soft_wrap=True)
    if write_docs:
        write_report(DOCS / ROTATED_REPORT, report)
        (DOCS / PAGE).write_text(whole_page(DOCS), encoding="utf-8")
        console.print(f"written: docs/{PAGE}, docs/{ROTATED_REPORT}")


def report_of(folder: Path, plan: Plan, results: list[dict[str, Any]]) -> dict[str, Any]:
    """Return all that the section is written from."""
    machine = describe_machine()
    return {
        "machine": f"{machine['cores']} cores ({machine['cpu']})",
        "minutes": round(minutes_of(folder), 1),
        "plan": plan.to_dict(),
        "results": [compact(result) for result in results],
    }


if __name__ == "__main__":
    typer.run(main)
