"""The command line: ``python -m benchmarks``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from .cases import OPERATOR_SUITE, QUICK_SUITE, SUITE, Selection, group_cases, parse_threads, select_cases
from .machine import describe_machine, file_name
from .markdown import write_page
from .measure import Settings, measure
from .pages import OPERATORS, cpu_page
from .peers import choose_peers
from .pool import WorkerPool
from .process import ROOT, WorkerError
from .results import Report, read_report
from .terminal import make_console, make_progress, show

QUICK = Settings(rounds=4, seconds=0.3, fewest_rounds=1, slow=0.3, compared=2_000_000)
RESULTS = ROOT / "benchmarks" / "results"

application = typer.Typer(add_completion=False)


@application.command()
def main(
    workload: Annotated[list[str] | None, typer.Option(help="Run only this workload. Can be repeated.")] = None,
    peer: Annotated[list[str] | None, typer.Option(help="Compare only with this peer. Can be repeated.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Few cases and rounds. Takes less than a minute.")] = False,
    operators: Annotated[
        bool, typer.Option("--operators", help="Measure all operators on one level, not only RoIAlign.")
    ] = False,
    rounds: Annotated[int | None, typer.Option(min=1, help="Number of measurement rounds.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0, help="Seconds of measurement per case.")] = None,
    threads: Annotated[list[str] | None, typer.Option(help='Number of threads, or "all". Can be repeated.')] = None,
    isa: Annotated[str | None, typer.Option(help="Force roialign to use this instruction set.")] = None,
    json_path: Annotated[Path | None, typer.Option("--json", help="File for the results.")] = None,
    from_json: Annotated[Path | None, typer.Option(help="Show these results instead of measuring.")] = None,
    write_docs: Annotated[bool, typer.Option("--write-docs", help="Write the tables of docs/performance.")] = False,
) -> None:
    """Measure roialign and its peers, each in its own process. Results are checked before anything is timed."""
    console = make_console()
    base = QUICK if quick else Settings()
    settings = replace(
        base,
        rounds=base.rounds if rounds is None else rounds,
        seconds=base.seconds if seconds is None else seconds,
    )
    try:
        if from_json is not None:
            report = read_report(from_json)
        else:
            path = json_path or RESULTS / ("quick-" * quick + "operators-" * operators + file_name(describe_machine()))
            report = _run(
                console,
                OPERATOR_SUITE if operators else QUICK_SUITE if quick else SUITE,
                quick,
                workload or [],
                peer or [],
                threads or ["1", "all"],
                isa,
                settings,
                path,
            )
            console.print(f"written: {path.name}")
    except (ValueError, WorkerError) as reason:
        raise typer.BadParameter(str(reason)) from None
    show(report, console)
    if write_docs:
        of_operators = any(item.entry.case.operator != "mean" for item in report.measurements)
        write_page(OPERATORS if of_operators else cpu_page(report.machine["cpu"]), report)


def _run(
    console: Console,
    suite: Sequence[Selection],
    quick: bool,
    names: list[str],
    peer_names: list[str],
    threads: list[str],
    isa: str | None,
    settings: Settings,
    path: Path,
) -> Report:
    cases = select_cases(suite, names, parse_threads(threads))
    described = {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "quick": quick,
        "rounds": settings.rounds,
        "seconds": settings.seconds,
        "isa": isa,
    }
    with WorkerPool(choose_peers(peer_names), isa) as workers, make_progress(console) as progress:
        task = progress.add_task("starting", total=len(group_cases(cases)))
        workers.start()

        def advance(text: str, done: float) -> None:
            progress.update(task, advance=done, description=text or None)

        report = Report(describe_machine(), workers.versions, described, not_measured=workers.not_measured)
        for partial in measure(cases, workers, report, settings, advance):
            partial.write(path)
        progress.update(task, description="done")
    return report


if __name__ == "__main__":
    application(prog_name="python -m benchmarks")
