"""Reads the rows of Parquet files: only the columns that boxes need, without the features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .._extras import require
from .columns import BOX_NAMES, IMAGE_NAMES, ROLES, normalised
from .kinds import check_readable
from .problems import FileError
from .text import quoted

#: The key of this package's entry in the metadata of the files that it writes.
METADATA = "roialign"


def read_parquet_rows(path: Path, lists: Sequence[str]) -> list[tuple[int, dict[str, Any]]]:
    """Return the rows of a table with their indices.

    Columns of lists are read only if they are named in `lists`, and dates and times only if they can be part of a box.
    They are converted to text, because Python cannot represent all of them. Rows with an `error` are left out if they
    have no box, or if this package wrote the file.

    Raises
    ------
    FileError
        If the file is not a Parquet file, or has two columns of the same name that can be part of a box.
    ModuleNotFoundError
        If pyarrow is not installed.
    """
    check_readable(path)
    require("features", "pyarrow")
    import pyarrow
    from pyarrow import parquet, types

    try:
        file = parquet.ParquetFile(path, page_checksum_verification=True)
        schema = file.schema_arrow
        nested = {field.name for field in schema if types.is_nested(field.type) or types.is_binary(field.type)}
        files = [name for name in nested if normalised(name) in IMAGE_NAMES and _has_path(schema.field(name).type)]
        times = {field.name for field in schema if types.is_temporal(field.type) and not _is_of_box(field.name)}
        wanted = [name for name in schema.names if name not in nested | times or name in lists]
        wanted += [f"{name}.path" for name in files]
        rows: list[dict[str, Any]] = _converted(file.read(columns=wanted)).to_pylist()
        is_ours = METADATA.encode() in (schema.metadata or {})
    except UnicodeDecodeError as error:
        raise FileError("cannot be read as Parquet: its text is not UTF-8") from error
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        raise FileError(f"cannot be read as Parquet: {str(error).partition(chr(10))[0]}") from error
    twice = [name for name in dict.fromkeys(wanted) if wanted.count(name) > 1 and _is_of_box(name)]
    if twice:
        raise FileError(f"expected each column once, found {', '.join(map(quoted, twice))} twice")
    for name in files:
        for row in rows:
            row[name] = (row[name] or {}).get("path")
    unread = [name for name in nested if normalised(name) in IMAGE_NAMES and name not in files]
    if unread and not any(normalised(name) in IMAGE_NAMES for name in [*wanted, *files]):
        raise FileError(f"column {quoted(unread[0])} holds images, not their names: add a column with the names")
    corners = [name for name in wanted if name in (*ROLES["xyxy"], *lists)]

    def failed(row: dict[str, Any]) -> bool:
        is_empty = bool(corners) and all(row[name] is None for name in corners)
        return row.get("error") is not None and (is_ours or is_empty)

    return [(number, row) for number, row in enumerate(rows) if not failed(row)]


def _is_of_box(name: str) -> bool:
    return normalised(name) in BOX_NAMES


def _converted(table: Any) -> Any:
    """Convert decimal columns, as databases write them, to floats, and dates and times to text."""
    import pyarrow
    from pyarrow import types

    for index, field in enumerate(table.schema):
        column, kind = table.column(index), field.type
        if types.is_decimal(kind):
            column = column.cast(pyarrow.float64())
        elif types.is_duration(kind):  # has no conversion to text
            column = column.cast(pyarrow.int64()).cast(pyarrow.string())
        elif types.is_timestamp(kind):  # without its zone, which this machine may not know
            column = column.cast(pyarrow.timestamp(kind.unit)).cast(pyarrow.string())
        elif types.is_temporal(kind):
            column = column.cast(pyarrow.string())
        table = table.set_column(index, field.name, column)
    return table


def _has_path(kind: Any) -> bool:
    """Whether a column holds images with their paths, as Hugging Face datasets do."""
    from pyarrow import types

    return bool(types.is_struct(kind) and kind.get_field_index("path") >= 0)
