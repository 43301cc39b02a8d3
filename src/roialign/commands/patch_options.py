"""The options for images that are cut into patches, and the notes about them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..files.problems import Problems
from .terminal import with_options

if TYPE_CHECKING:
    from ..detection.patches import PatchSettings

PatchSize = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=2**15,
        metavar="N",
        help="Cut images into overlapping patches of N x N pixels, such as 1024 for aerial images. Default: whole "
        "images.",
        show_default=False,
    ),
]
PatchOverlap = Annotated[
    int | None,
    typer.Option(
        min=0,
        metavar="N",
        help="Pixels that neighbouring patches share: as many as the largest objects have.",
        show_default="200, or a fifth of --patch-size if that is less",
    ),
]


def patch_settings(size: int | None, overlap: int | None) -> PatchSettings | None:
    """The patches that the options ask for, or None for whole images."""
    from ..detection.patches import PatchSettings

    check_patches(size, overlap)
    return None if size is None else PatchSettings(size, overlap)


def check_patches(size: int | None, overlap: int | None) -> None:
    """Check the options for patches before anything is read."""
    if size is None:
        if overlap is not None:
            raise typer.BadParameter("expected --patch-size as well", param_hint="--patch-overlap")
        return
    if overlap is not None and overlap >= size:
        message = f"expected less than {size}, the --patch-size, got {overlap}"
        raise typer.BadParameter(message, param_hint="--patch-overlap")


def patches_text(error: Exception) -> object:
    """Return an error, with options in place of the arguments for patches that its message begins with."""
    return with_options(error, {"size": "--patch-size", "overlap": "--patch-overlap"})


def remark_other_patches(weights: Path, size: int | None, problems: Problems) -> None:
    """Add a remark if a detector was trained on patches of another size.

    The size is that in the folder of its run. Nothing is known of weights that lie elsewhere.
    """
    from ..detection.model_files import MODEL_FILE
    from ..detection.training.settings import RunError, read_settings

    if not weights.is_dir() and weights.name != MODEL_FILE:
        return
    try:
        settings = read_settings(weights if weights.is_dir() else weights.parent)
    except (RunError, OSError):  # the detector itself can be used
        return
    trained = None if settings is None else settings.patch_size
    if trained is None or trained == size:
        return
    given = "is not given: images are not cut" if size is None else f"is {size}"
    problems.remark(weights, f"trained on patches of {trained} pixels, and --patch-size {given}", "patch size")
