"""Reads the rows of Parquet files: only the columns that boxes need, without the features."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

from .._extras import require
from .columns import (
    BOX_NAMES,
    IMAGE_NAMES,
    LABEL_NAMES,
    ROLES,
    AmbiguousColumnsError,
    TableReading,
    find_columns,
    nested_text,
    normalised,
)
from .kinds import check_readable
from .problems import FileError
from .text import quoted

#: The key of this package's entry in the metadata of the files that it writes.
METADATA = "roialign"


def read_parquet_rows(path: Path, lists: Sequence[str], reading: TableReading) -> list[tuple[int, dict[str, Any]]]:
    """Return the rows of a table with their indices.

    Columns of lists or bytes are read only if they are named in `lists` or are the only labels, and dates and times
    only if they can be part of a box. They are converted to text, because Python cannot represent all of them. Bytes
    are converted to text, too. Decimals are converted to floats in a box and to text elsewhere, because a float does
    not hold all digits of an id. Rows with an `error` are left out if they have no box, or if this package wrote the
    file.

    Raises
    ------
    FileError
        If the file is not a Parquet file, has no columns of a box, or has two columns of the same name that can be part
        of a box.
    ModuleNotFoundError
        If pyarrow is not installed.
    """
    check_readable(path)
    require("features", "pyarrow")
    import pyarrow
    from pyarrow import parquet, types

    given = reading.columns or {}
    try:
        file = parquet.ParquetFile(path, page_checksum_verification=True)
        schema = file.schema_arrow
        nested = {field.name for field in schema if _is_nested(field.type)}
        images = (given["image"],) if "image" in given else IMAGE_NAMES
        labels = (given["label"],) if "label" in given else LABEL_NAMES
        boxes = {*BOX_NAMES, *(normalised(name) for role, name in given.items() if role not in ("image", "label"))}
        files = [name for name in _named(nested, images) if _has_path(schema.field(name).type)]
        times = {
            field.name for field in schema if types.is_temporal(field.type) and normalised(field.name) not in boxes
        }
        wanted = [name for name in schema.names if name not in nested | times or name in lists]
        wanted += [] if _named(wanted, labels) else _named(nested, labels)[:1]
        wanted += [f"{name}.path" for name in files]
        rows: list[dict[str, Any]] = _converted(file.read(columns=wanted), boxes).to_pylist()
        is_ours = METADATA.encode() in (schema.metadata or {})
    except UnicodeDecodeError as error:
        raise FileError("cannot be read as Parquet: its text is not UTF-8") from error
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        raise FileError(f"cannot be read as Parquet: {str(error).partition(chr(10))[0]}") from error
    twice = [name for name in dict.fromkeys(wanted) if wanted.count(name) > 1 and normalised(name) in boxes]
    if twice:
        raise FileError(f"expected each column once, found {', '.join(map(quoted, twice))} twice")
    for name in files:
        for row in rows:
            row[name] = (row[name] or {}).get("path")
    unread = [name for name in _named(nested, images) if name not in files]
    if unread and not _named([*wanted, *files], images):
        raise FileError(f"column {quoted(unread[0])} holds images, not their names: add a column with the names")
    if reading.box_roles or not set(lists) & set(wanted):
        known = [name for name in schema.names if name in (*wanted, *files)]
        others = [field for field in schema if field.name in nested.difference(known) and not _is_bytes(field.type)]
        _check_box(known, reading, {field.name: _names_in(field.type) for field in others})
    corners = [name for name in wanted if name in (*ROLES["xyxy"], *lists)]

    def failed(row: dict[str, Any]) -> bool:
        is_empty = bool(corners) and all(row[name] is None for name in corners)
        return row.get("error") is not None and (is_ours or is_empty)

    return [(number, row) for number, row in enumerate(rows) if not failed(row)]


def _check_box(names: Sequence[str], reading: TableReading, nested: Mapping[str, Sequence[str]]) -> None:
    """Check that there are columns of a box. If not, the error says which columns may hold boxes and are not read."""
    try:
        find_columns(names, reading)
    except AmbiguousColumnsError:
        raise
    except FileError as error:
        raise FileError(f"{error}{nested_text(nested)}") from error


def _named(names: Iterable[str], known: Sequence[str]) -> list[str]:
    """Return those of `names` that are among `known`, apart from their spelling, in the order of `known`."""
    order = {normalised(name): place for place, name in reversed(list(enumerate(known)))}
    return sorted((name for name in names if normalised(name) in order), key=lambda name: order[normalised(name)])


def _is_nested(kind: Any) -> bool:
    """Whether the values of a column are lists, structures or bytes, rather than numbers or text."""
    from pyarrow import BaseExtensionType, UuidType, types

    stored = kind.storage_type if isinstance(kind, BaseExtensionType) and not isinstance(kind, UuidType) else kind
    return bool(types.is_nested(stored) or _is_bytes(stored))


def _names_in(kind: Any) -> list[str]:
    """Return the names in a column of structures, or of lists of structures."""
    from pyarrow import types

    while hasattr(kind, "value_type"):
        kind = kind.value_type
    return [kind.field(index).name for index in range(kind.num_fields)] if types.is_struct(kind) else []


def _is_bytes(kind: Any) -> bool:
    from pyarrow import types

    kinds = (types.is_binary, types.is_large_binary, types.is_fixed_size_binary, types.is_binary_view)
    return any(is_of_kind(kind) for is_of_kind in kinds)


def _converted(table: Any, boxes: Collection[str]) -> Any:
    """Convert the columns that Python or JSON cannot represent. `boxes` are the names that can be part of a box."""
    import pyarrow
    from pyarrow import types

    for index, field in enumerate(table.schema):
        column, kind = table.column(index), field.type
        if types.is_decimal(kind):  # as databases write numbers
            is_number = normalised(field.name) in boxes
            column = column.cast(pyarrow.float64()) if is_number else _texts(column, _decimal_text)
        elif types.is_nested(kind) and types.is_decimal(getattr(kind, "value_type", None) or pyarrow.null()):
            column = column.cast(pyarrow.list_(pyarrow.float64()))
        elif types.is_duration(kind):  # has no conversion to text
            column = column.cast(pyarrow.int64()).cast(pyarrow.string())
        elif types.is_timestamp(kind):  # without its zone, which this machine may not know
            column = column.cast(pyarrow.timestamp(kind.unit)).cast(pyarrow.string())
        elif types.is_temporal(kind):
            column = column.cast(pyarrow.string())
        elif isinstance(kind, pyarrow.UuidType):
            column = _texts(column, str)
        elif _is_bytes(kind):
            with suppress(pyarrow.ArrowInvalid):  # not UTF-8
                column = column.cast(pyarrow.string())
        table = table.set_column(index, field.name, column)
    return table


def _texts(column: Any, text_of: Callable[[Any], str]) -> Any:
    import pyarrow

    return pyarrow.chunked_array([[None if value is None else text_of(value) for value in column.to_pylist()]])


def _decimal_text(value: Decimal) -> str:
    """Write all digits, without zeros after the last one.

    >>> _decimal_text(Decimal("3.00")), _decimal_text(Decimal("1.50"))
    ('3', '1.5')
    """
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _has_path(kind: Any) -> bool:
    """Whether a column holds images with their paths, as Hugging Face datasets do."""
    from pyarrow import types

    return bool(types.is_struct(kind) and kind.get_field_index("path") >= 0)
