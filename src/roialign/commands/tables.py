"""Tables of all commands at the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

from .._text import counted, printable

if TYPE_CHECKING:
    from ..extract.pipeline import PooledRow

#: The largest number of rows to print. The result file has all rows.
MOST_ROWS = 20
#: The smallest number of characters per line of text in a narrow terminal.
LEAST_TEXT = 8
#: The number of characters between two columns.
GAP = 3


def new_table(title: str, columns: Sequence[str], texts: Sequence[str]) -> Table:
    """Return a table with these columns. Those of `texts` hold text, the others numbers."""
    table = Table(title=Text(printable(title)), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        is_text = name in texts
        table.add_column(name, justify="left" if is_text else "right", overflow="fold" if is_text else "ellipsis")
    return table


def print_table(console: Console, table: Table) -> None:
    """Print a table. Only text is folded if the terminal is narrow: if its numbers do not fit, lines are longer."""
    if Measurement.get(console, console.options, table).maximum >= console.width:
        numbers = [column for column in table.columns if column.overflow != "fold"]
        for column in numbers:
            column.width = _longest_word(column)
        least = [column.width or min(_longest_word(column), LEAST_TEXT) for column in table.columns]
        table.width = max(console.width, sum(least) + GAP * len(least))
    console.print(table, crop=False)


def _longest_word(column: Column) -> int:
    cells = [str(column.header), *map(str, column.cells)]
    return max(Text(word).cell_len for cell in cells for word in cell.split() or [""])


def rows_table(rows: Sequence[PooledRow]) -> Table:
    """Return a table with one line for each of the first pooled boxes."""
    columns = ("row", "image", "label", "x1", "y1", "x2", "y2", "mean")
    table = new_table("Pooled boxes", columns, texts=("image", "label"))
    for row in rows[:MOST_ROWS]:
        numbers = [f"{number:.6g}" for number in (*row.box.corners, row.mean)]
        names = [Text(printable(name)) for name in (row.box.row, row.input.name, row.box.label)]
        table.add_row(*names, *numbers)
    if len(rows) > MOST_ROWS:
        table.caption = f"and {counted(len(rows) - MOST_ROWS, 'more row')}"
    return table
