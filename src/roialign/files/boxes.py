"""Reads box files: COCO json, a plain JSON list, or CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._validate import LARGEST_COORDINATE
from .coco import Row, box_of, category_of, file_name, good_rows, identity, place_of, section_of, whole
from .kinds import HEAD_BYTES, what_is
from .orientation import Size
from .problems import DatasetError, FileError, Problems
from .text import read_json, read_text, shown

CSV_COLUMNS = ("image", "x1", "y1", "x2", "y2")


@dataclass(frozen=True, slots=True)
class Box:
    """One row of a box file."""

    row: int
    """Its place in the file, from 0: in the list, among the annotations, or among the lines below the header."""
    where: str
    """File and row, for messages."""
    image: str | None
    """The name of its image as the file has it; None in a file that leaves it to the only input."""
    corners: tuple[float, float, float, float]
    """(x1, y1, x2, y2) in image pixels."""
    label: str
    image_size: Size | None = None
    """Width and height of its image, where the file has them."""


def read_boxes(path: Path, problems: Problems) -> list[Box]:
    """The boxes of a file in their order; malformed rows go to `problems`.

    A name that ends in ``.csv`` is CSV with the header ``image,x1,y1,x2,y2[,label]`` in any order. Anything else is
    JSON: an object with ``images`` and ``annotations`` is COCO, whose ``bbox`` is (x, y, width, height); a list holds
    ``{"image": name, "box": [x1, y1, x2, y2], "label": text}`` objects or bare ``[x1, y1, x2, y2]``.

    Raises
    ------
    FileError
        For a file that cannot be read, or is none of these as a whole.
    """
    if path.suffix.lower() == ".csv":
        return list(_csv_rows(path, read_text(path), problems))
    content = read_json(path)
    if isinstance(content, list):
        return list(_list_rows(path, content, problems))
    if isinstance(content, dict) and "annotations" in content and "images" in content:
        return list(_coco_rows(path, content, problems))
    found = f"an object with {shown(sorted(content))}" if isinstance(content, dict) else shown(content)
    raise FileError(f"expected a list of boxes, or a COCO object with images and annotations, found {found}")


def _csv_rows(path: Path, text: str, problems: Problems) -> Iterator[Box]:
    first_line = text.partition("\n")[0]
    separator = ";" if ";" in first_line and "," not in first_line else ","  # Excel's, where the comma is decimal
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        missing = [name for name in CSV_COLUMNS if name not in header]
        if missing:
            known = what_is(text[:HEAD_BYTES].encode())
            more = f"; it is {known}" if known else ""
            raise FileError(f"expected a header with {', '.join(CSV_COLUMNS)}, found {shown(header)}{more}")
        twice = [name for name in CSV_COLUMNS if header.count(name) > 1]
        if twice:
            raise FileError(f"expected each column once in the header, found {', '.join(twice)} twice")
        lines = ((reader.line_num, fields) for fields in reader if any(field.strip() for field in fields))
        for row, (line, fields) in enumerate(lines):
            where = f"{path}, row {row} (line {line})"
            try:
                if len(fields) != len(header):
                    raise FileError(f"expected {len(header)} fields, found {len(fields)}")
                values = dict(zip(header, fields, strict=True))
                corners = _corners([_csv_number(name, values[name]) for name in CSV_COLUMNS[1:]])
                image = _name(values["image"].strip())
            except FileError as error:
                problems.add(where, error)
            else:
                yield Box(row, where, image, corners, values.get("label", "").strip())
    except csv.Error as error:
        raise FileError(f"line {reader.line_num}: {error}") from error


def _csv_number(name: str, text: str) -> float:
    try:
        if "_" not in text:  # which Python reads over
            return float(text)
    except ValueError:
        pass
    raise FileError(f"{name}: expected a number, found {shown(text)}")


def _list_rows(path: Path, content: list[Any], problems: Problems) -> Iterator[Box]:
    for row, entry in enumerate(content):
        where = f"{path}, row {row}"
        try:
            if isinstance(entry, list):
                yield Box(row, where, None, _corners(entry), "")
            elif isinstance(entry, dict) and "box" in entry:
                image = _name(entry["image"]) if "image" in entry else None
                yield Box(row, where, image, _corners(entry["box"]), _label(entry.get("label")))
            else:
                expected = 'expected [x1, y1, x2, y2] or {"image": name, "box": [x1, y1, x2, y2]}'
                raise FileError(f"{expected}, found {shown(entry)}")
        except FileError as error:
            problems.add(where, error)


def _coco_rows(path: Path, content: Row, problems: Problems) -> Iterator[Box]:
    """Boxes need less than detectors do: any box, of an image of any size and of any category."""
    images = good_rows(path, "images", section_of(content, "images"), problems, _coco_image)
    rows = section_of({"categories": [], **content}, "categories")
    categories = good_rows(path, "categories", rows, problems, category_of)

    def annotation(row: Row, index: int) -> dict[str, Any]:
        image = images.find(row, "image_id", "images")
        x, y, width, height = box_of(row, positive=False)
        try:
            label = categories.find(row, "category_id", "categories")["name"]
        except DatasetError:
            label = _label(row.get("category_id"))
        where = place_of(path, "annotations", index)
        corners = _corners([x, y, x + width, y + height])
        return {"box": Box(index, where, image["file_name"], corners, label, image["size"])}

    rows = section_of(content, "annotations")
    for good in good_rows(path, "annotations", rows, problems, annotation).rows:
        yield good["box"]


def _coco_image(row: Row, index: int) -> dict[str, Any]:
    del index
    found = {"id": identity(row, "id"), "file_name": file_name(row)}
    try:
        size = whole(row, "width", at_least=1), whole(row, "height", at_least=1)
    except DatasetError:
        return {**found, "size": None}
    return {**found, "size": size}


def _corners(values: object, expected: str = "expected [x1, y1, x2, y2]") -> tuple[float, float, float, float]:
    """Four finite numbers; text and booleans are not numbers."""
    if not isinstance(values, list) or len(values) != 4:
        raise FileError(f"{expected}, found {shown(values)}")
    for value in values:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not abs(value) <= LARGEST_COORDINATE:  # false for NaN
            raise FileError(f"{expected}, four finite numbers, found {shown(values)}")
    x1, y1, x2, y2 = map(float, values)
    return x1, y1, x2, y2


def _name(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise FileError(f"image: expected the name of an image, found {shown(value)}")
    return value


def _label(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, (str, int, float)):
        return str(value)
    raise FileError(f"label: expected text, found {shown(value)}")
