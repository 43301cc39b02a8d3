"""Make a COCO-format dataset for `roialign train` from photographs and a table of boxes.

python examples/make_dataset.py PHOTOGRAPHS... --boxes boxes.csv --out mine
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from arguments import (
    at_least_one,
    check,
    check_apart,
    check_output,
    check_replaceable,
    ends_with_code,
    photographs_in,
)
from PIL import Image, ImageOps
from rich.console import Console

from roialign._text import counted
from roialign.commands.terminal import reported_problems
from roialign.extract.matching import group_by_input
from roialign.files.boxes import Box, read_boxes
from roialign.files.images import explained
from roialign.files.problems import FileError, Problems
from roialign.files.text import read_json

ANNOTATIONS = "annotations.json"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("photographs", type=Path, nargs="+", help="Images, or folders of images.")
    parser.add_argument(
        "--boxes", type=Path, required=True, help="A table of boxes, as for `roialign extract`. Labels are the classes."
    )
    parser.add_argument("--out", type=Path, required=True, help="Folder of the dataset.")
    parser.add_argument(
        "--longest-side",
        type=at_least_one,
        default=1024,
        help="Longest side in pixels. Larger photographs are resized.",
    )
    parser.add_argument(
        "--val-every", type=at_least_one, default=5, help="Put every n-th photograph into the val split."
    )
    options = parser.parse_args()
    photographs = photographs_in(options.photographs)
    check(options.boxes, "--boxes", "a table of boxes")
    check_output(options.out, "--out")
    check_apart(options.out, "--out", options.photographs, photographs)
    problems = reported_problems(Console(stderr=True))
    try:
        rows = read_boxes(options.boxes, problems)
    except FileError as error:
        raise FileError(f"{options.boxes}: {error}") from error
    groups = group_by_input(rows, photographs, problems)
    labelled = {path: boxes for path, boxes in groups.boxes.items() if boxes}
    names = sorted({box.label or "object" for boxes in labelled.values() for box in boxes})
    splits: dict[str, list[tuple[Path, list[Box]]]] = {"train": [], "val": []}
    for number, item in enumerate(labelled.items(), start=1):
        splits["val" if number % options.val_every == 0 else "train"].append(item)
    if not labelled:
        raise ValueError(f"--boxes: expected boxes of at least one of the photographs, got {options.boxes} with none")
    for split, items in splits.items():
        check_split(options.out / split, items)
    for split, items in splits.items():
        if items:
            write_split(options.out / split, items, names, options.longest_side, problems)
    return 1 if problems else 0


def copy_name(number: int, photograph: Path) -> str:
    """Return the file name of the copy of a photograph, which is the n-th of its split."""
    return f"{number:06d}-{photograph.stem}.png"


def check_split(folder: Path, items: list[tuple[Path, list[Box]]]) -> None:
    """Check that a split is new, or has only copies of the same photographs, which :func:`write_split` replaces."""
    expected = "no dataset there, or one with the same split"
    copies = {copy_name(number, path) for number, (path, _) in enumerate(items, start=1)}
    files = {ANNOTATIONS, *(f"images/{name}" for name in copies)} if items else set()
    check_replaceable(folder, "--out", expected, files)
    annotations = folder / ANNOTATIONS
    if annotations.exists():
        try:
            other = {str(image["file_name"]) for image in read_json(annotations)["images"]} - copies
        except (FileError, LookupError, TypeError) as error:
            raise FileError(f"--out: expected {expected}, got {folder}, and {annotations} is no COCO file") from error
        if other:
            raise FileError(f"--out: expected {expected}, got {folder}, and {annotations} has {min(other)}")


def write_split(
    folder: Path, items: list[tuple[Path, list[Box]]], names: list[str], longest_side: int, problems: Problems
) -> None:
    """Write one split: upright copies of the photographs, resized if needed, and their boxes at the same scale."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for number, (path, boxes) in enumerate(items, start=1):
        try:
            with explained(path), Image.open(path) as opened:
                photograph = ImageOps.exif_transpose(opened).convert("RGB")
        except FileError as error:
            problems.add(path, error)
            continue
        scale = min(1.0, longest_side / max(photograph.size))
        width, height = (max(round(side * scale), 1) for side in photograph.size)
        photograph = photograph.resize((width, height))
        name = copy_name(number, path)
        photograph.save(folder / "images" / name)
        images.append({"id": number, "file_name": name, "width": photograph.width, "height": photograph.height})
        for box in boxes:
            x1, y1, x2, y2 = (corner * scale for corner in box.corners)
            category = names.index(box.label or "object") + 1
            row = {"image_id": number, "category_id": category, "bbox": [x1, y1, x2 - x1, y2 - y1]}
            annotations.append({"id": len(annotations) + 1, **row, "iscrowd": 0})
    categories = [{"id": number, "name": name} for number, name in enumerate(names, start=1)]
    content = {"categories": categories, "images": images, "annotations": annotations}
    (folder / ANNOTATIONS).write_text(json.dumps(content))
    counts = counted(len(images), "photograph"), counted(len(annotations), "box", "boxes")
    print(f"wrote {folder}: {counts[0]} with {counts[1]} of {counted(len(names), 'class', 'classes')}")


if __name__ == "__main__":
    sys.exit(ends_with_code(main))
