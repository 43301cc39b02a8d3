"""The rows of a COCO annotation file, each checked by itself: what is wrong is named, and the other rows are kept."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..extract.problems import Problems

Row = Mapping[str, Any]

#: The parts of the file that are read, in the order in which they refer to each other.
SECTIONS = ("categories", "images", "annotations")


class DatasetError(ValueError):
    """A data set, or a part of it, cannot be used; the message names the file and the row."""


def read_records(path: Path, problems: Problems) -> dict[str, list[dict[str, Any]]]:
    """The good rows of every section, each in the order of the file; the bad ones are added to `problems`.

    Raises
    ------
    DatasetError
        Where nothing can be read: no file, no JSON, or a section is missing.
    """
    sections = _read_sections(path)
    categories = _good_rows(path, "categories", sections, problems, _check_category)
    images = _good_rows(path, "images", sections, problems, _check_image)
    image_ids = {row["id"] for row in images}
    category_ids = {row["id"] for row in categories}
    annotations = _good_rows(
        path,
        "annotations",
        sections,
        problems,
        lambda row: _check_annotation(row, image_ids, category_ids),
    )
    return {"categories": categories, "images": images, "annotations": annotations}


def _read_sections(path: Path) -> dict[str, list[Any]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DatasetError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: not UTF-8 text: byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise DatasetError(f"{path}: not JSON: line {error.lineno}, column {error.colno}: {error.msg}") from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: expected an object with {', '.join(SECTIONS)}, got {type(content).__name__}")
    for name in SECTIONS:
        if not isinstance(content.get(name), list):
            raise DatasetError(f"{path}: expected a list under {name!r}, got {_kind(content, name)}")
    return content


def _kind(row: Row, name: str) -> str:
    return repr(row[name]) if name in row else "nothing"


def _good_rows(
    path: Path, section: str, sections: Mapping[str, list[Any]], problems: Problems, check: Callable[[Row], None]
) -> list[dict[str, Any]]:
    """The rows that pass, with no number twice."""
    good: dict[int, dict[str, Any]] = {}
    for index, row in enumerate(sections[section]):
        where = f"{path}: {section}[{index}]"
        try:
            if not isinstance(row, dict):
                raise DatasetError(f"expected an object, got {row!r}")
            _whole(row, "id")
            if row["id"] in good:
                raise DatasetError(f"id: {row['id']} is there twice")
            check(row)
        except DatasetError as error:
            problems.add(where, error)
            continue
        good[row["id"]] = row
    return list(good.values())


def _whole(row: Row, name: str, at_least: int | None = None) -> None:
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or (at_least is not None and value < at_least):
        expected = "a whole number" if at_least is None else f"a whole number of at least {at_least}"
        raise DatasetError(f"{name}: expected {expected}, got {_kind(row, name)}")


def _check_category(row: Row) -> None:
    if not isinstance(row.get("name"), str):
        raise DatasetError(f"name: expected text, got {_kind(row, 'name')}")


def _check_image(row: Row) -> None:
    name = row.get("file_name")
    if not isinstance(name, str) or not name:
        raise DatasetError(f"file_name: expected text, got {_kind(row, 'file_name')}")
    for side in ("width", "height"):
        _whole(row, side, at_least=1)


def _check_annotation(row: Row, image_ids: set[int], category_ids: set[int]) -> None:
    for name, known, of in (("image_id", image_ids, "images"), ("category_id", category_ids, "categories")):
        _whole(row, name)
        if row[name] not in known:
            raise DatasetError(f"{name}: {row[name]} is not among the {of}")
    if row.get("iscrowd", 0) not in (0, 1):
        raise DatasetError(f"iscrowd: expected 0 or 1, got {row['iscrowd']!r}")
    _check_box(row)
    if row.get("segmentation"):
        _check_segmentation(row)


def _check_box(row: Row) -> None:
    box = row.get("bbox")
    expected = "bbox: expected [x, y, width, height], finite, with positive sides"
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        raise DatasetError(f"{expected}, got {_kind(row, 'bbox')}")
    if box[2] <= 0 or box[3] <= 0:
        raise DatasetError(f"{expected}, got {box}")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _check_segmentation(row: Row) -> None:
    segmentation = row["segmentation"]
    if isinstance(segmentation, dict):
        size, counts = segmentation.get("size"), segmentation.get("counts")
        if isinstance(size, list) and len(size) == 2 and isinstance(counts, (str, list)):
            return
        raise DatasetError("segmentation: expected run lengths with size and counts")
    if isinstance(segmentation, list) and all(map(_is_polygon, segmentation)):
        return
    raise DatasetError("segmentation: expected polygons [[x1, y1, x2, y2, x3, y3, ...], ...] or run lengths")


def _is_polygon(part: object) -> bool:
    return isinstance(part, list) and len(part) >= 6 and len(part) % 2 == 0 and all(map(_is_number, part))
