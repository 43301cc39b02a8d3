"""Reads box files: tables, COCO files, JSON lists and JSON Lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from .._text import one_line
from .box import Box as Box
from .box import annotated_by as annotated_by
from .box import four_numbers, image_name, label_text
from .box_format import are_of_images
from .coco import check_objects
from .coco_boxes import read_coco_boxes
from .columns import (
    ROLES,
    AmbiguousColumnsError,
    Columns,
    TableReading,
    UnreadColumnError,
    check_unread,
    check_upright,
    corners_of,
    find_columns,
    nested_text,
    normalised,
    other_box_text,
)
from .kinds import HEAD_BYTES, what_is
from .orientation import Size
from .parquet import read_parquet_rows
from .percent import pixels_of
from .problems import FileError, Problems, RowProblems
from .tables import NUMBER, Numbers, TextTable
from .text import quoted, read_json, read_json_lines, read_text, shown

#: The endings of text tables. A file with an unknown ending is read as JSON.
TABLE_ENDINGS = (".csv", ".tsv", ".txt")
PARQUET_ENDINGS = (".parquet", ".pq")
#: The endings of JSON Lines, with one value per line.
LINES_ENDINGS = (".jsonl", ".ndjson")
DEFAULT_READING = TableReading()


def read_boxes(path: Path, problems: Problems, reading: TableReading = DEFAULT_READING) -> list[Box]:
    """Read the boxes of a file, in the order of the file. Malformed rows are added to `problems`.

    The ending of the name selects the format:

    - ``.csv``, ``.tsv`` or ``.txt`` is a table with a header, whose fields are separated by commas, semicolons, tabs
      or bars; see :mod:`.tables`.
    - ``.parquet`` or ``.pq`` is a table too. Its boxes may be in one column of lists, ``box``. Rows with an ``error``
      are left out if they have no box, or if `roialign extract` wrote the file.
    - ``.jsonl`` or ``.ndjson`` has one item of a JSON list per line.
    - Anything else is JSON. An object with ``images`` and ``annotations`` is a COCO file, whose ``bbox`` is
      (x, y, width, height). A list has items ``{"image": name, "box": [x1, y1, x2, y2], "label": text}``,
      ``[x1, y1, x2, y2]``, or objects with the columns of a table.

    The columns of a table may be in any order and have any of the usual names; see :mod:`.columns`. Boxes are in
    pixels, or in percent if the table has the columns of Label Studio; see :mod:`.percent`.

    Raises
    ------
    FileError
        If the file cannot be read or has none of these formats.
    """
    boxes = list(_read_boxes(path, problems, reading))
    stated = [(box.image, box.corners, box.stated_size) for box in boxes if box.stated_size is not None]
    return boxes if not stated or are_of_images(stated) else [replace(box, stated_size=None) for box in boxes]


def _read_boxes(path: Path, problems: Problems, reading: TableReading) -> Iterator[Box]:
    if path.suffix.lower() in TABLE_ENDINGS:
        return _table_rows(path, read_text(path), problems, reading)
    if path.suffix.lower() in PARQUET_ENDINGS:
        rows = read_parquet_rows(path, ("box", "bbox"), reading)
        entries = [Entry(row, f"{path}, row {row}", value) for row, value in rows]
        return _list_rows(path, entries, problems, reading)
    if path.suffix.lower() in LINES_ENDINGS:
        lines = enumerate(read_json_lines(path))
        entries = [Entry(row, f"{path}, row {row} (line {line})", value) for row, (line, value) in lines]
        return _list_rows(path, entries, problems, reading)
    content = read_json(path)
    if isinstance(content, list):
        entries = [Entry(row, f"{path}, row {row}", value) for row, value in enumerate(content)]
        return _list_rows(path, entries, problems, reading)
    if isinstance(content, dict) and "annotations" in content and "images" in content:
        check_objects(content)
        return read_coco_boxes(path, content, problems, reading.box_format)
    found = f"an object with {shown(sorted(content))}" if isinstance(content, dict) else shown(content)
    raise FileError(f"expected a list of boxes, or a COCO object with images and annotations, found {found}")


def _table_rows(path: Path, text: str, problems: Problems, reading: TableReading) -> Iterator[Box]:
    table = TextTable(text)
    columns = _columns_of(table, text, reading)
    as_number = Numbers(table.delimiter)
    wrong = RowProblems(problems, path)
    row = -1
    for found in table.rows():
        if found.is_comment:
            problems.remark(f"{path}, line {found.line}", "begins with #: skipped as a comment", "comments")
            continue
        row += 1
        where = f"{path}, row {row} (line {found.line})"
        try:
            if found.wrong is not None:
                raise FileError(found.wrong)
            if len(found.fields) != len(table.header):
                raise FileError(f"expected {len(table.header)} fields, found {len(found.fields)}")
            values = dict(zip(table.header, found.fields, strict=True))
            _check_unread_columns(path, values, columns, problems)
            numbers = [as_number.number(name, values[name]) for name in columns.box]
            box = _box(row, where, values, columns, numbers)
            _remark_boxes(path, values, columns, box, problems)
            yield box
        except UnreadColumnError:
            raise
        except FileError as error:
            wrong.add(where, error)
    wrong.end()


def _columns_of(table: TextTable, text: str, reading: TableReading) -> Columns:
    """Find the columns of a table. If there are none, the error says what else the file may be."""
    try:
        return find_columns(table.header, reading)
    except FileError as error:
        if table.commented_header is not None:
            table.use_comment()
            with suppress(FileError):
                return find_columns(table.header, reading)
        known = "JSON: give it a name that ends in .json" if text.lstrip()[:1] in ("{", "[") else None
        known = known or what_is(text[:HEAD_BYTES].encode()) or _separated_by_spaces(table.header)
        raise FileError(f"{error}; it is {known}" if known else str(error)) from error


def _separated_by_spaces(header: Sequence[str]) -> str | None:
    """Describe a first line that only spaces separate into fields; None if there is no such line."""
    fields = header[0].split() if len(header) == 1 else []
    if len(fields) >= 5 and all(NUMBER.fullmatch(field) for field in fields):
        return "a label file without a header, as YOLO uses: write a table with image names and boxes in pixels"
    return "separated by spaces: separate the fields by commas, semicolons or tabs" if len(fields) >= 4 else None


def _check_unread_columns(path: Path, values: Mapping[str, Any], columns: Columns, problems: Problems) -> None:
    """Add a remark if an unread column may name images: without a name, a box is assigned to the only input."""
    if columns.image is not None:
        return
    for name in check_unread(values, [*columns.box, *(columns.size or ())]):
        what = f"column {quoted(name)} is not read: does it name images? --columns {one_line(f'image={name}')}"
        problems.remark(path, what, "columns")


def _remark_boxes(path: Path, values: Mapping[str, Any], columns: Columns, box: Box, problems: Problems) -> None:
    """Add remarks, once for the file, if boxes are in percent, or if unread columns hold another box."""
    if columns.percent is not None:
        problems.remark(path, columns.percent.remark, "columns")
    text = other_box_text(values, columns, box.corners) if columns.others else None
    if text is not None:
        problems.remark(path, text, "columns")


def _box(row: int, where: str, values: Mapping[str, Any], columns: Columns, numbers: list[Any]) -> Box:
    """Make the box of a row with named columns."""
    check_upright(values, columns)
    four = four_numbers(numbers, f"expected [{', '.join(columns.box)}]")
    size = _size(values, columns.size)
    if columns.percent is not None:
        four = pixels_of(four, size, values, columns.percent.size)
    corners = corners_of(four, columns.box_format)
    image = None if columns.image is None else image_name(values[columns.image])
    label = None if columns.label is None else values.get(columns.label)
    return Box(row, where, image, corners, label_text(label), size, stated_size=_size(values, columns.beside))


def _size(values: Mapping[str, Any], columns: tuple[str, str] | None) -> Size | None:
    """Return a width and a height, if both are whole numbers."""
    if columns is None:
        return None
    try:
        width, height = (float(values[name]) for name in columns)
        whole_numbers = width.is_integer() and height.is_integer() and min(width, height) > 0
    except (TypeError, ValueError, KeyError, OverflowError):
        return None
    return (int(width), int(height)) if whole_numbers else None


class Entry(NamedTuple):
    """One item of a list of boxes."""

    row: int
    where: str
    value: Any
    """The item, or the :class:`FileError` raised when its line was read."""


def _list_rows(path: Path, entries: Iterable[Entry], problems: Problems, reading: TableReading) -> Iterator[Box]:
    wrong = RowProblems(problems, path)
    for row, where, entry in entries:
        try:
            if isinstance(entry, FileError):
                raise entry
            if isinstance(entry, list):
                box_format = reading.box_format or "xyxy"
                yield Box(row, where, None, corners_of(four_numbers(entry, _expected(reading)), box_format), "")
                continue
            columns = _listed_columns(entry, reading)
            _check_unread_columns(path, entry, columns, problems)
            whole_box = columns.box[0] == columns.box[1]
            numbers = entry[columns.box[0]] if whole_box else [entry[name] for name in columns.box]
            if whole_box:
                columns = replace(columns, box=ROLES[columns.box_format])
            box = _box(row, where, entry, columns, numbers)
            _remark_boxes(path, entry, columns, box, problems)
            yield box
        except UnreadColumnError:
            raise
        except FileError as error:
            wrong.add(where, error)
    wrong.end()


def _listed_columns(entry: Any, reading: TableReading) -> Columns:
    """Return the columns of an item of a list. If the box is a single value, its name is repeated four times."""
    if isinstance(entry, dict) and reading.box_roles:
        return find_columns(list(entry), reading)
    whole_box = "box" if isinstance(entry, dict) and "box" in entry else "bbox"
    if isinstance(entry, dict) and {"box", "bbox"} <= set(entry) and entry["box"] != entry["bbox"]:
        both = f"box {shown(entry['box'])} and bbox {shown(entry['bbox'])}"
        raise FileError(f"expected one box, found {both}: remove one of them")
    if isinstance(entry, dict) and whole_box not in entry:
        try:
            return find_columns(list(entry), reading)
        except AmbiguousColumnsError:
            raise
        except FileError:
            if reading.columns:
                raise
    if not isinstance(entry, dict) or whole_box not in entry:
        four = ", ".join(ROLES[reading.box_format or "xyxy"])
        hidden = nested_text(_nested_values(entry))
        raise FileError(f'{_expected(reading)} or {{"image": name, "box": [{four}]}}, found {shown(entry)}{hidden}')
    named = find_columns(list(entry), reading, whole_box)
    if whole_box == "bbox" and _is_result(entry, named, reading):
        raise UnreadColumnError(
            "a list of COCO results, which has the ids of images instead of their names: give the COCO file with the "
            "images and annotations instead; or, if the ids are the names of the files, "
            f"--columns image={named.image} --box-format xywh"
        )
    if whole_box == "bbox" and reading.box_format is None:  # xywh in COCO, xyxy elsewhere
        raise FileError(f"bbox: give --box-format xyxy or --box-format xywh, found {shown(entry)}")
    return named


def _nested_values(entry: object) -> dict[str, list[str]]:
    """Return the names in every list and object of an item; see :func:`nested_text`."""
    values = entry.items() if isinstance(entry, dict) else ()
    nested = [(name, value) for name, value in values if isinstance(value, (list, dict))]
    firsts = [(name, value[0] if isinstance(value, list) and value else value) for name, value in nested]
    return {name: list(first) if isinstance(first, dict) else [] for name, first in firsts}


def _is_result(entry: Mapping[str, Any], named: Columns, reading: TableReading) -> bool:
    """Whether this is an item of a list of COCO results, whose image is an id in another file."""
    is_given = "image" in (reading.columns or {})
    if is_given or named.image is None or normalised(named.image) != "imageid":
        return False
    return isinstance(entry[named.image], (int, float))


def _expected(reading: TableReading) -> str:
    return f"expected [{', '.join(ROLES[reading.box_format or 'xyxy'])}]"
