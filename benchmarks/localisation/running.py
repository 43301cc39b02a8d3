"""What the commands share: a run with its progress, and the head of its report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer
from rich.progress import Progress

from ..machine import machine_in_short
from .plan import Plan
from .run import OtherPlanError, minutes_of, run


def run_with_progress(folder: Path, plan: Plan, processes: int, progress: Progress, what: str) -> list[dict[str, Any]]:
    """Run a plan, or resume it, and show the number of finished results. The folder is that of `--out`."""
    task = progress.add_task(what, total=len(list(plan.cells())) * len(plan.poolers))
    try:
        return run(folder, plan, processes, lambda done: progress.update(task, completed=done))
    except OtherPlanError as reason:
        raise typer.BadParameter(str(reason), param_hint="--out") from None


def head_of_report(folder: Path, plan: Plan) -> dict[str, Any]:
    """Return the machine, the time and the plan of a run."""
    return {"machine": machine_in_short(), "minutes": round(minutes_of(folder), 1), "plan": plan.to_dict()}
