"""The command line: ``python -m benchmarks.crop_or_pool``."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from roialign.files.writing import atomic_write

from ..machine import machine_in_short
from ..options import DOCS, check_write_docs
from ..process import ROOT
from ..terminal import make_console, make_progress
from .page import write_page
from .run import Plan, measure
from .scores import DRAWS

RESULTS = ROOT / "benchmarks" / "results" / "crop-or-pool"
SMALL = Plan(scenes=((5, 6), (20, 4), (100, 2)))

application = typer.Typer(add_completion=False)


@application.command()
def main(
    small: Annotated[bool, typer.Option("--small", help="A few images. Takes less than a minute.")] = False,
    write_docs: Annotated[bool, typer.Option("--write-docs", help="Write docs/crop-or-pool.md and its data.")] = False,
    from_json: Annotated[Path | None, typer.Option(help="Show these results instead of measuring.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the results.")] = None,
) -> None:
    """Compare features of crops with features that are pooled from one pass over the image."""
    check_write_docs(small, write_docs)
    console = make_console()
    report = json.loads(from_json.read_text()) if from_json else run(console, SMALL if small else Plan())
    folder = DOCS if write_docs else out or RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    write_report(folder / "crop-or-pool.json", report)
    (folder / "crop-or-pool.md").write_text(write_page(report), encoding="utf-8")
    show(console, report)
    console.print(f"written: {folder.name}/crop-or-pool.md, {folder.name}/crop-or-pool.json")


def run(console: Console, plan: Plan) -> dict[str, Any]:
    """Measure, with a progress bar."""
    start = time.perf_counter()
    with make_progress(console) as progress:
        task = progress.add_task("images", total=sum(count for _, count in plan.scenes))
        found = measure(plan, lambda: progress.advance(task))
    return {
        "machine": machine_in_short(),
        "minutes": round((time.perf_counter() - start) / 60, 1),
        "draws": DRAWS,
        **found,
    }


def write_report(path: Path, report: dict[str, Any]) -> None:
    """One line for each row, in four digits."""
    cells = [json.dumps(_rounded(cell), separators=(",", ":")) for cell in report["cells"]]
    head = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in report.items() if name != "cells"]
    text = ",\n".join([*head, '"cells": [\n' + ",\n".join(cells) + "\n]"])
    with atomic_write(path) as file:
        file.write(f"{{\n{text}\n}}\n".encode())


def _rounded(cell: dict[str, Any]) -> dict[str, Any]:
    return {
        name: [float(f"{number:.4g}") for number in value] if isinstance(value, (tuple, list)) else value
        for name, value in cell.items()
    }


def show(console: Console, report: dict[str, Any]) -> None:
    """Print the means."""
    table = Table(title="Means; the page has the intervals", title_justify="left", box=SIMPLE_HEAD)
    names = ("milliseconds", "factor", "nearest", "recall", "cosine", "rank_correlation")
    for title in ("boxes", "way", "level", *names):
        table.add_column(title.replace("_", " "), justify="left" if title in ("way", "level") else "right")
    for cell in report["cells"]:
        numbers = [f"{cell[name][0]:.0f}" if name == "milliseconds" else f"{cell[name][0]:.2f}" for name in names]
        table.add_row(str(cell["boxes"]), cell["way"], cell["level"], *numbers)
    console.print(table)


if __name__ == "__main__":
    application(prog_name="python -m benchmarks.crop_or_pool")
