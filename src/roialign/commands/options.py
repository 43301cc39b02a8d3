"""The options of `roialign extract`: their names, their help, and the checks made before any work."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from .. import _validate
from ..extract.pipeline import Settings
from .info import why_not

Inputs = Annotated[
    list[Path],
    typer.Argument(
        metavar="INPUT...",
        help="Images, whose pixels are the feature map (RGB from 0 to 255), or feature maps: .npy or .npz, "
        "[C, H, W] or [1, C, H, W].",
        show_default=False,
    ),
]
BoxFile = Annotated[
    Path,
    typer.Option(
        "--boxes",
        help="COCO json, a JSON list, or CSV with the columns image, x1, y1, x2, y2 and perhaps label; a box finds "
        "its input by file name.",
        show_default=False,
    ),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="The result, an .npz file with one row per box.")]
OutputSize = Annotated[str, typer.Option(help="Bins per box: a number, or ROWSxCOLUMNS.")]
SpatialScale = Annotated[
    float, typer.Option(help="Pixels of an input per pixel of the boxes: 1 / stride for feature maps.")
]
Stride = Annotated[
    int,
    typer.Option(min=1, help="Average each input over squares of so many pixels first, to pool from a coarser map."),
]
Sampling = Annotated[Literal["exact", "grid", "random"], typer.Option(help="How the points of a bin are chosen.")]
SamplingRatio = Annotated[
    str, typer.Option(help="Points per bin and axis for grid and random: a number, or ROWSxCOLUMNS; 0 is adaptive.")
]
Aligned = Annotated[bool, typer.Option(help="Shift by half a pixel, so that pixel centres of image and map agree.")]
Seed = Annotated[int | None, typer.Option(help="For random sampling; drawn where it is not given.", show_default=False)]
Layout = Annotated[Literal["NCHW", "NHWC"], typer.Option(help="The order of axes in feature maps and in the result.")]
ArrayName = Annotated[
    str | None, typer.Option("--array", help="Which array of an .npz with several.", show_default=False)
]
Backend = Annotated[
    Literal["cpu", "reference"], typer.Option(help="The compiled core, or the NumPy specification (slow).")
]
Plot = Annotated[
    Path | None,
    typer.Option(help="Draw how one box is pooled, step by step, into this .png, .pdf or .svg.", show_default=False),
]
PlotBox = Annotated[
    int | None,
    typer.Option(help="The row of the box to draw, from 0; by default the first.", show_default=False),
]


def pair(text: str, option: str) -> tuple[int, int]:
    """``7`` or ``7x5`` as (rows, columns)."""
    if not re.fullmatch(r"-?\d+(x-?\d+)?", text):
        raise typer.BadParameter(f"expected a number or ROWSxCOLUMNS, found {text!r}", param_hint=option)
    first, _, second = text.partition("x")
    return int(first), int(second or first)


def make_settings(
    output_size: str,
    spatial_scale: float,
    stride: int,
    sampling: str,
    sampling_ratio: str,
    aligned: bool,
    seed: int | None,
    layout: str,
    array_name: str | None,
    backend: str,
) -> Settings:
    """The options as checked settings; a random seed is drawn here, once, so that the result can say it."""
    reason = why_not(backend)
    if reason:
        raise typer.BadParameter(f"{backend!r} is {reason}", param_hint="--backend")
    try:
        return Settings(
            output_size=_validate.check_output_size(pair(output_size, "--output-size"), "--output-size"),
            spatial_scale=_validate.check_number(spatial_scale, "--spatial-scale", positive=True),
            stride=stride,
            sampling=sampling,
            sampling_ratio=_validate.check_sampling_ratio(pair(sampling_ratio, "--sampling-ratio")),
            aligned=aligned,
            seed=_validate.check_seed(seed, drawn=True) if sampling == "random" else None,
            layout=layout,
            array_name=array_name,
            backend=backend,
        )
    except (TypeError, ValueError) as error:
        raise typer.BadParameter(str(error)) from error


def check_outputs(out: Path, plot: Path | None, read: Sequence[Path]) -> None:
    """Refuse, before any work, to write where there is no folder, in an unknown format, or over what is read."""
    if plot is not None and plot.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise typer.BadParameter(f"expected a name ending in .png, .pdf or .svg, found {plot}", param_hint="--plot")
    sources = {path.resolve() for path in read}
    for option, path in (("--out", out), ("--plot", plot)):
        if path is None:
            continue
        if not path.parent.is_dir():
            raise typer.BadParameter(f"{path.parent} is not a folder", param_hint=option)
        if path.is_dir():
            raise typer.BadParameter(f"{path} is a folder", param_hint=option)
        if path.resolve() in sources:
            raise typer.BadParameter(f"{path} is also read; it would be lost", param_hint=option)
        sources.add(path.resolve())
