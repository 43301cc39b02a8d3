"""The commands that need the extra `detection`. Each imports its packages when it is called.

They are outside `roialign.detection`, so that the other commands start without importing PyTorch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from .._text import counted
from . import training
from .exporting import EXPORT_EXAMPLES, export_command
from .help import add_command
from .inference import DETECT_EXAMPLES, EVALUATE_EXAMPLES, detect_command, evaluate_command
from .outputs import check_folder
from .terminal import end, fails, print_line, reported_problems
from .training import train_command

EXAMPLES = """
# 400 scenes for training and 80 for validation
roialign scenes scenes

# Harder scenes
roialign scenes small-scenes --small --rotated --dense

# Elongated objects with rotated boxes, in FOLDER/SPLIT/annotations_rotated.json
roialign scenes turned-scenes --rotated --elongated

# Your own drawings, one folder per class
roialign scenes drawn --objects drawings
"""


def scenes_command(
    out: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder for the dataset.", show_default=False)],
    train: Annotated[int, typer.Option(min=1, metavar="N", help="Number of scenes for training.")] = 400,
    val: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            help="Number of scenes for validation, with other digits, or with other drawings of a class that has at "
            "least five.",
        ),
    ] = 80,
    image_size: Annotated[int, typer.Option(min=32, metavar="N", help="Side of an image in pixels.")] = 160,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Random seed; the same seed gives the same files.")] = 0,
    objects: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder of PNG files with transparency to draw instead of digits. Each subfolder is a class. A file "
            "outside the subfolders is a class of its own.",
            show_default=False,
        ),
    ] = None,
    small: Annotated[bool, typer.Option("--small", help="Objects of 8 to 16 pixels.")] = False,
    rotated: Annotated[
        bool, typer.Option("--rotated", help="Objects rotated by up to 75 degrees, with a file of their rotated boxes.")
    ] = False,
    elongated: Annotated[
        bool, typer.Option("--elongated", help="Elongated objects, 3 to 7 times as long as they are wide.")
    ] = False,
    dense: Annotated[bool, typer.Option("--dense", help="Many objects, some partly hidden.")] = False,
) -> None:
    """Generate a dataset of handwritten digits, to try out training.

    Digits or your own drawings are drawn on textured backgrounds. The dataset has boxes and masks in COCO format, in
    FOLDER/train and FOLDER/val.
    """
    from ..detection.scene_objects import Drawings
    from ..detection.scenes import DIGITS, SceneSettings, write_scenes

    check_folder(out, "FOLDER")
    settings = SceneSettings(image_size=image_size, seed=seed).with_cases(
        small=small, rotated=rotated, dense=dense, elongated=elongated
    )
    errors = Console(stderr=True)
    problems = reported_problems(errors)
    try:
        drawn = DIGITS if objects is None else Drawings(objects, problems)
        write_scenes(out, {"train": train, "val": val}, settings, drawn)
    except (OSError, ValueError) as error:
        raise fails(errors, error) from error
    print_line(Console(), f"wrote {out}: {counted(train, 'scene')} for training, {val} for validation")
    end(errors, problems)


def add_commands(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    add_command(app, "scenes", scenes_command, EXAMPLES)
    add_command(app, "train", train_command, training.EXAMPLES)
    add_command(app, "evaluate", evaluate_command, EVALUATE_EXAMPLES)
    add_command(app, "detect", detect_command, DETECT_EXAMPLES)
    add_command(app, "export", export_command, EXPORT_EXAMPLES)
