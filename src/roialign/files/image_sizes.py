"""Sizes of images whose annotations have none: they are read from the image files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from .._typing import Corners
from .orientation import Annotated, Size, Turning, how_to_read, turned_size
from .problems import DatasetError
from .rows import Table
from .turnings import Turnings

#: The key of the rows of images whose width and height were read from the file. The value is its EXIF orientation.
FROM_FILE = "size_from_file"


def settle_sizes_by_masks(
    images: Table, annotations: Iterable[object], path_of: Callable[[str], Path], turnings: Turnings
) -> None:
    """Correct the sizes of images that come from a file, if all their run lengths have the size as stored.

    Then, the annotations were made on the stored pixels. The annotations have not been checked yet. The images are
    counted in `turnings`.
    """
    sizes: dict[int | str, list[object]] = defaultdict(list)
    # Other images have one size only.
    unsettled = {row["id"]: row for row in images.rows if row.get(FROM_FILE) and _stored(row) != _upright(row)}
    for found in annotations if unsettled else ():
        outline = found.get("segmentation") if isinstance(found, Mapping) else None
        if isinstance(outline, Mapping) and isinstance(found, Mapping):
            with suppress(DatasetError):  # reported when the annotations are checked
                sizes[images.find(found, "image_id", "images")["id"]].append(outline.get("size"))
    for number, of_masks in sizes.items():
        row = unsettled.get(number)
        if row is None or any(size != [row["width"], row["height"]] for size in of_masks):
            continue
        row["width"], row["height"] = _stored(row)
        del row[FROM_FILE]
        turnings.look(path_of(row["file_name"]), Turning(False))


def settle_sizes(
    images: Sequence[dict[str, Any]],
    annotations: Sequence[dict[str, Any]],
    path_of: Callable[[str], Path],
    turnings: Turnings,
) -> None:
    """Correct the sizes of images that come from a file, once their boxes are known. `path_of` finds an image.

    The images are counted in `turnings`.
    """
    unsettled = {row["id"]: row for row in images if row.get(FROM_FILE, 1) > 1}
    boxes: dict[int | str, list[Corners]] = defaultdict(list)
    for found in annotations:
        if found["image_id"] in unsettled:
            x, y, width, height = found["bbox"]
            boxes[found["image_id"]].append((x, y, x + width, y + height))
    for number, corners in boxes.items():
        row = unsettled[number]
        turning = how_to_read(row[FROM_FILE], _stored(row), Annotated(None, corners))
        turnings.look(path_of(row["file_name"]), turning)
        if not turning.upright:
            row["width"], row["height"] = _stored(row)


def _upright(row: dict[str, Any]) -> Size:
    return row["width"], row["height"]


def _stored(row: dict[str, Any]) -> Size:
    """Return the size as stored of an image whose upright size comes from its file."""
    return turned_size(_upright(row), row[FROM_FILE])
