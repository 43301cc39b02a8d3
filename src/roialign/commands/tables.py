"""Formats results as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from .._text import counted, printable
from ..extract.pipeline import PooledRow

#: The largest number of rows to print. The result file has all rows.
MOST_ROWS = 20


def rows_table(rows: Sequence[PooledRow]) -> Table:
    """Return a table with one line for each of the first pooled boxes."""
    table = Table(title="Pooled boxes", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for name in ("row", "image", "label"):
        table.add_column(name, justify="right" if name == "row" else "left", overflow="fold")
    for name in ("x1", "y1", "x2", "y2", "mean"):
        table.add_column(name, justify="right")
    for row in rows[:MOST_ROWS]:
        numbers = [f"{number:.6g}" for number in (*row.box.corners, row.mean)]
        names = [Text(printable(name)) for name in (row.box.row, row.input.name, row.box.label)]
        table.add_row(*names, *numbers)
    if len(rows) > MOST_ROWS:
        table.caption = f"and {counted(len(rows) - MOST_ROWS, 'more row')}"
    return table
