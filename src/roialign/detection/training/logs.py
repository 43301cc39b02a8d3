"""The numbers of every iteration, as a table and for TensorBoard."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from ...extract.output import atomic_write

#: Names in the folder of a run.
TABLE_FILE, TENSORBOARD_FOLDER = "log.csv", "tensorboard"


class Log:
    """``log.csv`` with a row per iteration, and the same curves in ``tensorboard/``.

    Rows of iterations after `iteration`, which a run that was killed had not saved, are taken back.
    """

    def __init__(self, run: Path, iteration: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # of use to training only, and slow to import

        self._path = run / TABLE_FILE
        self._names, rows = _rows_up_to(self._path, iteration)
        if rows or self._path.exists():
            with atomic_write(self._path) as file:
                file.write("".join(rows).encode())
        self._file = open(self._path, "a", newline="", encoding="utf-8")  # noqa: SIM115 - closed by close()
        self._curves = SummaryWriter(str(run / TENSORBOARD_FOLDER), purge_step=iteration + 1 if iteration else None)

    def add(self, iteration: int, numbers: Mapping[str, float]) -> None:
        """The numbers of one iteration, from 1; the names are the same every time."""
        table = csv.writer(self._file, lineterminator="\n")
        if not self._names:
            self._names = ["iteration", *numbers]
            table.writerow(self._names)
        table.writerow([iteration, *(repr(numbers[name]) for name in self._names[1:])])
        self._file.flush()
        for name, number in numbers.items():
            self._curves.add_scalar(f"training/{name}", number, iteration)

    def close(self) -> None:
        """Write what is left."""
        self._file.close()
        self._curves.close()


def _rows_up_to(path: Path, iteration: int) -> tuple[list[str], list[str]]:
    """The names, and the lines, with their heading, that are whole and belong to what was saved."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    except FileNotFoundError:
        return [], []
    if not lines or not lines[0].endswith("\n") or iteration == 0:
        return [], []
    names = next(csv.reader(io.StringIO(lines[0])))
    kept = [line for line in lines[1:] if line.endswith("\n") and int(line.partition(",")[0]) <= iteration]
    return names, [lines[0], *kept]
