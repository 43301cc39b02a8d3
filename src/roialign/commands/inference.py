"""`roialign evaluate` and `roialign detect`. They import their packages when they are called."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .._text import counted, printable
from ..files.problems import Problems, StoppedByProblem
from .detect_inputs import images_to_detect
from .extract_options import Strict
from .outputs import check_folder, check_outputs
from .patch_options import PatchOverlap, PatchSize, patch_settings, patches_text, remark_other_patches
from .tables import new_table, print_table
from .terminal import end, fails, print_line, progress_bar, reported_problems

if TYPE_CHECKING:
    from ..detection.coco import CocoDataset
    from ..detection.detecting import Found

Weights = Annotated[
    Path,
    typer.Option(
        metavar="PATH",
        help="Trained detector: a file of weights, the folder of a training run, or weights of torchvision's "
        "fasterrcnn_resnet50_fpn or maskrcnn_resnet50_fpn.",
        show_default=False,
    ),
]
Data = Annotated[
    Path,
    typer.Option(
        metavar="FOLDER",
        help="Dataset in COCO format: SPLIT/annotations.json and SPLIT/images/, or annotations/instances_SPLIT*.json "
        "and SPLIT*/. For rotated boxes, also SPLIT/annotations_rotated.json or DOTA's SPLIT/labelTxt/.",
        show_default=False,
    ),
]
Rotated = Annotated[
    bool,
    typer.Option(
        "--rotated",
        help="Use rotated boxes from --data. Implied by detectors of rotated boxes. Other detectors use the upright "
        "hulls of the boxes.",
    ),
]
Model = Annotated[
    Literal["faster-rcnn", "mask-rcnn"] | None,
    typer.Option(help="Architecture of torchvision weights. Default: that of the file.", show_default=False),
]
PoolerName = Annotated[
    str | None,
    typer.Option(
        "--pooler", metavar="NAME", help="RoI pooling operator. Default: that used in training.", show_default=False
    ),
]
Classes = Annotated[
    str | None,
    typer.Option(
        metavar="NAMES",
        help="Class names, if the weights have none: cat,dog, a file with one name per line, or a COCO file.",
        show_default=False,
    ),
]
Device = Annotated[str, typer.Option(metavar="NAME", help="Device to run on: cpu, cuda, or cuda:1 for the second GPU.")]

EvaluatedRotated = Annotated[
    bool,
    typer.Option(
        "--rotated",
        help="Use rotated boxes from --data. Implied by detectors of rotated boxes. The upright boxes of other "
        "detectors, or the smallest rectangles around their masks, are compared with them.",
    ),
]
EVALUATE_EXAMPLES = """
# COCO average precision on the split val
roialign evaluate --weights run --data scenes

# Average precision of rotated boxes, for Oriented R-CNN
roialign evaluate --weights oriented --data turned

# Also write the detections in DOTA format
roialign evaluate --weights oriented --data turned --dota-out task1

# Large images, in patches of 1024 x 1024 pixels, as trained with
roialign evaluate --weights aerial --data dota --patch-size 1024 --dota-out task1

# Also write all metrics by IoU and by class, and all detections
roialign evaluate --weights run --data scenes --metrics metrics.json --out results.json
"""
DETECT_EXAMPLES = """
# One image, and all images of a folder
roialign detect scenes/val/images/000001.png --weights run --out pictures
roialign detect scenes/val/images --weights run --out pictures

# Include detections with lower scores
roialign detect photos --weights run --out pictures --score-threshold 0.2

