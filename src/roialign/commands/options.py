"""The options of `roialign extract`: their names, their help, and the checks made before any work."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from .. import _typing, _validate
from ..extract.pipeline import Settings
from ..files.columns import ROLES, Reading
from ..files.kinds import real_path
from .readiness import why_not

#: Options of `roialign extract` in its help: how boxes are pooled, and the rest.
Inputs = Annotated[
    list[Path],
    typer.Argument(
        metavar="INPUT",
        help="Images; folders of them; or lists of them, .txt with a path on each line. Without --backbone the RGB "
        "pixels from 0 to 255 are the feature map, and inputs may be feature maps, .npy or .npz, [C, H, W] or "
        "[1, C, H, W].",
        show_default=False,
    ),
]
BoxFile = Annotated[
    Path,
    typer.Option(
        "--boxes",
        metavar="FILE",
        help="Boxes: COCO json, a JSON list (.json, .jsonl), or a table (.csv, .tsv, .parquet) with columns such as "
        "image, label, x1, y1, x2, y2, or filename, class, xmin, ymin, xmax, ymax, or x, y, width, height. A box finds "
        "its input by file name. With --backbone also grid:ROWSxCOLUMNS, or detections, those of the detector whose "
        "backbone it is.",
        show_default=False,
    ),
]
ColumnNames = Annotated[
    str | None,
    typer.Option(
        "--columns",
        metavar="ROLE=NAME,...",
        help="Columns of the boxes under other names, as in image=photo,x1=a,y1=b,x2=c,y2=d. Roles are image and "
        "label; x1, y1, x2, y2; x, y, width, height; and cx, cy, w, h.",
        show_default=False,
    ),
]
BoxFormat = Annotated[
    Literal["xyxy", "xywh", "cxcywh"] | None,
    typer.Option(
        help="Meaning of a box's four numbers: two corners, a corner and a size, or a centre and a size; by default as "
        "its columns are called, and two corners where they have no names.",
        show_default=False,
    ),
]
IgnoreMissing = Annotated[
    bool, typer.Option("--ignore-missing", help="Pass over the boxes of images that are not among the inputs.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse everything for one row or image that cannot be used.")]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        metavar="PATH",
        help="Result: an .npz file with one row per box, by default features.npz; with --backbone a folder, by "
        "default features.",
        show_default=False,
    ),
]
OutputSize = Annotated[
    str,
    typer.Option(
        metavar="SIZE",
        help="Bins per box: a number, or ROWSxCOLUMNS; with --backbone also vector, for one bin, or several, as in "
        "7,vector.",
    ),
]
SpatialScale = Annotated[
    float,
    typer.Option(metavar="SCALE", help="Input pixels per pixel of the boxes: 1 / stride for the maps of a backbone."),
]
Stride = Annotated[
    int,
    typer.Option(min=1, metavar="N", help="Average each input over squares of N x N pixels before pooling."),
]
Sampling = Annotated[
    Literal["exact", "grid", "random"],
    typer.Option(help="Sample points of a bin: infinitely many (an integral), a regular grid, or random ones."),
]
SamplingRatio = Annotated[
    str,
    typer.Option(
        metavar="N",
        help="Sample points per bin and axis, for grid and random: a number, or ROWSxCOLUMNS; 0 is one per pixel.",
    ),
]
Aligned = Annotated[
    bool,
    typer.Option(help="Shift by half a pixel, so that the pixel centres of image and map agree."),
]
Seed = Annotated[
    int | None,
    typer.Option(metavar="N", help="Random seed for --sampling random; by default a new one.", show_default=False),
]
Layout = Annotated[Literal["NCHW", "NHWC"], typer.Option(help="Order of the axes in feature maps and in the result.")]
ArrayName = Annotated[
    str | None,
    typer.Option("--array", metavar="NAME", help="Array to read from an .npz that holds several.", show_default=False),
]
Backend = Annotated[
    Literal["cpu", "reference"], typer.Option(help="The compiled core, or the NumPy specification (slow).")
]
Plot = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Draw how one box is pooled, step by step (.png, .pdf or .svg).", show_default=False
    ),
]
PlotBox = Annotated[
    int | None,
    typer.Option(metavar="ROW", help="Row of the box to draw, from 0; by default the first.", show_default=False),
]


def pair(text: str, option: str) -> tuple[int, int]:
    """``7`` or ``7x5`` as (rows, columns)."""
    if not re.fullmatch(r"-?\d+(x-?\d+)?", text):
        raise typer.BadParameter(f"expected a number or ROWSxCOLUMNS, found {text!r}", param_hint=option)
    first, _, second = text.partition("x")
    return int(first), int(second or first)


def make_reading(columns: str | None, box_format: str | None) -> Reading:
    """How the box file is to be read."""
    roles = ["image", "label", *(role for four in ROLES.values() for role in four)]
    named = {}
    for part in columns.split(",") if columns else ():
        role, equals, name = (word.strip() for word in part.partition("="))
        if role not in roles or not equals or not name:
            expected = f"expected ROLE=NAME, a role one of {', '.join(roles)}, found {part!r}"
            raise typer.BadParameter(expected, param_hint="--columns")
        named[role] = name
    return Reading(named, box_format)


def make_settings(
    output_size: str,
    spatial_scale: float,
    stride: int,
    sampling: _typing.Sampling,
    sampling_ratio: str,
    aligned: bool,
    seed: int | None,
    layout: _typing.Layout,
    array_name: str | None,
    backend: _typing.Backend,
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


#: Of a file to write: the option that names it, its path if it is wanted, and the endings of its formats.
Output = tuple[str, Path | None, Sequence[str]]


def check_outputs(outputs: Sequence[Output], read: Sequence[Path]) -> None:
    """Refuse, before any work, to write where there is no folder, in an unknown format, or over what is read."""
    sources = {real_path(path) for path in read}
    for option, path, endings in outputs:
        if path is None:
            continue
        check_output(path, option, endings)
        if real_path(path) in sources:
            raise typer.BadParameter(f"{path} is also read; it would be lost", param_hint=option)
        sources.add(real_path(path))


def check_folder(path: Path, option: str) -> None:
    """Refuse to write into a folder that is a file, or that is to lie in one."""
    for place in (path, *path.parents):
        if os.path.lexists(place) and not os.path.isdir(place):
            raise typer.BadParameter(f"{place} is a file; expected a folder", param_hint=option)


def check_output(path: Path | None, option: str, endings: Sequence[str]) -> None:
    """Refuse to write where there is no folder, or in a format that the name does not say."""
    if path is None:
        return
    if os.path.isdir(path):
        raise typer.BadParameter(f"{path} is a folder", param_hint=option)
    if path.suffix.lower() not in endings:
        names = " or ".join([", ".join(endings[:-1]), endings[-1]] if endings[1:] else endings)
        raise typer.BadParameter(f"expected a name ending in {names}, found {path}", param_hint=option)
    if not os.path.isdir(path.parent):
        raise typer.BadParameter(f"{path.parent} is not a folder", param_hint=option)
