"""`roialign evaluate` and `roialign detect`; what they need is loaded when they are called."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..files.problems import Problems
from .app import print_line, problems_on, progress_bar
from .tables import printable

if TYPE_CHECKING:
    from ..detection.detecting import Found

Weights = Annotated[
    Path,
    typer.Option(
        help="A file of weights, the folder of a training run, or the weights of torchvision's fasterrcnn_resnet50_fpn "
        "or maskrcnn_resnet50_fpn.",
        show_default=False,
    ),
]
Model = Annotated[
    Literal["faster-rcnn", "mask-rcnn"] | None,
    typer.Option(help="What torchvision's weights are of; by default what the file holds.", show_default=False),
]
PoolerName = Annotated[
    str | None, typer.Option("--pooler", help="Another pooler than that of the file.", show_default=False)
]
Device = Annotated[str, typer.Option(help='Where it runs: "cpu", "cuda", "cuda:1".')]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse the set for one row or image that cannot be used.")]
Classes = Annotated[
    str | None,
    typer.Option(
        help="Names of the labels of weights that have none: cat,dog, or a file with a name per line, or COCO json.",
        show_default=False,
    ),
]
#: The columns of the table of average precision.
COLUMNS = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR")


def evaluate_command(
    weights: Weights,
    data: Annotated[Path, typer.Option(help="A COCO-format set, as of `roialign scenes`.", show_default=False)],
    split: Annotated[str, typer.Option(help="The part of the set.")] = "val",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Detections in COCO's format of results.", show_default=False)
    ] = None,
    metrics: Annotated[
        Path | None,
        typer.Option(help="All figures as json, by overlap and by class too.", show_default=False),
    ] = None,
    model: Model = None,
    pooler: PoolerName = None,
    classes: Classes = None,
    strict: Strict = False,
    device: Device = "cpu",
) -> None:
    """Measure the average precision of a detector on a COCO-format set.

    What cannot be read is reported and the rest is done; the exit code is then 1. Files are replaced in one step.
    """
    from ..detection.coco import CocoDataset, DatasetError, find_split
    from ..detection.evaluation import KINDS, average_precision, match_categories, predict
    from ..detection.model_files import ModelFileError, load_model, read_classes

    errors = Console(stderr=True)
    problems = problems_on(errors)
    try:
        names = None if classes is None else read_classes(classes)
        detector, settings = load_model(weights, model=model, pooler=pooler, classes=names, device=device)
        dataset = CocoDataset(*find_split(data, split), problems, strict=strict)
        if len(dataset) == 0:
            raise DatasetError(f"{dataset.annotations}: no image to evaluate on")
        categories = match_categories(settings.classes, dataset, settings.category_ids)
    except (ModelFileError, DatasetError, ValueError, RuntimeError) as error:
        raise fails(errors, error) from error
    try:
        with progress_bar(errors, len(dataset), "Detecting") as done:
            rows, images = predict(detector, dataset, progress=done, category_ids=categories, problems=problems)
    except DatasetError as error:  # a strict set
        raise fails(errors, error) from error
    kinds = list(KINDS) if settings.has_masks else ["box"]
    figures = {kind: average_precision(dataset, rows, kind, images) for kind in kinds} if images else {}
    console = Console()
    if figures:
        console.print(_precision_table(figures, f"Average precision on {len(images)} images of {data.name}/{split}"))
    for path, content in ((out, rows), (metrics, {"images": len(images), **figures})):
        if path is not None:
            _write_json(path, content, problems, console)
    end(errors, problems)


def detect_command(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Images.", show_default=False)],
    weights: Weights,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder of results.", show_default=False)],
    score_threshold: Annotated[float, typer.Option(min=0, max=1, help="Detections of a lower score are left out.")] = (
        0.5
    ),
    model: Model = None,
    pooler: PoolerName = None,
    classes: Classes = None,
    device: Device = "cpu",
) -> None:
    """Detect objects in images, and draw them with their boxes, masks and scores.

    The folder gets detections.json, in COCO's format with names and scores, and a picture NAME-detections.png for every
    image. An image that cannot be read is reported and the others are done; the exit code is then 1.
    """
    from ..detection.detecting import RESULTS_FILE, detect_images
    from ..detection.model_files import ModelFileError, load_model, read_classes

    errors = Console(stderr=True)
    problems = problems_on(errors)
    images = list(dict.fromkeys(images))
    try:
        names = None if classes is None else read_classes(classes)
        detector, settings = load_model(weights, model=model, pooler=pooler, classes=names, device=device)
        with progress_bar(errors, len(images), "Detecting") as done:
            found = detect_images(
                detector, settings, images, out, problems, score_threshold=score_threshold, progress=done
            )
    except (ModelFileError, ValueError, OSError, RuntimeError) as error:
        raise fails(errors, error) from error
    console = Console()
    if found:
        console.print(_found_table(found))
    print_line(console, f"wrote {out / RESULTS_FILE}: {sum(one.count for one in found)} objects in {len(found)} images")
    end(errors, problems)


def _precision_table(figures: dict[str, dict[str, Any]], title: str) -> Table:
    table = Table(title=Text(printable(title)), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for name in COLUMNS:
        table.add_column(name.replace("_", " "), justify="right")
    for kind, values in figures.items():
        table.add_row(kind, *("-" if values[name] is None else f"{100 * values[name]:.1f}" for name in COLUMNS))
    return table


def _found_table(found: Sequence[Found]) -> Table:
    table = Table(title="Detections", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for name in ("image", "objects", "surest", "picture"):
        table.add_column(name, justify="right" if name == "objects" else "left", overflow="fold")
    for one in found:
        names = (one.image.name, str(one.count), one.best, one.picture.name)
        table.add_row(*(Text(printable(name)) for name in names))
    return table


def _write_json(path: Path, content: object, problems: Problems, console: Console) -> None:
    from ..extract.output import atomic_write

    try:
        with atomic_write(path) as file:
            file.write(json.dumps(content).encode())
    except OSError as error:
        problems.add(path, f"not written: {error.strerror or error}")
        return
    print_line(console, f"wrote {path}")


def fails(errors: Console, error: Exception) -> typer.Exit:
    print_line(errors, f"error: {error}")
    return typer.Exit(1)


def end(errors: Console, problems: Problems) -> None:
    """The number of problems, and the exit code that says that there were some."""
    if problems:
        print_line(errors, f"{len(problems)} problem{'s' * (len(problems) != 1)}")
        raise typer.Exit(1)
