"""The options of `roialign extract`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from .. import _typing, _validate
from ..extract.pipeline import Settings
from ..features.boxes import DETECTIONS, GRID_FORM
from ..files.columns import ROLES, TableReading
from .readiness import why_not

#: What the value of `--boxes` of `roialign extract` is.
EXPECTED_BOXES = f"an existing file, or with --backbone, {GRID_FORM} or {DETECTIONS}"

Inputs = Annotated[
    list[Path],
    typer.Argument(
        metavar="INPUT",
        help="Images, folders of images, or text files (.txt) with one path per line. Without --backbone, RGB pixels "
        "from 0 to 255 are pooled, and inputs may also be feature maps (.npy, .npz) of shape [C, H, W] or "
        "[1, C, H, W].",
        show_default=False,
    ),
]
BoxFile = Annotated[
    Path,
    typer.Option(
        "--boxes",
        metavar="FILE",
        help="Boxes: a COCO file, a JSON list (.json, .jsonl), or a table (.csv, .tsv, .parquet) with columns such as "
        "image, label, x1, y1, x2, y2, or filename, class, xmin, ymin, xmax, ymax, or x, y, width, height. Boxes are "
        "matched to inputs by file name. With --backbone, also grid:ROWSxCOLUMNS, or detections for the boxes that "
        "the detector of --backbone finds.",
        show_default=False,
    ),
]
ColumnNames = Annotated[
    str | None,
    typer.Option(
        "--columns",
        metavar="ROLE=NAME,...",
        help="Names of the columns of --boxes, such as image=photo,x1=a,y1=b,x2=c,y2=d. The roles are image and label; "
        "x1, y1, x2, y2; x, y, width, height; and cx, cy, w, h.",
        show_default=False,
    ),
]
BoxFormat = Annotated[
    Literal["xyxy", "xywh", "cxcywh"] | None,
    typer.Option(
        help="Meaning of the four numbers of a box: two corners, a corner and a size, or a centre and a size. Default: "
        "according to the column names, or two corners if there are none.",
        show_default=False,
    ),
]
IgnoreMissing = Annotated[
    bool, typer.Option("--ignore-missing", help="Skip boxes of images that are not among the inputs.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Stop with an error if a row or an image cannot be used.")]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        metavar="PATH",
        help="Result: an .npz file with one row per box (default: features.npz), or with --backbone, a folder "
        "(default: features).",
        show_default=False,
    ),
]
OutputSize = Annotated[
    str,
    typer.Option(
        metavar="SIZE",
        help="Number of bins per box: a number, or ROWSxCOLUMNS. With --backbone, also vector for a single bin, or "
        "several sizes, such as 7,vector.",
    ),
]
SpatialScale = Annotated[
    float,
    typer.Option(metavar="SCALE", help="Input pixels per pixel of the boxes: 1 / stride for maps of a backbone."),
]
Stride = Annotated[
    int,
    typer.Option(min=1, metavar="N", help="Average each input over squares of N x N pixels before pooling."),
]
Sampling = Annotated[
    Literal["exact", "grid", "random"],
    typer.Option(help="Sampling in a bin: the exact integral, a regular grid of points, or random points."),
]
SamplingRatio = Annotated[
    str,
    typer.Option(
        metavar="N",
        help="Sample points per bin along each axis, for grid and random: a number, or ROWSxCOLUMNS. 0 gives one per "
        "pixel.",
    ),
]
Aligned = Annotated[
    bool,
    typer.Option(help="Shift boxes by half a pixel, so that pixel centres of image and map coincide."),
]
Seed = Annotated[
    int | None,
    typer.Option(metavar="N", help="Random seed for --sampling random. Default: a new seed.", show_default=False),
]
Layout = Annotated[Literal["NCHW", "NHWC"], typer.Option(help="Order of the axes of feature maps and of the result.")]
ArrayName = Annotated[
    str | None,
    typer.Option(
        "--array", metavar="NAME", help="Array to read from an .npz file with several arrays.", show_default=False
    ),
]
Backend = Annotated[
    Literal["cpu", "reference"],
    typer.Option(help="Implementation: the compiled core (cpu), or the slow NumPy reference."),
]
Plot = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Draw the steps for one box (.png, .pdf or .svg).", show_default=False),
]
PlotBox = Annotated[
    int | None,
    typer.Option(
        metavar="ROW", help="Row of the box to draw, from 0. Default: the first pooled box.", show_default=False
    ),
]


def pair(text: str, option: str) -> tuple[int, int]:
    """Parse ``7`` or ``7x5`` as (rows, columns)."""
    if not re.fullmatch(r"-?\d+(x-?\d+)?", text):
        raise typer.BadParameter(f"expected a number or ROWSxCOLUMNS, got {text!r}", param_hint=option)
    first, _, second = text.partition("x")
    return int(first), int(second or first)


def make_reading(columns: str | None, box_format: str | None) -> TableReading:
    """Parse the options of how to read the box file."""
    roles = ["image", "label", *(role for four in ROLES.values() for role in four)]
    named: dict[str, str] = {}
    for part in columns.split(",") if columns else ():
        role, equals, name = (word.strip() for word in part.partition("="))
        if role not in roles or not equals or not name:
            expected = f"expected ROLE=NAME with a role of {', '.join(roles)}, got {part!r}"
            raise typer.BadParameter(expected, param_hint="--columns")
        if named.setdefault(role, name) != name:
            twice = f"expected each role once, got {role}={named[role]} and {role}={name}"
            raise typer.BadParameter(twice, param_hint="--columns")
    reading = TableReading(named, box_format)
    if not any(set(reading.box_roles) <= set(four) for four in ROLES.values()):
        kinds = ", or ".join(", ".join(four) for four in ROLES.values())
        expected = f"expected the roles of one kind of box, {kinds}, got {', '.join(reading.box_roles)}"
        raise typer.BadParameter(expected, param_hint="--columns")
    return reading


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
    """Validate the options. If no seed is given, it is drawn here, so that the result can contain it."""
    reason = why_not(backend)
    if reason:
        raise typer.BadParameter(f"{backend!r} is {reason}", param_hint="--backend")
    try:
        return Settings(
            output_size=_validate.check_output_size(pair(output_size, "--output-size"), "--output-size"),
            spatial_scale=_validate.check_number(spatial_scale, "--spatial-scale", positive=True),
            stride=stride,
            sampling=sampling,
            sampling_ratio=_validate.check_sampling_ratio(
                pair(sampling_ratio, "--sampling-ratio"), name="--sampling-ratio"
            ),
            aligned=aligned,
            seed=_validate.check_seed(seed, drawn=True, name="--seed") if sampling == "random" else None,
            layout=layout,
            array_name=array_name,
            backend=backend,
        )
    except (TypeError, ValueError) as error:
        raise typer.BadParameter(str(error)) from error
