"""The label files of DOTA: one text file per image, one object per line.

A line has the four corners of an object, its class, and whether it is difficult: ``x1 y1 x2 y2 x3 y3 x4 y4 class
difficult``. The last word may be missing. Lines that begin with ``imagesource:``, ``gsd:`` or ``acquisition dates:``
are headers.

Xia et al., "DOTA: A Large-scale Dataset for Object Detection in Aerial Images", CVPR 2018,
https://arxiv.org/abs/1711.10398
"""

from __future__ import annotations

import math
import os
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from .._text import counted
from .box_format import remark_relative
from .coco import SMALLEST_SIDE
from .image_sizes import FROM_FILE, settle_sizes
from .images import IMAGE_ENDINGS, upright_size_and_tag
from .problems import DatasetError, FileError, Problems, RowProblems
from .rotated import rotated_shape
from .run_lengths import LARGEST_POINT
from .similar import Spellings
from .text import Digest, lines_of, quoted, read_text
from .turnings import Turnings

#: The beginnings of header lines.
HEADERS = ("imagesource:", "gsd:", "acquisition dates:")
EXPECTED = "x1 y1 x2 y2 x3 y3 x4 y4 class difficult"
NOT_YOLO = "YOLO's lines, class x1 y1 x2 y2 x3 y3 x4 y4 relative to the size of the image, cannot be read"
#: The numbers of values of a line without and with the last word.
VALUES = (9, 10)


class Label(NamedTuple):
    """One line of a label file."""

    corners: list[float]
    """x1, y1, ..., x4, y4 in pixels."""
    name: str
    """The class."""
    difficult: int
    """0 or 1. A detection of a difficult object counts neither as right nor as wrong."""


def read_dota_records(
    labels: Path, images: Path, problems: Problems, digest: Digest | None = None
) -> dict[str, list[dict[str, Any]]]:
    """Read a folder of label files, as :func:`roialign.files.coco.read_records` reads a file in COCO format.

    The id of an image is the name of its file without the ending, which is also the name of its label file. The
    classes are those that occur in the labels, in alphabetical order, numbered from 1. Every annotation has a
    `rotated_box`, its upright hull `bbox`, and `difficult`. Lines that cannot be used are added to `problems`. An image
    without a label file is left out, with a remark. A label file without an image is a problem. The names and the bytes
    of the label files are added to `digest`.

    Raises
    ------
    DatasetError
        If `labels` cannot be read, or has no label file.
    """
    paths = _label_files(labels)
    pictures = _images_by_name(images)
    spellings = Spellings(pictures)
    rows: list[dict[str, Any]] = []
    found: list[tuple[str, Label, dict[str, Any]]] = []  # the shape has the number of its line as `row`
    for path in paths:
        if digest is not None:
            digest.update(os.fsencode(path.name))
        own = pictures.pop(spellings.same(path.stem), [])
        try:
            text = read_text(path, digest)
            image = _image_of(path, own, images)
        except FileError as error:
            problems.add(path, error)
            continue
        rows.append({**image, "labels": path.name})
        size = (image["height"], image["width"])
        found += [(path.stem, *label) for label in _labels(path, text, size, problems)]
    if pictures:
        left = counted(len(pictures), "image has no label file", "images have no label file")
        problems.remark(images, f"{left} in {labels}: left out, as {quoted(min(pictures))}", "no label file")
    turnings = Turnings()
    settle_sizes(rows, [{"image_id": image, **shape} for image, _, shape in found], images.joinpath, turnings)
    turnings.remark_in(problems)
    sizes = {row["id"]: (row["width"], row["height"]) for row in rows}
    remark_relative(labels, [(shape["bbox"], sizes[image]) for image, _, shape in found], problems, "corners")
    names = sorted({label.name for _, label, _ in found})
    numbers = {name: number for number, name in enumerate(names, start=1)}
    annotations = [
        {"image_id": image, "category_id": numbers[label.name], "iscrowd": 0, "difficult": label.difficult, **shape}
        for image, label, shape in found
    ]
    return {
        "categories": [{"id": number, "name": name} for name, number in numbers.items()],
        "images": rows,
        "annotations": annotations,
    }


def _label_files(labels: Path) -> list[Path]:
    try:
        paths = sorted(path for path in labels.iterdir() if path.suffix.lower() == ".txt")
    except OSError as error:
        raise DatasetError(f"{labels}: {error.strerror or error}") from error
    if not paths:
        raise DatasetError(f"{labels}: expected label files (.txt), found none")
    return paths


def _images_by_name(images: Path) -> dict[str, list[Path]]:
    """Return the images of a folder by their names without the ending."""
    found: dict[str, list[Path]] = defaultdict(list)
    try:
        for path in sorted(images.iterdir()):
            if path.suffix.lower() in IMAGE_ENDINGS:
                found[path.stem].append(path)
    except OSError as error:
        raise DatasetError(f"{images}: {error.strerror or error}") from error
    return found


def _image_of(labels: Path, pictures: list[Path], images: Path) -> dict[str, Any]:
    """Return the row of the image of a label file."""
    if len(pictures) != 1:
        got = "found none" if not pictures else f"found {', '.join(path.name for path in pictures)}"
        raise FileError(f"expected one image named {quoted(labels.stem)} in {images}, {got}")
    try:
        (width, height), tag = upright_size_and_tag(pictures[0], large=True)
    except FileError as error:
        raise FileError(f"its image {pictures[0].name}: {error}") from error
    return {"id": labels.stem, "file_name": pictures[0].name, "width": width, "height": height, FROM_FILE: tag}


def _labels(path: Path, text: str, size: tuple[int, int], problems: Problems) -> list[tuple[Label, dict[str, Any]]]:
    """Return the usable lines of a label file, each with its rotated box."""
    wrong = RowProblems(problems, path)
    found = []
    for number, line in enumerate(lines_of(text), start=1):
        if not line.strip() or line.strip().lower().startswith(HEADERS):
            continue
        try:
            label = read_label(line)
            outline = [label.corners]
            shape = rotated_shape(outline, size, SMALLEST_SIDE * max(size), "corners")
        except FileError as error:
            wrong.add(f"{path}: line {number}", error)
            continue
        found.append((label, {"segmentation": outline, **shape, "row": number}))
    wrong.end()
    return found


def read_label(line: str) -> Label:
    """Parse one line of a label file.

    Raises
    ------
    FileError
        If the line is invalid.
    """
    values = line.split()
    if len(values) not in VALUES:
        raise FileError(f"expected {EXPECTED}, got {counted(len(values), 'value')}: {quoted(line.strip())}")
    numbers = [_number(value, name) for value, name in zip(values[:8], EXPECTED.split(), strict=False)]
    difficult = values[9] if len(values) == max(VALUES) else "0"
    if not (difficult.isascii() and difficult.isdigit() and len(difficult) <= 3):
        raise FileError(f"difficult: expected 0 or 1, got {quoted(difficult)}")
    if _is_fraction(values[8]):
        raise FileError(f"class: expected a name, got {quoted(values[8])}: {NOT_YOLO}")
    return Label(numbers, values[8], int(int(difficult) > 0))


def _is_fraction(text: str) -> bool:
    """Whether it is a number that is not whole, and so no class."""
    try:
        return not float(text).is_integer()
    except ValueError:
        return False


def _number(text: str, name: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not abs(number) <= LARGEST_POINT:  # false for NaN
        raise FileError(f"{name}: expected a number within {LARGEST_POINT:.0f} pixels, got {quoted(text)}")
    return number
