"""`roialign extract` with a backbone: a resumable job that writes to a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from .._signals import Terminated
from .._text import counted
from ..files.columns import TableReading
from ..files.folders import expand
from ..files.images import IMAGE_ENDINGS
from ..files.problems import Problems, Remark, StoppedByProblem
from .extract_options import EXPECTED_BOXES
from .feature_options import Running, cores
from .outputs import check_folder
from .pixels import read_groups, report_missing
from .terminal import end, fails, print_line, progress_bar, reported_problems

if TYPE_CHECKING:
    from ..features import BackboneOptions, BoxSource, Job, JobSettings, RayEngine, Report

#: The largest number of images to read in the main process by default.
FEW_IMAGES = 32
#: The hint about boxes outside their image.
OUTSIDE = "are its numbers corners, in pixels of the original image? --box-format"
#: The parts of a run, in the order in which their times are printed.
STAGES = ("waiting for images", "backbone", "pooling", "writing")


def extract_features(
    inputs: Sequence[Path],
    boxes: Path,
    reading: TableReading,
    out: Path,
    settings: JobSettings,
    options: BackboneOptions,
    running: Running,
) -> None:
    """Process the missing shards of a job, and print a summary."""
    errors = Console(stderr=True)
    problems = reported_problems(errors)
    check_folder(out, "--out")
    job = None
    try:
        images = expand(inputs, IMAGE_ENDINGS, problems=problems)  # no image is written to `out`
        source = _box_source(boxes, reading, images, running, problems, errors)
        if running.strict:
            end(errors, problems)  # reports all rows; of the images, only the first is reported
        problems.strict = running.strict
        with _engine(running) as engine:
            job = _prepare(images, source, out, settings, options, running, engine)
            report = _run(job, running, problems, errors, engine)
        problems.strict = False
        report.doubts.remark_in(problems, outside=OUTSIDE)
        _print_summary(job, running, report, problems)
    except typer.Exit:  # a RuntimeError to Python
        raise
    except StoppedByProblem:
        raise typer.Exit(1) from None
    except (KeyboardInterrupt, SystemExit) as stop:
        print_line(errors, f"stopped{_done(job, running)}; rerun the same command to resume: {out}")
        if isinstance(stop, SystemExit):  # Terminated, or what Ray raises in place of it while it waits
            raise Terminated from None
        raise typer.Exit(130) from None
    except (ValueError, OSError, RuntimeError) as error:
        raise fails(errors, error) from error
    end(errors, problems)


def _engine(running: Running) -> AbstractContextManager[RayEngine | None]:
    """Return the Ray engine; None to process the shards in this process."""
    from ..features import RayEngine

    if running.engine != "ray":
        return nullcontext()
    readers, retries = running.readers, running.shard_retries
    return RayEngine(running.ray_address, workers=running.workers, readers=readers, retries=retries)


def _prepare(
    images: Sequence[Path],
    boxes: BoxSource,
    out: Path,
    settings: JobSettings,
    options: BackboneOptions,
    running: Running,
    engine: RayEngine | None,
) -> Job:
    from ..features import prepare
    from ..features.job import load, threads_of

    threads = running.threads or threads_of(out) or (cores() if engine is None else engine.threads(options.device))
    options = replace(options, threads=threads)
    return prepare(images, boxes, out, settings, options, load=load if engine is None else engine.load)


def _box_source(
    boxes: Path,
    reading: TableReading,
    images: Sequence[Path],
    running: Running,
    problems: Problems,
    errors: Console,
) -> BoxSource:
    from ..features import FileBoxes

    other = boxes_without_file(str(boxes), running.score_threshold)
    if other is not None:
        return other
    groups = read_groups(boxes, reading, images, problems)
    if groups is None:
        raise typer.Exit(1)
    report_missing(groups, running.ignore_missing, problems, errors)
    if not any(groups.boxes.values()):
        raise ValueError(f"{boxes}: contains no box of these images")
    without = sum(not group for group in groups.boxes.values())
    if without:
        print_line(errors, f"skipped: {counted(without, 'image has', 'images have')} no box in {boxes}")
    return FileBoxes(groups.boxes)


def boxes_without_file(text: str, score_threshold: float) -> BoxSource | None:
    """Return the box source if ``--boxes`` is a grid or detections; None if it is a file.

    Raises
    ------
    typer.BadParameter
        If there is no such file, and the text is more like a misspelt grid or detections than like a file.
    """
    from ..features import DetectedBoxes
    from ..features.boxes import DETECTIONS, grid_of

    source = DetectedBoxes(score_threshold) if text == DETECTIONS else grid_of(text)
    if source is None and not os.path.lexists(text) and (expected := _meant(text)):
        raise typer.BadParameter(f"expected {expected}, got {text!r}", param_hint="--boxes")
    return source


def _meant(text: str) -> str | None:
    """Return what a value of ``--boxes`` that is not a file was probably meant to be; None if a file was meant."""
    from ..features.boxes import DETECTIONS, GRID_FORM, MOST_CELLS

    named = re.match(r"[A-Za-z]{2,}:", text)  # a drive has one letter
    if Path(text).suffix and not named:
        return None
    if text.lower().startswith("grid"):
        return f"{GRID_FORM}, such as grid:3x4, with at most {MOST_CELLS} boxes"
    if text.lower().startswith("detect"):
        return f"{DETECTIONS}, with --backbone detector:WEIGHTS"
    return EXPECTED_BOXES


def _run(job: Job, running: Running, problems: Problems, errors: Console, engine: RayEngine | None) -> Report:
    from ..features import Listener, run

    own = job.part(running.part)
    missing = job.missing(own, retry=running.retry)
    total = sum(len(shard.images) for shard in missing)
    if len(missing) < len(own):
        print_line(errors, f"resuming: {len(own) - len(missing)} of {counted(len(own), 'shard')} done")
    readers = running.readers
    if readers is None:  # starting a process takes longer than reading a few images
        readers = max(cores() // 2, 1) if total > FEW_IMAGES else 0
    with progress_bar(errors, total, "Extracting", unit="images") as advance:

        class Reporter(Listener):
            strict = running.strict

            def done(self, count: int) -> None:
                advance(count)

            def failed(self, image: Path, why: str) -> None:
                problems.add(image, why)

            def lost(self, file: str, why: str) -> None:
                problems.remark(file, f"processed again: {why}", "lost")

            def remark(self, image: Path, remark: Remark) -> None:
                problems.remark(image, remark.what, remark.kind)

        return run(job, readers=readers, engine=engine, part=running.part, retry=running.retry, listener=Reporter())


def _done(job: Job | None, running: Running) -> str:
    if job is None:
        return ""
    own = job.part(running.part)
    return f" with {len(job.written(own))} of {counted(len(own), 'shard')} done"


def _print_summary(job: Job, running: Running, report: Report, problems: Problems) -> None:
    console, own = Console(), job.part(running.part)
    earlier = len(job.earlier_errors(own)) - len(report.errors)
    if earlier:
        in_part = len(job.partly_failed(own)) - report.partly_failed
        whole = [counted(earlier - in_part, "image")] if earlier > in_part else []
        failed = " and ".join([*whole, *([f"some boxes of {counted(in_part, 'image')}"] if in_part else [])])
        problems.add(job.out, f"{failed} failed in earlier runs; --retry processes their shards again")
    shapes = ", ".join(f"{name} {' x '.join(map(str, shape))}" for name, shape in job.shapes.items())
    images = report.images - len(report.errors) + report.partly_failed
    done = f"{counted(report.boxes, 'box', 'boxes')} of {counted(images, 'image')}"
    if not report.images:
        print_line(console, f"nothing left to do: {job.out}")
        return
    print_line(console, f"wrote {job.out}: {done}, in {counted(len(job.shards), 'shard')} in all: {shapes}")
    times = ", ".join(f"{name} {report.seconds.get(name, 0.0):.1f} s" for name in STAGES)
    workers = f" by {report.workers} workers" if report.workers > 1 else ""
    print_line(console, f"{report.images / report.elapsed:.1f} images/s{workers}: {times}")
