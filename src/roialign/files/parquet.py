"""Reads the rows of Parquet files: the columns that a box may need, without features that stand beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .._extras import require
from .kinds import check_readable
from .problems import FileError


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
        schema = parquet.read_schema(path)
        nested = {field.name for field in schema if types.is_nested(field.type) or types.is_binary(field.type)}
        wanted = [name for name in schema.names if name not in nested or name in lists]
        rows: list[dict[str, Any]] = parquet.read_table(path, columns=wanted, partitioning=None).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise FileError(f"cannot be read as Parquet: {str(error).partition(chr(10))[0]}") from error
    return [row for row in rows if row.get("error") is None]
