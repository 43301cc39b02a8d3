"""The command line: ``python -m benchmarks.localisation``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..process import ROOT
from ..terminal import make_console, make_progress
from .plan import FULL, SMALL
from .run import OtherPlanError, run

RESULTS = ROOT / "benchmarks" / "results" / "localisation"

application = typer.Typer(add_completion=False)


@application.command()
def main(
    small: Annotated[bool, typer.Option("--small", help="One set, one stride, short trainings: minutes.")] = False,
    out: Annotated[Path | None, typer.Option(help="A folder that keeps everything; a run goes on from it.")] = None,
    processes: Annotated[int, typer.Option(min=1, help="Cells at the same time, each on one thread.")] = 2,
) -> None:
    """Train detectors that differ in their pooler alone, and compare them."""
    console = make_console()
    plan = SMALL if small else FULL
    folder = out or RESULTS / ("small" if small else "full")
    total = len(list(plan.cells())) * len(plan.poolers)
    with make_progress(console) as progress:
        task = progress.add_task("poolers trained and evaluated", total=total)
        try:
            run(folder, plan, processes, lambda done: progress.update(task, completed=done))
        except OtherPlanError as reason:
            raise typer.BadParameter(str(reason), param_hint="--out") from None


if __name__ == "__main__":
    application()
