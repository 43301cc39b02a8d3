"""`roialign train`. It imports its packages when it is called."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer
from rich.console import Console

from .._signals import is_one_of_several
from .extract_options import Strict
from .inference import Data, Device, Rotated
from .outputs import check_folder
from .patch_options import PatchOverlap, PatchSize, check_patches
from .terminal import end, fails, print_line, progress_bar, reported_problems
from .training_report import Interruption, Reporter, differences_text, settings_text, stopped_by_interrupt

if TYPE_CHECKING:
    import torch

    from ..detection.coco import CocoDataset
    from ..detection.settings import DetectorSettings
    from ..detection.training import TrainSettings, Validation
    from ..files.problems import Problems

EXAMPLES = """
# Generate digits, and train the default, a small Mask R-CNN; minutes on a CPU
roialign scenes scenes
roialign train --data scenes --out run

# The same command resumes a stopped run; more iterations extend a finished run
roialign train --data scenes --out run --iterations 3000

# Oriented R-CNN for rotated boxes; DOTA's label files can be used, too
roialign scenes turned --rotated --elongated
roialign train --data turned --out oriented --rotated

# Aerial images, in patches of 1024 x 1024 pixels, mirrored in every way
roialign train --data dota --out aerial --rotated --patch-size 1024 \\
    --flip 0.25 --vertical-flip 0.25 --diagonal-flip 0.25

# A full-size Cascade R-CNN on COCO, on a GPU
roialign train --data coco --out cascade --model cascade-rcnn --backbone resnet50-fpn \\
    --size full --iterations 90000 --batch-size 16 --workers 8 --amp bfloat16 --device cuda
