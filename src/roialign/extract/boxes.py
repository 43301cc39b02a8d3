"""Reads box files: COCO json, a plain JSON list, or CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._validate import LARGEST_COORDINATE
from .problems import Problems

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


def read_boxes(path: Path, problems: Problems) -> list[Box]:
    """The boxes of a file in their order; malformed rows go to `problems`.

    A name that ends in ``.csv`` is CSV with the header ``image,x1,y1,x2,y2[,label]`` in any order. Anything else is
    JSON: an object with ``images`` and ``annotations`` is COCO, whose ``bbox`` is (x, y, width, height); a list holds
    ``{"image": name, "box": [x1, y1, x2, y2], "label": text}`` objects or bare ``[x1, y1, x2, y2]``.

    Raises
    ------
    OSError, ValueError
        For a file that cannot be read, or is none of these as a whole.
    """
    text = path.read_bytes().decode("utf-8-sig")
    if path.suffix.lower() == ".csv":
        return list(_csv_rows(path, text, problems))
    try:
        content = json.loads(text)
    except RecursionError as error:
        raise ValueError("expected COCO json or a list of boxes, found brackets nested too deeply") from error
    if isinstance(content, list):
        return list(_list_rows(path, content, problems))
    if isinstance(content, dict) and "annotations" in content and "images" in content:
        return list(_coco_rows(path, content, problems))
    found = f"an object with {_shown(sorted(content))}" if isinstance(content, dict) else _shown(content)
    raise ValueError(f"expected a list of boxes, or a COCO object with images and annotations, found {found}")


def _csv_rows(path: Path, text: str, problems: Problems) -> Iterator[Box]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        missing = [name for name in CSV_COLUMNS if name not in header]
        if missing:
            raise ValueError(f"expected a header with {', '.join(CSV_COLUMNS)}, found {_shown(header)}")
        lines = ((reader.line_num, fields) for fields in reader if any(field.strip() for field in fields))
        for row, (line, fields) in enumerate(lines):
            where = f"{path}, row {row} (line {line})"
            try:
                if len(fields) != len(header):
                    raise ValueError(f"expected {len(header)} fields, found {len(fields)}")
                values = dict(zip(header, fields, strict=True))
                corners = _corners([_csv_number(name, values[name]) for name in CSV_COLUMNS[1:]])
                image = _name(values["image"].strip())
            except ValueError as error:
                problems.add(where, error)
            else:
                yield Box(row, where, image, corners, values.get("label", "").strip())
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}") from error


def _csv_number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{name}: expected a number, found {_shown(text)}") from None


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
                raise ValueError(f"{expected}, found {_shown(entry)}")
        except ValueError as error:
            problems.add(where, error)


def _coco_rows(path: Path, content: dict[str, Any], problems: Problems) -> Iterator[Box]:
    names = _coco_table(path, content, "images", "file_name", problems)
    categories = _coco_table(path, content, "categories", "name", problems)
    for row, annotation in enumerate(_coco_list(content, "annotations")):
        where = f"{path}, row {row} of annotations"
        try:
            if not isinstance(annotation, dict) or "bbox" not in annotation or "image_id" not in annotation:
                raise ValueError(f"expected an object with image_id and bbox, found {_shown(annotation)}")
            image_id = annotation["image_id"]
            if repr(image_id) not in names:
                raise ValueError(f"image_id {_shown(image_id)} is not among the images")
            x, y, width, height = _corners(annotation["bbox"], "bbox: expected [x, y, width, height]")
            category = annotation.get("category_id")
            label = categories.get(repr(category), _label(category))
            yield Box(row, where, names[repr(image_id)], (x, y, x + width, y + height), label)
        except ValueError as error:
            problems.add(where, error)


def _coco_table(path: Path, content: dict[str, Any], table: str, column: str, problems: Problems) -> dict[str, str]:
    """What a COCO table calls each id. The ids are kept by their repr, so that 1 and "1" stay apart."""
    named: dict[str, str] = {}
    for row, entry in enumerate(_coco_list(content, table)):
        if isinstance(entry, dict) and "id" in entry and isinstance(entry.get(column), str):
            named[repr(entry["id"])] = entry[column]
        else:
            problems.add(
                f"{path}, row {row} of {table}", f"expected an object with id and {column}, found {_shown(entry)}"
            )
    return named


def _coco_list(content: dict[str, Any], table: str) -> list[Any]:
    entries = content.get(table, [])
    if isinstance(entries, list):
        return entries
    raise ValueError(f"{table}: expected a list, found {_shown(entries)}")


def _corners(values: object, expected: str = "expected [x1, y1, x2, y2]") -> tuple[float, float, float, float]:
    """Four finite numbers; text and booleans are not numbers."""
    if not isinstance(values, list) or len(values) != 4:
        raise ValueError(f"{expected}, found {_shown(values)}")
    for value in values:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not abs(value) <= LARGEST_COORDINATE:  # false for NaN
            raise ValueError(f"{expected}, four finite numbers, found {_shown(values)}")
    x1, y1, x2, y2 = map(float, values)
    return x1, y1, x2, y2


def _name(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"image: expected the name of an image, found {_shown(value)}")
    return value


def _label(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, (str, int, float)):
        return str(value)
    raise ValueError(f"label: expected text, found {_shown(value)}")


def _shown(value: object) -> str:
    """A value as a message shows it, cut short."""
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= 80 else f"{text[:77]}..."
