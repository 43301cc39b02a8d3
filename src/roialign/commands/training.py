"""`roialign train`; what it needs is loaded when it is called."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from .app import print_line, problems_on, progress_bar
from .inference import Device, Strict, end, fails

#: Iterations between two lines of losses.
LINE_EVERY = 50


def train_command(
    data: Annotated[Path, typer.Option(help="A COCO-format set, as of `roialign scenes`.", show_default=False)],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="The folder of the run; a stopped one goes on.", show_default=False),
    ],
    model: Annotated[
        Literal["faster-rcnn", "mask-rcnn", "cascade-rcnn", "cascade-mask-rcnn"], typer.Option(help="What learns.")
    ] = "mask-rcnn",
    pooler: Annotated[str, typer.Option(help="What pools the RoIs: see docs/detection.md.")] = "exact",
    backbone: Annotated[str, typer.Option(help="A backbone, or timm:NAME.")] = "resnet18-fpn",
    size: Annotated[
        Literal["small", "full"], typer.Option(help="Few channels, for a processor, or those of the papers.")
    ] = "small",
    split: Annotated[str, typer.Option(help="The part of the set.")] = "train",
    iterations: Annotated[int, typer.Option(min=1, help="Steps of the optimiser.")] = 1500,
    batch_size: Annotated[int, typer.Option(min=1, help="Images of a step, of all processes together.")] = 8,
    learning_rate: Annotated[float, typer.Option(help="The highest.")] = 1e-3,
    optimiser: Annotated[Literal["adamw", "sgd"], typer.Option(help="What takes the steps.")] = "adamw",
    schedule: Annotated[
        Literal["cosine", "step"], typer.Option(help="How the learning rate falls after the warm-up.")
    ] = "cosine",
    warmup: Annotated[int, typer.Option(min=0, help="Steps in which it rises.")] = 100,
    clip: Annotated[float, typer.Option(help="The largest norm of a gradient.")] = 1.0,
    precision: Annotated[
        Literal["off", "bfloat16", "float16"], typer.Option("--amp", help="Automatic mixed precision.")
    ] = "off",
    flip: Annotated[float, typer.Option(min=0, max=1, help="How likely an image is mirrored.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same weights.")] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read images ahead.")] = 0,
    save_every: Annotated[int, typer.Option(min=1, help="Steps from one checkpoint to the next.")] = 100,
    strict: Strict = False,
    device: Device = "cpu",
) -> None:
    """Train a detector on a COCO-format set.

    What cannot be read is reported and the rest is learnt from; the exit code is then 1, unless `torchrun`, which would
    take that for a crash, has launched the process.

    Stopped at any moment, even killed, the same command goes on from the last checkpoint, to the same weights.
    The folder gets model.pt for `roialign evaluate` and `roialign detect`, log.csv, and curves for TensorBoard. Several
    processes share every batch: `torchrun --nproc-per-node 2 -m roialign.cli train ...`.
    """
    import torch

    from ..detection.coco import CocoDataset, find_split
    from ..detection.processes import launched_processes, process_rank
    from ..detection.training import TrainSettings, new_detector, train

    errors = Console(stderr=True)
    # Every process reads the set; one says what is wrong with it. Images are read by one process each.
    problems = problems_on(Console(stderr=True, quiet=os.environ.get("RANK", "0") != "0"))
    try:
        dataset = CocoDataset(*find_split(data, split), problems, strict=strict)
        problems.listener = problems_on(errors).listener
        settings = TrainSettings(
            new_detector(dataset, size=size, model=model, pooler=pooler, backbone=backbone),
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
        )
        with launched_processes(torch.device(device)) as own_device:
            leads = process_rank() == 0
            screen = Console(stderr=True, quiet=not leads)
            with progress_bar(screen, iterations, "Training") as done:
                reached = 0

                def report(iteration: int, losses: Mapping[str, float]) -> None:
                    nonlocal reached
                    for _ in range(reached, iteration):  # a run that goes on begins further on
                        done()
                    reached = iteration
                    if iteration % LINE_EVERY == 0 or iteration == iterations:
                        parts = ", ".join(f"{name} {value:.3f}" for name, value in losses.items())
                        print_line(screen, f"{iteration}: loss {sum(losses.values()):.3f} ({parts})")

                train(
                    dataset,
                    out,
                    settings,
                    device=own_device,
                    workers=workers,
                    save_every=save_every,
                    report=report,
                )
    except (ValueError, OSError, RuntimeError) as error:
        raise fails(errors, error) from error
    if leads:
        print_line(Console(), f"wrote {out}: evaluate it with `roialign evaluate --weights {out} --data {data}`")
    if "WORLD_SIZE" not in os.environ:
        end(errors, problems)
