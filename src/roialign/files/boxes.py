"""Reads box files: tables, COCO json, or a plain JSON list."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._validate import LARGEST_COORDINATE
from .coco import Row, box_of, category_of, file_name, good_rows, identity, place_of, section_of, whole
from .columns import ROLES, Columns, Corners, Reading, corners_of, find_columns
from .kinds import HEAD_BYTES, what_is
from .orientation import Size
from .parquet import read_parquet_rows
from .problems import DatasetError, FileError, Problems
from .text import read_json, read_text, shown

#: Of files that are tables; anything else is JSON.
TABLE_ENDINGS = (".csv", ".tsv", ".txt")
PARQUET_ENDINGS = (".parquet", ".pq")
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
    image_size: Size | None = None
    """Width and height of its image, where the file has them."""
    score: float | None = None
    """Of a detection."""


def read_boxes(path: Path, problems: Problems, reading: Reading = AS_IT_IS) -> list[Box]:
    """The boxes of a file in their order; malformed rows go to `problems`.

    A name that ends in ``.csv``, ``.tsv`` or ``.txt`` is a table with a header, its fields divided by commas,
    semicolons or tabs; one that ends in ``.parquet`` is a table too, whose boxes may stand in one column of lists,
    ``box``; its rows that have an ``error``, as results do, are left out. Its columns may come in any order and under
    the usual names: see :mod:`.columns`. Anything else is JSON: an object with ``images`` and ``annotations`` is COCO,
    whose ``bbox`` is (x, y, width, height); a list holds ``{"image": name, "box": [x1, y1, x2, y2], "label": text}``
    objects, bare ``[x1, y1, x2, y2]``, or objects with the columns of a table.

    Raises
    ------
    FileError
        For a file that cannot be read, or is none of these as a whole.
    """
    if path.suffix.lower() in TABLE_ENDINGS:
        return list(_table_rows(path, read_text(path), problems, reading))
    if path.suffix.lower() in PARQUET_ENDINGS:
        return list(_list_rows(path, read_parquet_rows(path, ("box", "bbox")), problems, reading))
    content = read_json(path)
    if isinstance(content, list):
        return list(_list_rows(path, content, problems, reading))
    if isinstance(content, dict) and "annotations" in content and "images" in content:
        return list(_coco_rows(path, content, problems, reading))
    found = f"an object with {shown(sorted(content))}" if isinstance(content, dict) else shown(content)
    raise FileError(f"expected a list of boxes, or a COCO object with images and annotations, found {found}")


def _table_rows(path: Path, text: str, problems: Problems, reading: Reading) -> Iterator[Box]:
    first_line = text.partition("\n")[0]
    delimiter = max(",;\t", key=first_line.count)  # semicolons are Excel's, where the comma is decimal
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
    try:
        header = [name.strip() for name in next(reader, [])]
        columns = _columns_of(header, text, reading)
        lines = ((reader.line_num, fields) for fields in reader if any(field.strip() for field in fields))
        for row, (line, fields) in enumerate(lines):
            where = f"{path}, row {row} (line {line})"
            try:
                if len(fields) != len(header):
                    raise FileError(f"expected {len(header)} fields, found {len(fields)}")
                values = dict(zip(header, (field.strip() for field in fields), strict=True))
                numbers = [_number_of_text(name, values[name]) for name in columns.box]
                yield _box(row, where, values, columns, numbers)
            except FileError as error:
                problems.add(where, error)
    except csv.Error as error:
        raise FileError(f"line {reader.line_num}: {error}") from error


def _columns_of(header: list[str], text: str, reading: Reading) -> Columns:
    """The columns of a table; if it has none, what else the file may be."""
    try:
        columns = find_columns(header, reading)
    except FileError as error:
        known = what_is(text[:HEAD_BYTES].encode())
        raise FileError(f"{error}; it is {known}" if known else str(error)) from error
    read = [name for name in (columns.image, columns.label, *columns.box) if name is not None]
    twice = [name for name in read if header.count(name) > 1]
    if twice:
        raise FileError(f"expected each column once in the header, found {', '.join(twice)} twice")
    return columns


def _box(row: int, where: str, values: Mapping[str, Any], columns: Columns, numbers: list[Any]) -> Box:
    """A box of a row with named columns."""
    corners = corners_of(_numbers(numbers, f"expected [{', '.join(columns.box)}]"), columns.box_format)
    image = None if columns.image is None else _name(values[columns.image])
    label = None if columns.label is None else values.get(columns.label)
    return Box(row, where, image, corners, _label(label))


def _number_of_text(name: str, text: str) -> float:
    try:
        if "_" not in text:  # which Python reads over
            return float(text)
    except ValueError:
        pass
    raise FileError(f"{name}: expected a number, found {shown(text)}")


def _list_rows(path: Path, content: list[Any], problems: Problems, reading: Reading) -> Iterator[Box]:
    for row, entry in enumerate(content):
        where = f"{path}, row {row}"
        try:
            yield _listed_box(row, where, entry, reading)
        except FileError as error:
            problems.add(where, error)


def _listed_box(row: int, where: str, entry: Any, reading: Reading) -> Box:
    four = ROLES[reading.box_format or "xyxy"]
    expected = f"expected [{', '.join(four)}]"
    if isinstance(entry, list):
        return Box(row, where, None, corners_of(_numbers(entry, expected), reading.box_format or "xyxy"), "")
    whole_box = "box" if isinstance(entry, dict) and "box" in entry else "bbox"
    if isinstance(entry, dict) and whole_box not in entry:
        try:
            columns = find_columns(list(entry), reading)
        except FileError:
            if reading.columns:
                raise
        else:
            return _box(row, where, entry, columns, [entry[name] for name in columns.box])
    if not isinstance(entry, dict) or whole_box not in entry:
        raise FileError(f'{expected} or {{"image": name, "box": [{", ".join(four)}]}}, found {shown(entry)}')
    if whole_box == "bbox" and reading.box_format is None:  # COCO's are corner and size, others have two corners
        raise FileError(f"bbox: say whether it is xyxy or xywh: --box-format, found {shown(entry)}")
    named = find_columns([*entry, *four], reading)
    corners = corners_of(_numbers(entry[whole_box], expected), reading.box_format or "xyxy")
    image = _name(entry[named.image]) if named.image is not None else None
    return Box(row, where, image, corners, _label(entry[named.label]) if named.label is not None else "")


def _coco_rows(path: Path, content: Row, problems: Problems, reading: Reading) -> Iterator[Box]:
    """Boxes need less than detectors do: any box, of an image of any size and of any category."""
    images = good_rows(path, "images", section_of(content, "images"), problems, _coco_image)
    rows = section_of({"categories": [], **content}, "categories")
    categories = good_rows(path, "categories", rows, problems, category_of)

    def annotation(row: Row, index: int) -> dict[str, Any]:
        image = images.find(row, "image_id", "images")
        numbers = _numbers(list(box_of(row, positive=False)), "bbox: expected [x, y, width, height]")
        try:
            label = categories.find(row, "category_id", "categories")["name"]
        except DatasetError:
            label = _label(row.get("category_id"))
        where = place_of(path, "annotations", index)
        corners = corners_of(numbers, reading.box_format or "xywh")
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


def _numbers(values: object, expected: str) -> Corners:
    """Four finite numbers; text and booleans are not numbers."""
    if not isinstance(values, list) or len(values) != 4:
        raise FileError(f"{expected}, found {shown(values)}")
    for value in values:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not abs(value) <= LARGEST_COORDINATE:  # false for NaN
            raise FileError(f"{expected}, four finite numbers, found {shown(values)}")
    one, two, three, four = map(float, values)
    return one, two, three, four


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
