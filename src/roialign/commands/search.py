"""`roialign search`: finds the regions in a folder of features that are most similar to a region of an image."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .._text import encodable, printable
from .._typing import Corners
from ..features.manifest import MANIFEST
from ..files.folders import path_of
from ..files.problems import Problems
from ..files.writing import atomic_write
from .feature_options import cores
from .help import add_command
from .outputs import check_outputs
from .tables import new_table, print_table
from .terminal import end, fails, print_line, reported_problems

if TYPE_CHECKING:
    from ..search import Region
    from ..search.exact import Metric

EXAMPLES = """
# The ten regions most similar to a region of a photograph
roialign search features --like cat.jpg --box 180,40,330,190

# For two regions, the nearest 24 in other photographs, as a picture and as a table
roialign search features --like cat.jpg --box 180,40,330,190 --box 20,200,120,300 --top 24 --other-images \\
    --out like-this.png --results like-this.csv
"""
SHEETS, TABLES = (".png", ".jpg", ".webp"), (".json", ".csv")


def search_command(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER", help="Folder of features, from roialign extract --backbone.", show_default=False
        ),
    ],
    like: Annotated[Path, typer.Option(metavar="IMAGE", help="Image with the query regions.", show_default=False)],
    box: Annotated[
        list[str] | None,
        typer.Option(
            metavar="X1,Y1,X2,Y2",
            help="Query region in pixels of the upright image. Repeat the option for several searches. Default: the "
            "whole image.",
            show_default=False,
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, metavar="N", help="Number of regions to find for each box.")] = 10,
    metric: Annotated[Literal["cosine", "inner-product"], typer.Option(help="Similarity of two vectors.")] = "cosine",
    column: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Feature column to compare. Maps are averaged over their bins. Default: vector, or else the first.",
            show_default=False,
        ),
    ] = None,
    other_images: Annotated[
        bool, typer.Option("--other-images", help="Leave out the regions of the query image.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FILE", help="Contact sheet to draw (.png, .jpg or .webp).", show_default=False
        ),
    ] = None,
    results: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Table to write (.json or .csv).", show_default=False)
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder to which the relative image paths in the features refer. Default: the current folder.",
            show_default=False,
        ),
    ] = None,
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="Search the existing shards of an unfinished job.")
    ] = False,
    backbone: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="New name of the backbone, if its file has been moved.",
            show_default=False,
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Device of the backbone. Default: that of the job.", show_default=False),
    ] = None,
) -> None:
    """Find the regions most similar to a region of an image.

    The features of the query region are computed in the same way as those of the folder, according to its manifest. The
    search is exact: all regions are compared, in one pass over the folder. Regions with equal scores are listed in the
    order of the folder.
    """
    outputs = [("--out", out, SHEETS), ("--results", results, TABLES)]
    check_outputs(outputs, [like, folder / MANIFEST])
    boxes = [box_of(text) for text in box or ()]
    errors, console = Console(stderr=True), Console()
    problems = reported_problems(errors)
    try:
        excluded = paths_of(like, images or Path()) if other_images else ()
        options = SearchOptions(top, metric, column, excluded, unfinished, backbone, device)
        found = _search(folder, like, boxes, options)
        for one in found:
            print_table(console, _table(like, one))
        drawn = [path_of(region.image, images or Path()) for one in found for region in one.regions]
        check_outputs(outputs, drawn)
        if not drawn:
            problems.add(folder, "has no region to compare: its images failed, have no detections, or are left out")
        if results is not None:
            _write_results(results, like, found)
            print_line(console, f"wrote {results}")
        if out is not None:
            _draw(out, like, found, images or Path(), problems)
            print_line(console, f"drew {out}")
    except (ValueError, OSError, RuntimeError) as error:
        raise fails(errors, error) from error
    end(errors, problems)


class SearchOptions(NamedTuple):
    """The options of a search."""

    top: int
    metric: Metric
    column: str | None
    excluded: Sequence[Path]
    """The paths of an image whose regions are left out."""
    unfinished: bool
    backbone: str | None
    device: str | None


class Found(NamedTuple):
    """The regions found for one box."""

    box: Corners
    """The query box, or the box of the whole image if none was given."""
    regions: list[Region]
    scores: list[float]


def paths_of(image: Path, images: Path) -> list[Path]:
    """Return the paths by which features may name an image: as given, absolute, and relative to either folder."""
    absolute = image.resolve()
    folders = (Path.cwd(), images.resolve())
    return [image, absolute, *(Path(os.path.relpath(absolute, folder)) for folder in folders)]


def box_of(text: str) -> Corners:
    """Parse ``10,20,110,220`` as four numbers."""
    try:
        x1, y1, x2, y2 = map(float, text.split(","))
    except ValueError:
        raise typer.BadParameter(f"expected X1,Y1,X2,Y2, got {text!r}", param_hint="--box") from None
    return x1, y1, x2, y2


def _search(folder: Path, like: Path, boxes: Sequence[Corners], options: SearchOptions) -> list[Found]:
    from ..search import Encoder, FeatureFolder, nearest
    from ..search.exact import ZeroQueryError
    from ..search.folders import UnfinishedError

    try:
        opened = FeatureFolder.open(folder, unfinished=options.unfinished)
    except UnfinishedError as error:
        raise UnfinishedError(f"{error}, or give --unfinished") from error
    name = opened.column(options.column)
    encoder = Encoder(opened, backbone=options.backbone, device=options.device, threads=cores())
    boxes = boxes or [encoder.whole(like)]
    queries = encoder.encode(like, boxes, column=name)
    excluded = opened.positions_of_image(*options.excluded) if options.excluded else None
    try:
        with Console(stderr=True).status("Searching"):
            found = nearest(opened, queries, options.top, metric=options.metric, column=name, excluded=excluded)
    except ZeroQueryError as error:
        why = "its features are zero, so their cosine is undefined; give --metric inner-product"
        raise ValueError(f"box {_text_of(boxes[error.row])} of {like}: {why}") from error
    return [
        Found(box, opened.regions(positions), scores.tolist())
        for box, positions, scores in zip(boxes, found.positions, found.scores, strict=True)
    ]


def _table(like: Path, found: Found) -> Table:
    title = f"Regions similar to {_text_of(found.box)} of {like}"
    table = new_table(title, ("", "score", "image", "label", "x1", "y1", "x2", "y2"), texts=("image", "label"))
    for number, (region, score) in enumerate(zip(found.regions, found.scores, strict=True), 1):
        corners = [f"{corner:.6g}" for corner in region.box]
        words = [Text(printable(word)) for word in (region.image, region.label)]
        table.add_row(str(number), f"{score:.4f}", *words, *corners)
    return table


def _text_of(box: Corners) -> str:
    return ",".join(f"{corner:g}" for corner in box)


def _write_results(path: Path, like: Path, found: Sequence[Found]) -> None:
    """Write the results as JSON, or as CSV, which `roialign extract --boxes` can read."""
    rows = [
        {
            "query": _text_of(one.box),
            "rank": rank,
            "score": score,
            "image": region.image,
            "row": region.row,
            "label": region.label,
            **dict(zip(("x1", "y1", "x2", "y2"), region.box, strict=True)),
        }
        for one in found
        for rank, (region, score) in enumerate(zip(one.regions, one.scores, strict=True), 1)
    ]
    with atomic_write(path) as file:
        if path.suffix.lower() == ".json":
            file.write(json.dumps({"image": encodable(str(like)), "regions": rows}, indent=1).encode())
            return
        text = io.StringIO()
        names = ["query", "rank", "score", "image", "row", "label", "x1", "y1", "x2", "y2"]
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        file.write(text.getvalue().encode(errors="backslashreplace"))


def _draw(path: Path, like: Path, found: Sequence[Found], images: Path, problems: Problems) -> None:
    from ..search.sheets import Tile, draw_sheet

    queries = [Tile(like, one.box, (f"like {like.name}", _text_of(one.box))) for one in found]
    tiles = [
        [
            Tile(
                path_of(region.image, images),
                region.box,
                (f"{score:.3f} {region.label}", Path(region.image).name),
                region.image_size,
            )
            for region, score in zip(one.regions, one.scores, strict=True)
        ]
        for one in found
    ]
    for image, why in draw_sheet(path, queries, tiles).items():
        problems.add(image, why)


def add_commands(app: typer.Typer) -> None:
    """Add the command to the command line."""
    add_command(app, "search", search_command, EXAMPLES)
