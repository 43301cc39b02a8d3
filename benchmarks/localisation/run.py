"""Run a plan cell by cell, in processes with one thread each. After an interruption, the same call resumes the run."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

import torch

from roialign.files.writing import atomic_write

from .first_stage import Seen, dataset_of, first_stage, from_file, to_file
from .heads import detections, figures, train_heads
from .plan import Cell, Plan

PLAN_FILE = "plan.json"


class OtherPlanError(ValueError):
    """The folder contains results of another plan."""


def run(folder: Path, plan: Plan, processes: int, progress: Callable[[int], None]) -> list[dict[str, Any]]:
    """Return the results of every cell and pooler. `progress` receives the number of finished results.

    Every result, and the output of every first stage, is a file that is written atomically. Existing files are not
    computed again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _check_plan(folder, plan)
    cells = list(plan.cells())
    total = len(cells) * len(plan.poolers)
    _draw_scenes(folder, plan)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        left = {pool.submit(run_cell, folder, plan, cell) for cell in cells}
        while left:
            done, left = wait(left, timeout=1.0)
            for future in done:
                future.result()
            progress(sum(_result_path(folder, cell, pooler).exists() for cell in cells for pooler in plan.poolers))
    progress(total)
    return read_results(folder, plan)


def run_cell(folder: Path, plan: Plan, cell: Cell) -> None:
    """Run both stages of a cell, except for results that exist."""
    missing = [pooler for pooler in plan.poolers if not _result_path(folder, cell, pooler).exists()]
    if not missing:
        return
    train, test = (dataset_of(folder, plan, cell, split) for split in ("train", "val"))
    seen = first_stage_of(folder, plan, cell)
    for pooler in missing:
        heads = train_heads(plan, cell, pooler, train, seen["train"])
        rows = detections(heads, test, seen["val"])
        write_json(_result_path(folder, cell, pooler).with_suffix(".detections.json"), rows)
        result = {"set": cell.set, "stride": cell.stride, "seed": cell.seed, "pooler": pooler, **figures(test, rows)}
        write_json(_result_path(folder, cell, pooler), result)
    _seen_path(folder, cell).unlink(missing_ok=True)


def read_results(folder: Path, plan: Plan) -> list[dict[str, Any]]:
    """Return the existing results, in the order of the plan."""
    paths = [_result_path(folder, cell, pooler) for cell in plan.cells() for pooler in plan.poolers]
    return [json.loads(path.read_text()) for path in paths if path.exists()]


def minutes_of(folder: Path) -> float:
    """Return the time from the start of the plan to the last result."""
    times = [path.stat().st_mtime for path in (folder / "results").iterdir()]
    return (max(times) - (folder / PLAN_FILE).stat().st_mtime) / 60


def read_detections(folder: Path, cell: Cell, pooler: str) -> list[dict[str, Any]]:
    """Return the detections in COCO's result format."""
    rows: list[dict[str, Any]] = json.loads(
        _result_path(folder, cell, pooler).with_suffix(".detections.json").read_text()
    )
    return rows


def first_stage_of(folder: Path, plan: Plan, cell: Cell) -> dict[str, Seen]:
    path = _seen_path(folder, cell)
    if path.exists():
        return from_file(torch.load(path, weights_only=True))
    seen = first_stage(folder, plan, cell)
    path.parent.mkdir(exist_ok=True)
    with atomic_write(path) as file:
        torch.save(to_file(seen), file)
    return seen


def _draw_scenes(folder: Path, plan: Plan) -> None:
    """Draw all scenes before the processes start, because cells with different strides share a dataset."""
    for cell in plan.cells():
        for split in ("train", "val"):
            dataset_of(folder, plan, cell, split)


def _check_plan(folder: Path, plan: Plan) -> None:
    path, wanted = folder / PLAN_FILE, json.loads(json.dumps(plan.to_dict()))
    if not path.exists():
        write_json(path, wanted)
    elif json.loads(path.read_text()) != wanted:
        raise OtherPlanError(f"{folder}: contains results of another plan; choose another folder, or remove it")


def _result_path(folder: Path, cell: Cell, pooler: str) -> Path:
    number = "".join(letter if letter.isalnum() else "-" for letter in pooler)
    return folder / "results" / f"{cell.name}-{number}.json"


def _seen_path(folder: Path, cell: Cell) -> Path:
    return folder / "seen" / f"{cell.name}.pt"


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write(json.dumps(content, separators=(",", ":")).encode())
