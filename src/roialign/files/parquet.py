"""Reads the rows of Parquet files: the columns that a box may need, without features that stand beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .._extras import require
from .columns import IMAGE_NAMES, plain
from .kinds import check_readable
from .problems import FileError
from .text import quoted


def read_parquet_rows(path: Path, lists: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of a table; of its columns of lists only those named in `lists`. Rows that have an `error` are left out.

    Raises
    ------
    FileError
        For what is no Parquet file.
    ModuleNotFoundError
        Where pyarrow is not installed.
    """
    check_readable(path)
    require("features", "pyarrow")
    import pyarrow
    from pyarrow import parquet, types

    try:
        file = parquet.ParquetFile(path)
        schema = file.schema_arrow
        nested = {field.name for field in schema if types.is_nested(field.type) or types.is_binary(field.type)}
        files = [name for name in nested if plain(name) in IMAGE_NAMES and _has_path(schema.field(name).type)]
        wanted = [name for name in schema.names if name not in nested or name in lists]
        wanted += [f"{name}.path" for name in files]
        rows: list[dict[str, Any]] = file.read(columns=wanted).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise FileError(f"cannot be read as Parquet: {str(error).partition(chr(10))[0]}") from error
    for name in files:
        for row in rows:
            row[name] = (row[name] or {}).get("path")
    unread = [name for name in nested if plain(name) in IMAGE_NAMES and name not in files]
    if unread and not any(plain(name) in IMAGE_NAMES for name in [*wanted, *files]):
        raise FileError(f"column {quoted(unread[0])} holds images, not their names: add a column with those")
    return [row for row in rows if row.get("error") is None]


def _has_path(kind: Any) -> bool:
    """Whether a column holds images with their paths, as data sets of Hugging Face do."""
    from pyarrow import types

    return bool(types.is_struct(kind) and kind.get_field_index("path") >= 0)
