"""Reads box files: tables, COCO json, or a plain JSON list."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._validate import LARGEST_COORDINATE
from .columns import ROLES, Columns, Corners, Reading, corners_of, find_columns
from .problems import Problems

#: Of files that are tables; anything else is JSON.
TABLE_ENDINGS = (".csv", ".tsv", ".txt")
AS_IT_IS = Reading()


@dataclass(frozen=True, slots=True)
class Box:
    """One row of a box file."""

    row: int
    """Its place in the file, from 0: in the list, among the annotations, or among the lines below the header."""
    where: str
    """File and row, for messages."""
    image: str | None
    """The name of its image as the file has it; None in a file that leaves it to the only input."""
    corners: Corners
    """(x1, y1, x2, y2) in image pixels."""
    label: str


def read_boxes(path: Path, problems: Problems, reading: Reading = AS_IT_IS) -> list[Box]:
    """The boxes of a file in their order; malformed rows go to `problems`.

    A name that ends in ``.csv``, ``.tsv`` or ``.txt`` is a table with a header, its fields divided by commas,
    semicolons or tabs. Its columns may come in any order and under the usual names: see :mod:`.columns`. Anything else
    is JSON: an object with ``images`` and ``annotations`` is COCO, whose ``bbox`` is (x, y, width, height); a list
    holds ``{"image": name, "box": [x1, y1, x2, y2], "label": text}`` objects, bare ``[x1, y1, x2, y2]``, or objects
    with the columns of a table.

    Raises
    ------
    OSError, ValueError
        For a file that cannot be read, or is none of these as a whole.
    """
    text = path.read_bytes().decode("utf-8-sig")
    if path.suffix.lower() in TABLE_ENDINGS:
        return list(_table_rows(path, text, problems, reading))
    try:
        content = json.loads(text)
    except RecursionError as error:
        raise ValueError("expected COCO json or a list of boxes, found brackets nested too deeply") from error
    if isinstance(content, list):
        return list(_list_rows(path, content, problems, reading))
    if isinstance(content, dict) and "annotations" in content and "images" in content:
        return list(_coco_rows(path, content, problems, reading))
    found = f"an object with {_shown(sorted(content))}" if isinstance(content, dict) else _shown(content)
    raise ValueError(f"expected a list of boxes, or a COCO object with images and annotations, found {found}")


def _table_rows(path: Path, text: str, problems: Problems, reading: Reading) -> Iterator[Box]:
    first_line = text.partition("\n")[0]
    delimiter = max(",;\t", key=first_line.count)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
    try:
        header = [name.strip() for name in next(reader, [])]
        columns = find_columns(header, reading)
        lines = ((reader.line_num, fields) for fields in reader if any(field.strip() for field in fields))
        for row, (line, fields) in enumerate(lines):
            where = f"{path}, row {row} (line {line})"
            try:
                if len(fields) != len(header):
                    raise ValueError(f"expected {len(header)} fields, found {len(fields)}")
                values = dict(zip(header, (field.strip() for field in fields), strict=True))
                numbers = [_number_of_text(name, values[name]) for name in columns.box]
                yield _box(row, where, values, columns, numbers)
            except ValueError as error:
                problems.add(where, error)
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}") from error


def _box(row: int, where: str, values: Mapping[str, Any], columns: Columns, numbers: list[Any]) -> Box:
    """A box of a row with named columns."""
    corners = corners_of(_numbers(numbers, f"expected [{', '.join(columns.box)}]"), columns.box_format)
    image = None if columns.image is None else _name(values[columns.image])
    label = None if columns.label is None else values.get(columns.label)
    return Box(row, where, image, corners, _label(label))


def _number_of_text(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{name}: expected a number, found {_shown(text)}") from None


def _list_rows(path: Path, content: list[Any], problems: Problems, reading: Reading) -> Iterator[Box]:
    for row, entry in enumerate(content):
        where = f"{path}, row {row}"
        try:
            yield _listed_box(row, where, entry, reading)
        except ValueError as error:
            problems.add(where, error)


def _listed_box(row: int, where: str, entry: Any, reading: Reading) -> Box:
    four = ROLES[reading.box_format or "xyxy"]
    expected = f"expected [{', '.join(four)}]"
    if isinstance(entry, list):
        return Box(row, where, None, corners_of(_numbers(entry, expected), reading.box_format or "xyxy"), "")
    whole = "box" if isinstance(entry, dict) and "box" in entry else "bbox"
    if isinstance(entry, dict) and whole not in entry:
        try:
            columns = find_columns(list(entry), reading)
        except ValueError:
            if reading.columns:
                raise
        else:
            return _box(row, where, entry, columns, [entry[name] for name in columns.box])
    if not isinstance(entry, dict) or whole not in entry:
        raise ValueError(f'{expected} or {{"image": name, "box": [{", ".join(four)}]}}, found {_shown(entry)}')
    if whole == "bbox" and reading.box_format is None:  # COCO's are corner and size, other people's are two corners
        raise ValueError(f"bbox: say whether it is xyxy or xywh: --box-format, found {_shown(entry)}")
    named = find_columns([*entry, *four], reading)
    corners = corners_of(_numbers(entry[whole], expected), reading.box_format or "xyxy")
    image = _name(entry[named.image]) if named.image is not None else None
    return Box(row, where, image, corners, _label(entry[named.label]) if named.label is not None else "")


def _coco_rows(path: Path, content: dict[str, Any], problems: Problems, reading: Reading) -> Iterator[Box]:
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
            numbers = _numbers(annotation["bbox"], "bbox: expected [x, y, width, height]")
            category = annotation.get("category_id")
            label = categories.get(repr(category), _label(category))
            yield Box(row, where, names[repr(image_id)], corners_of(numbers, reading.box_format or "xywh"), label)
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


def _numbers(values: object, expected: str) -> Corners:
    """Four finite numbers; text and booleans are not numbers."""
    if not isinstance(values, list) or len(values) != 4:
        raise ValueError(f"{expected}, found {_shown(values)}")
    for value in values:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not abs(value) <= LARGEST_COORDINATE:  # false for NaN
            raise ValueError(f"{expected}, four finite numbers, found {_shown(values)}")
    one, two, three, four = map(float, values)
    return one, two, three, four


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
