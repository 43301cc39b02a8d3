"""Reads the boxes of COCO files. Unlike for detectors, boxes, image sizes and categories may be anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .._text import counted
from .box import GIVE_HULL, Box, four_numbers, label_text
from .box_format import remark_corners
from .coco import box_of, category_of, file_name, section_of
from .columns import corners_of
from .problems import DatasetError, Problems
from .rows import Row, good_rows, identity, place_of, whole
from .text import quoted


def read_coco_boxes(path: Path, content: Row, problems: Problems, box_format: str | None) -> Iterator[Box]:
    """Read the boxes of a COCO file. Unlike for detectors, boxes, image sizes and categories may be anything."""
    images = good_rows(path, "images", section_of(content, "images"), problems, _coco_image)
    rows = section_of({"categories": [], **content}, "categories")
    categories = good_rows(path, "categories", rows, problems, category_of)
    nameless: list[tuple[int, Any]] = []

    def label_of(row: Row, index: int) -> str:
        try:
            name: str = categories.find(row, "category_id", "categories")["name"]
        except DatasetError:
            name = label_text(row.get("category_id"))
            if name:
                nameless.append((index, row["category_id"]))
        return name

    def annotation(row: Row, index: int) -> dict[str, Any]:
        image = images.find(row, "image_id", "images")
        numbers = four_numbers(box_of(row, positive=False, of_five=GIVE_HULL), "bbox: expected [x, y, width, height]")
        where = place_of(path, "annotations", index)
        corners = corners_of(numbers, box_format or "xywh")
        return {"box": Box(index, where, image["file_name"], corners, label_of(row, index), image["size"])}

    rows = section_of(content, "annotations")
    boxes: list[Box] = [good["box"] for good in good_rows(path, "annotations", rows, problems, annotation).rows]
    if nameless:
        (index, number), count = nameless[0], counted(len(nameless), "box has", "boxes have")
        what = f"category_id: {quoted(number)} is not among the usable categories: {count} such an id as label"
        problems.remark(place_of(path, "annotations", index), what, "labels")
    if box_format is None:
        sized = [(box.corners, box.image_size) for box in boxes if box.image_size is not None]
        as_stored = [((x1, y1, x2 - x1, y2 - y1), size) for (x1, y1, x2, y2), size in sized]
        remark_corners(path, as_stored, problems)
    yield from boxes


def _coco_image(row: Row, index: int) -> dict[str, Any]:
    del index
    found = {"id": identity(row, "id"), "file_name": file_name(row)}
    try:
        size = whole(row, "width", at_least=1), whole(row, "height", at_least=1)
    except DatasetError:
        return {**found, "size": None}
    return {**found, "size": size}