# A large image, in patches that share 200 pixels
roialign detect harbour.tif --weights aerial --out pictures --patch-size 1024 --patch-overlap 200
"""

#: The columns of the table of average precision.
COLUMNS = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR")


def evaluate_command(
    weights: Weights,
    data: Data,
    split: Annotated[str, typer.Option(metavar="NAME", help="Split of --data to evaluate on.")] = "val",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FILE", help="Write all detections as COCO results (.json).", show_default=False
        ),
    ] = None,
    metrics: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write all metrics, by IoU and by class (.json).", show_default=False),
    ] = None,
    dota_out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Write all rotated boxes in DOTA format, one file Task1_CLASS.txt per class.",
            show_default=False,
        ),
    ] = None,
    rotated: EvaluatedRotated = False,
    patch_size: PatchSize = None,
    patch_overlap: PatchOverlap = None,
    model: Model = None,
    pooler: PoolerName = None,
    classes: Classes = None,
    strict: Strict = False,
    device: Device = "cpu",
) -> None:
    """Measure the average precision of a detector.

    For a detector of rotated boxes, average precision of rotated boxes is computed by the definitions of COCO and of
    DOTA. With --rotated, it is also computed for other detectors. If they have masks, the smallest rotated rectangles
    around the masks are used.

    With --patch-size, the detector runs on overlapping patches of every image, and their detections are merged by
    non-maximum suppression over the whole image. Give the size that was used in training.

    Images and annotations that cannot be read are reported and skipped, and the exit code is 1.
    """
    from ..detection.average_precision import kinds_measured, precisions
    from ..detection.evaluation import match_categories, patch_count, predict
    from ..detection.model_files import load_model, read_classes
    from ..detection.rotated_data import open_split
    from ..files.problems import DatasetError
    from ..torch.devices import check_device

    outputs = [("--out", out, (".json",)), ("--metrics", metrics, (".json",))]
    check_outputs(outputs, [])
    if dota_out is not None:
        check_folder(dota_out, "--dota-out")
    errors = Console(stderr=True)
    problems = reported_problems(errors)
    patches = patch_settings(patch_size, patch_overlap)
    try:
        names = None if classes is None else read_classes(classes)
        own = check_device(device)
        detector, settings = load_model(weights, model=model, pooler=pooler, classes=names, device=own)
        remark_other_patches(weights, patch_size, problems)
        if dota_out is not None and not settings.has_rotated_boxes:
            raise ValueError(f"--dota-out: expected a detector of rotated boxes, got {settings.model}")
        rotated = rotated or settings.has_rotated_boxes
        dataset = open_split(data, split, problems, strict=strict, rotated=rotated)
        check_outputs(outputs, [dataset.annotations])
        if len(dataset) == 0:
            raise DatasetError(f"{dataset.annotations}: no image to evaluate on")
        categories = match_categories(settings.classes, dataset, settings.category_ids)
        count = len(dataset) if patches is None else patch_count(dataset, patches)
    except (ValueError, RuntimeError) as error:
        raise fails(errors, patches_text(error)) from error
    try:
        with progress_bar(errors, count, "Detecting", unit="images" if patches is None else "patches") as done:
            rows, images = predict(
                detector, dataset, progress=done, category_ids=categories, problems=problems, patches=patches
            )
    except DatasetError as error:  # only with strict
        raise fails(errors, error) from error
    kinds = kinds_measured(masks=settings.has_masks, rotated=rotated)
    figures = precisions(dataset, rows, kinds, images) if images else {}
    console = Console()
    if figures:
        title = f"Average precision on {counted(len(images), 'image')} of {data.name}/{split}"
        print_table(console, _precision_table(figures, title))
    for path, content in ((out, rows), (metrics, {"images": len(images), **figures})):
        if path is not None:
            _write_json(path, content, problems, console)
    if dota_out is not None:
        _write_dota(dota_out, dataset, rows, problems, console)
    end(errors, problems)


def detect_command(
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE", help="Images, or folders of them.", show_default=False)
    ],
    weights: Weights,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder for the results.", show_default=False)
    ],
    score_threshold: Annotated[
        float, typer.Option(min=0, max=1, metavar="SCORE", help="Minimum score of a detection.")
    ] = 0.5,
    rotated: Annotated[
        bool, typer.Option("--rotated", help="Stop with an error if the detector does not find rotated boxes.")
    ] = False,
    patch_size: PatchSize = None,
    patch_overlap: PatchOverlap = None,
    model: Model = None,
    pooler: PoolerName = None,
    classes: Classes = None,
    strict: Strict = False,
    device: Device = "cpu",
) -> None:
    """Detect objects in images, and draw the detections.

    Writes detections.json, in COCO format with class names and scores, and for every image a picture
    NAME-detections.png with its boxes, masks and scores. For rotated boxes, detections.json also has their corners.
    In a folder of images that is also --out, the pictures of earlier results are left out.

    With --patch-size, the detector runs on overlapping patches of every image, and their detections are merged by
    non-maximum suppression over the whole image. Give the size that was used in training.

    Images that cannot be read are reported and skipped, and the exit code is 1. With --strict, the first such image
    stops the run, and detections.json is not written.
    """
    from ..detection.detecting import RESULTS_FILE, detect_images, patch_count_of
    from ..detection.model_files import ModelFileError, load_model, read_classes
    from ..torch.devices import check_device

    check_folder(out, "--out")
    errors = Console(stderr=True)
    problems = reported_problems(errors)
    problems.strict = strict
    patches = patch_settings(patch_size, patch_overlap)
    try:
        images = images_to_detect(images, out, problems)
        names = None if classes is None else read_classes(classes)
        own = check_device(device)
        detector, settings = load_model(weights, model=model, pooler=pooler, classes=names, device=own)
        remark_other_patches(weights, patch_size, problems)
        if rotated and not settings.has_rotated_boxes:
            raise ModelFileError(f"{weights}: expected a detector of rotated boxes, got {settings.model}")
        count = len(images) if patches is None else patch_count_of(images, patches)
        with progress_bar(errors, count, "Detecting", unit="images" if patches is None else "patches") as done:
            found = detect_images(
                detector,
                settings,
                images,
                out,
                problems,
                score_threshold=score_threshold,
                progress=done,
                patches=patches,
            )
    except StoppedByProblem:
        raise typer.Exit(1) from None
    except (ValueError, OSError, RuntimeError) as error:
        raise fails(errors, patches_text(error)) from error
    console = Console()
    if found:
        print_table(console, _found_table(found))
    objects = counted(sum(one.count for one in found), "object")
    print_line(console, f"wrote {out / RESULTS_FILE}: {objects} in {counted(len(found), 'image')}")
    end(errors, problems)


def _precision_table(figures: dict[str, dict[str, Any]], title: str) -> Table:
    table = new_table(title, ("", *(name.replace("_", " ") for name in COLUMNS)), texts=("",))
    for kind, values in figures.items():
        known = (values.get(name) for name in COLUMNS)
        table.add_row(kind.replace("_", " "), *("-" if value is None else f"{100 * value:.1f}" for value in known))
    return table


def _found_table(found: Sequence[Found]) -> Table:
    columns = ("image", "objects", "best", "picture")
    table = new_table("Detections", columns, texts=("image", "best", "picture"))
    for one in found:
        names = (one.image.name, str(one.count), one.best, one.picture.name if one.picture else "")
        table.add_row(*(Text(printable(name)) for name in names))
    return table


def _write_dota(
    folder: Path, dataset: CocoDataset, rows: Sequence[dict[str, Any]], problems: Problems, console: Console
) -> None:
    from ..detection.dota_results import write_dota_results
    from ..files.writing import not_written

    classes = dict(zip(dataset.category_ids, dataset.class_names, strict=True))
    names = {row["id"]: row["file_name"] for row in dataset.rows}
    try:
        written = write_dota_results(folder, rows, classes, names, problems)
    except OSError as error:
        problems.add(error.filename or folder, not_written(error))
        return
    print_line(console, f"wrote {folder}: {counted(len(written), 'file')}")


def _write_json(path: Path, content: object, problems: Problems, console: Console) -> None:
    from ..files.writing import atomic_write, not_written

    try:
        with atomic_write(path) as file:
            file.write(json.dumps(content).encode())
    except OSError as error:
        problems.add(path, not_written(error))
        return
    print_line(console, f"wrote {path}")
