"""Reads the rows of Parquet files: only the columns that boxes need, without the features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .._extras import require
from .columns import IMAGE_NAMES, normalised
from .kinds import check_readable
from .problems import FileError
from .text import quoted


def read_parquet_rows(path: Path, lists: Sequence[str]) -> list[tuple[int, dict[str, Any]]]:
    """Return the rows of a table with their indices.

    Columns of lists are read only if they are named in `lists`. Columns of times are not read, because Python cannot
    represent all of them. Rows with an `error` are left out.

    Raises
    ------
    FileError
        If the file is not a Parquet file.
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
        times = {field.name for field in schema if types.is_temporal(field.type)}
        wanted = [name for name in schema.names if name not in nested | times or name in lists]
        wanted += [f"{name}.path" for name in files]
        rows: list[dict[str, Any]] = _with_floats(file.read(columns=wanted)).to_pylist()
    except UnicodeDecodeError as error:
        raise FileError("cannot be read as Parquet: its text is not UTF-8") from error
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        raise FileError(f"cannot be read as Parquet: {str(error).partition(chr(10))[0]}") from error
    for name in files:
        for row in rows:
            row[name] = (row[name] or {}).get("path")
    unread = [name for name in nested if normalised(name) in IMAGE_NAMES and name not in files]
    if unread and not any(normalised(name) in IMAGE_NAMES for name in [*wanted, *files]):
        raise FileError(f"column {quoted(unread[0])} holds images, not their names: add a column with the names")
    return [(number, row) for number, row in enumerate(rows) if row.get("error") is None]


def _with_floats(table: Any) -> Any:
    """Convert decimal columns, as databases write them, to floats."""
    import pyarrow
    from pyarrow import types

    for index, field in enumerate(table.schema):
        if types.is_decimal(field.type):
            table = table.set_column(index, field.name, table.column(index).cast(pyarrow.float64()))
    return table


def _has_path(kind: Any) -> bool:
    """Whether a column holds images with their paths, as Hugging Face datasets do."""
    from pyarrow import types

    return bool(types.is_struct(kind) and kind.get_field_index("path") >= 0)
