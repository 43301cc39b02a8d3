"""The options for images that are cut into patches, and the notes about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

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
