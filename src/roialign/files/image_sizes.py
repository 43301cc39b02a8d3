"""Sizes of images whose annotations have none: they are read from the image files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .images import open_picture
from .orientation import Annotated, Corners, Size
from .problems import FileError

#: The key of the rows of images whose width and height were read from the file.
FROM_FILE = "size_from_file"


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