"""


def train_command(
    data: Data,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="FOLDER",
            help="Folder of the run. A run in this folder is resumed.",
            show_default=False,
        ),
    ],
    model: Annotated[
        Literal["faster-rcnn", "mask-rcnn", "cascade-rcnn", "cascade-mask-rcnn", "oriented-rcnn"] | None,
        typer.Option(
            help="Detector architecture. oriented-rcnn finds rotated boxes.",
            show_default="mask-rcnn; oriented-rcnn with --rotated",
        ),
    ] = None,
    rotated: Rotated = False,
    pooler: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="RoI pooling operator: exact, align, align-adaptive, align-unshifted, max, pool, deformable or "
            "deformable-modulated, optionally with arguments, such as align:sampling_ratio=4. For oriented-rcnn, also "
            "rotated and rotated-adaptive; the other operators pool the upright hulls of its boxes.",
            show_default="exact; rotated for oriented-rcnn",
        ),
    ] = None,
    backbone: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Backbone network: resnet18 or resnet50 followed by -fpn, -c4, -c5 or -c5-dilated, or timm:NAME.",
        ),
    ] = "resnet18-fpn",
    size: Annotated[
        Literal["small", "full"],
        typer.Option(
            help="Number of channels, proposals and sampled boxes: small for training from scratch on a CPU, full as "
            "in the papers."
        ),
    ] = "small",
    split: Annotated[str, typer.Option(metavar="NAME", help="Split of --data to train on.")] = "train",
    iterations: Annotated[int, typer.Option(min=1, metavar="N", help="Number of optimiser steps.")] = 1500,
    batch_size: Annotated[
        int, typer.Option(min=1, metavar="N", help="Number of images per step, over all processes.")
    ] = 8,
    learning_rate: Annotated[float, typer.Option(metavar="RATE", help="Peak learning rate.")] = 1e-3,
    optimiser: Annotated[Literal["adamw", "sgd"], typer.Option(help="Optimiser.")] = "adamw",
    schedule: Annotated[
        Literal["cosine", "step"],
        typer.Option(
            help="Learning rate schedule after the warm-up: cosine decays to 0; step divides by 10 after 2/3 and after "
            "8/9 of the steps."
        ),
    ] = "cosine",
    warmup: Annotated[
        int, typer.Option(min=0, metavar="N", help="Steps over which the learning rate rises to its peak.")
    ] = 100,
    clip: Annotated[
        float, typer.Option(metavar="NORM", help="Maximum gradient norm. Larger gradients are scaled down.")
    ] = 1.0,
    precision: Annotated[
        Literal["off", "bfloat16", "float16"], typer.Option("--amp", help="Automatic mixed precision.")
    ] = "off",
    flip: Annotated[float, typer.Option(min=0, max=1, metavar="P", help="Probability of a horizontal flip.")] = 0.0,
    vertical_flip: Annotated[
        float, typer.Option(min=0, max=1, metavar="P", help="Probability of a vertical flip.")
    ] = 0.0,
    diagonal_flip: Annotated[
        float, typer.Option(min=0, max=1, metavar="P", help="Probability of both flips at once, a turn by 180 degrees.")
    ] = 0.0,
    patch_size: PatchSize = None,
    patch_overlap: PatchOverlap = None,
    seed: Annotated[
        int, typer.Option(min=0, metavar="N", help="Random seed. The same seed gives the same weights.")
    ] = 0,
    workers: Annotated[
        int, typer.Option(min=0, metavar="N", help="Number of processes that load images. 0 loads in the main process.")
    ] = 0,
    save_every: Annotated[int, typer.Option(min=1, metavar="N", help="Steps between checkpoints.")] = 100,
    val_split: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Split of --data for measuring average precision. Default: val, if it exists.",
            show_default=False,
        ),
    ] = None,
    evaluate_every: Annotated[
        int, typer.Option(min=0, metavar="N", help="Steps between measurements of average precision. 0 disables them.")
    ] = 500,
    print_every: Annotated[int, typer.Option(min=1, metavar="N", help="Steps between lines of progress.")] = 50,
    strict: Strict = False,
    device: Device = "cpu",
) -> None:
    """Train a detector on a dataset in COCO or DOTA format.

    If a run is stopped or killed, rerun the same command to resume from its last checkpoint. The final weights do not
    depend on interruptions. Ctrl-C and SIGTERM stop a run after the current step and save a checkpoint. A larger
    --iterations extends a finished run.

    Writes model.pt for `roialign evaluate` and `roialign detect`, log.csv with losses and average precision, and the
    same curves for TensorBoard. Images and annotations that cannot be read are reported and skipped, and the exit code
    is 1.

    With --patch-size, the detector is trained on overlapping patches of the images. An object belongs to a patch if at
    least 70% of its area lies in it. Patches without an object are left out.

    To train with several processes, which share every batch, use `torchrun --nproc-per-node 2 -m roialign train ...`.
    Their exit code is 0 even if something could not be read, because torchrun treats other exit codes as a crash. They
    do not save when Ctrl-C or SIGTERM stops them: the run resumes from the last checkpoint of --save-every.
    """
    from ..detection.settings import model_for
    from ..detection.training import TrainSettings, new_detector
    from ..torch.devices import check_device

    check_folder(out, "--out")
    check_patches(patch_size, patch_overlap)
    with _reported_errors():
        wanted_device = check_device(device)  # before anything is read
        architecture, rotated = model_for(model, rotated=rotated)
        sets = _open_sets(data, split, val_split, measures=evaluate_every > 0, strict=strict, rotated=rotated)
        settings = TrainSettings(
            new_detector(
                sets.training,
                size=size,
                model=architecture,
                pooler=pooler or "",
                backbone=backbone,
                patch_size=patch_size,
            ),
            iterations=iterations,
            batch_size=batch_size,
            learning_rate=learning_rate,
            optimiser=optimiser,
            schedule=schedule,
            warmup=warmup,
            clip=clip,
            precision=precision,
            flip=flip,
            seed=seed,
            vertical_flip=vertical_flip,
            diagonal_flip=diagonal_flip,
            patch_size=patch_size,
            patch_overlap=patch_overlap,
        )
        more = {"workers": workers, "save_every": save_every}
        result = _train_together(sets, out, settings, wanted_device, evaluate_every, print_every, more)
    _finish(result, sets, f"wrote {out}: {_next_command(out, data, val_split, sets.validation, settings)}")


class _Sets(NamedTuple):
    """The datasets of a run, and where their problems and the progress are reported."""

    training: CocoDataset
    validation: CocoDataset | None
    problems: Problems
    screen: Console


class _Result(NamedTuple):
    """How the training of this process ended."""

    stop: Interruption
    kept: str | None
    """What is saved of a run that was stopped."""
    leads: bool
    """Whether it is the first of the processes that train together."""


@contextmanager
def _reported_errors() -> Iterator[None]:
    """End the command with a message if the settings, the files or the run fail."""
    from ..detection.training import OtherSettingsError

    errors = Console(stderr=True)
    try:
        yield
    except OtherSettingsError as error:
        raise fails(errors, differences_text(error)) from error
    except (ValueError, OSError, RuntimeError) as error:
        raise fails(errors, settings_text(error)) from error


def _open_sets(data: Path, split: str, val_split: str | None, *, measures: bool, strict: bool, rotated: bool) -> _Sets:
    """Open the dataset to train on and, if the run measures average precision, the one to measure it on."""
    from ..detection.rotated_data import open_split

    # Every process reads the annotations, so only one reports problems in them. Each image is read by one process.
    screen = Console(stderr=True, quiet=is_one_of_several() and os.environ.get("RANK") != "0")
    problems = reported_problems(screen)
    training = open_split(data, split, problems, strict=strict, rotated=rotated)
    validation = None
    if measures:
        validation = _validation_set(data, val_split, screen, problems, strict=strict, rotated=rotated)
    problems.listener = reported_problems(Console(stderr=True)).listener
    return _Sets(training, validation, problems, screen)


def _train_together(
    sets: _Sets,
    out: Path,
    settings: TrainSettings,
    device: torch.device,
    evaluate_every: int,
    print_every: int,
    more: dict[str, Any],
) -> _Result:
    """Train in all processes that were launched together."""
    from ..detection.processes import launched_processes, process_rank

    with launched_processes(device) as own_device:
        leads = process_rank() == 0
        validation = _validation_of(sets.validation, evaluate_every, settings.detector)
        more = {**more, "device": own_device, "validation": validation}
        stop, kept = _train(sets.training, out, settings, sets.screen, print_every, more)
    return _Result(stop, kept, leads)


def _finish(result: _Result, sets: _Sets, text: str) -> None:
    """Say what is saved of a stopped run, or what was written, and end the command with its exit code."""
    if result.kept is not None:
        print_line(sets.screen, result.kept)
        raise typer.Exit(result.stop.exit_code)
    if result.leads:
        print_line(Console(), text)
    if not is_one_of_several():
        end(Console(stderr=True), sets.problems)


def _train(
    dataset: CocoDataset, out: Path, settings: TrainSettings, screen: Console, print_every: int, more: dict[str, Any]
) -> tuple[Interruption, str | None]:
    """Train with progress output. Return what stopped the run, and a message about what is saved, or else None."""
    from ..detection.processes import process_count
    from ..detection.training import train

    with (
        stopped_by_interrupt(screen, alone=process_count() == 1) as stop,
        progress_bar(screen, settings.iterations, "Training") as advance,
    ):
        reporter = Reporter(screen, advance, print_every)
        try:
            train(dataset, out, settings, report=reporter, stop=stop, **more)
        except KeyboardInterrupt:
            return stop, reporter.kept_text(out)
    return stop, reporter.kept_text(out) if reporter.reached < settings.iterations else None


def _next_command(
    out: Path, data: Path, split: str | None, measured: CocoDataset | None, settings: TrainSettings
) -> str:
    """Return the command to run after training."""
    cut = ""
    if settings.patches is not None:
        cut = f" --patch-size {settings.patches.size} --patch-overlap {settings.patches.overlap}"
    if measured is None:
        return f"use it with `roialign detect IMAGE... --weights {out} --out pictures{cut}`"
    from ..detection.rotated_data import RotatedDataset

    chosen = "" if split is None else f" --split {split}"
    if isinstance(measured, RotatedDataset) and not settings.detector.has_rotated_boxes:
        chosen += " --rotated"
    return f"evaluate it with `roialign evaluate --weights {out} --data {data}{chosen}{cut}`"


def _validation_set(
    data: Path, split: str | None, screen: Console, problems: Problems, *, strict: bool, rotated: bool
) -> CocoDataset | None:
    """Open the dataset for measuring average precision; None if the default split does not exist."""
    from ..detection.coco import find_split
    from ..detection.rotated_data import find_rotated_split, open_split
    from ..files.problems import DatasetError

    find = find_rotated_split if rotated else find_split
    try:
        find(data, split or "val")
    except DatasetError as error:
        if split is not None:
            raise
        print_line(screen, f"average precision is not measured: {error}")
        return None
    return open_split(data, split or "val", problems, strict=strict, rotated=rotated)


def _validation_of(dataset: CocoDataset | None, every: int, detector: DetectorSettings) -> Validation | None:
    """Check before training that the dataset and the detector have classes in common."""
    from ..detection.evaluation import match_categories
    from ..detection.training import Validation

    if dataset is None:
        return None
    match_categories(detector.classes, dataset, detector.category_ids)
    return Validation(dataset, every)
