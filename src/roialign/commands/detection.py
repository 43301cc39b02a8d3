"""The commands of `roialign` that need the extra `detection`; each loads what it needs when it is called.

They stand outside `roialign.detection`, so that the other commands start without torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from .inference import detect_command, evaluate_command
from .training import train_command


def scenes_command(
    out: Annotated[Path, typer.Argument(help="The folder to write into.", show_default=False)],
    train: Annotated[int, typer.Option(min=1, help="Scenes to train on.")] = 400,
    val: Annotated[int, typer.Option(min=1, help="Scenes to test on, of handwriting that training never shows.")] = 80,
    image_size: Annotated[int, typer.Option(min=32, help="Side of an image in pixels.")] = 160,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same files.")] = 0,
    small: Annotated[bool, typer.Option("--small", help="Objects of 8 to 16 pixels.")] = False,
    rotated: Annotated[bool, typer.Option("--rotated", help="Objects turned by up to 75 degrees.")] = False,
    dense: Annotated[bool, typer.Option("--dense", help="Many objects, some partly hidden.")] = False,
) -> None:
    """Draw scenes of handwritten digits on textured ground, with boxes and masks in COCO format."""
    from ..detection.scenes import SceneSettings, write_scenes

    settings = SceneSettings(image_size=image_size, seed=seed).with_cases(small=small, rotated=rotated, dense=dense)
    console = Console()
    try:
        write_scenes(out, {"train": train, "val": val}, settings)
    except OSError as error:
        Console(stderr=True).print(f"error: {error}", style="bold red", highlight=False, soft_wrap=True, markup=False)
        raise typer.Exit(1) from error
    console.print(f"wrote {out}: {train} scenes to train on, {val} to test on", soft_wrap=True, markup=False)


def add_commands(app: typer.Typer) -> None:
    """Make the commands known to the command line."""
    app.command("scenes")(scenes_command)
    app.command("train")(train_command)
    app.command("evaluate")(evaluate_command)
    app.command("detect")(detect_command)
