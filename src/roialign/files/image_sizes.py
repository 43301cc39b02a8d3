"""Sizes of images whose annotations have none: they are read from the image files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from .._typing import Corners
from .images import open_picture
from .orientation import Annotated, Size
from .problems import DatasetError, FileError
from .rows import Table

#: The key of the rows of images whose width and height were read from the file.
FROM_FILE = "size_from_file"


def settle_sizes_by_masks(images: Table, annotations: Iterable[object], path_of: Callable[[str], Path]) -> None:
    """Correct the sizes of images that come from a file, if all their run lengths have the size as stored.

    Then, the annotations were made on the stored pixels. The annotations have not been checked yet.
    """
    sizes: dict[int | str, list[object]] = defaultdict(list)
    # A square image has one size only, so it is not decoded for this.
    unsettled = {row["id"]: row for row in images.rows if row.get(FROM_FILE) and row["width"] != row["height"]}
    for found in annotations if unsettled else ():
        outline = found.get("segmentation") if isinstance(found, Mapping) else None
        if isinstance(outline, Mapping) and isinstance(found, Mapping):
            with suppress(DatasetError):  # reported when the annotations are checked
                sizes[images.find(found, "image_id", "images")["id"]].append(outline.get("size"))
    for number, of_masks in sizes.items():
        row = unsettled.get(number)
        if row is None or any(size != [row["width"], row["height"]] for size in of_masks):
            continue
        stored = row["height"], row["width"]
        with suppress(FileError):  # the image has no EXIF orientation, and its masks are turned
            open_picture(path_of(row["file_name"]), Annotated(stored), large=True)
            row["width"], row["height"] = stored
            del row[FROM_FILE]


def settle_sizes(
    images: Sequence[dict[str, Any]], annotations: Sequence[dict[str, Any]], path_of: Callable[[str], Path]
) -> None:
    """Correct the sizes of images that come from a file, once their boxes are known. `path_of` finds an image."""
    unsettled = {row["id"]: row for row in images if row.get(FROM_FILE)}
    boxes: dict[int | str, list[Corners]] = defaultdict(list)
    for found in annotations:
        if found["image_id"] in unsettled:
            x, y, width, height = found["bbox"]
            boxes[found["image_id"]].append((x, y, x + width, y + height))
    for number, corners in boxes.items():
        row = unsettled[number]
        fits = [Annotated(None, corners).fits(size) for size in _both_ways(row)]
        if fits == [False, True]:
            try:
                picture = open_picture(path_of(row["file_name"]), Annotated(None, corners), large=True)
            except FileError:  # damaged beyond its header: reported when it is read
                continue
            row["width"], row["height"] = picture.width, picture.height


def _both_ways(row: dict[str, Any]) -> tuple[Size, Size]:
    return (row["width"], row["height"]), (row["height"], row["width"])
