"""The log of a training run, as a CSV table and for TensorBoard."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..._extras import require
from ...files.writing import atomic_write, naming
from .settings import RunError

#: File names in the folder of a run.
TABLE_FILE, TENSORBOARD_FOLDER = "log.csv", "tensorboard"


class Log:
    """``log.csv`` with one row per iteration, and the same values in ``tensorboard/``.

    Rows after `iteration` are removed: a run that was killed had not saved those iterations. `measured` names the
    columns that only some rows fill.
    """

    def __init__(self, run: Path, iteration: int, measured: Sequence[str] = ()) -> None:
        require("detection", "tensorboard")
        from torch.utils.tensorboard import SummaryWriter  # only training needs it, and it is slow to import

        self._path = run / TABLE_FILE
        self._measured = list(measured)
        self._names, rows = rows_up_to(self._path, iteration, measured)
        if rows or self._path.exists():
            with atomic_write(self._path) as file:
                file.write("".join(rows).encode())
        self._file = open(self._path, "a", newline="", encoding="utf-8")  # noqa: SIM115 - closed by close()
        self._folder = run / TENSORBOARD_FOLDER
        with naming(self._folder):
            self._curves = SummaryWriter(str(self._folder), purge_step=iteration + 1 if iteration else None)

    def add(self, iteration: int, numbers: Mapping[str, float], measured: Mapping[str, float]) -> None:
        """Add the values of one iteration, counted from 1, and what was measured after it. The names never change."""
        table = csv.writer(self._file, lineterminator="\n")
        known = {**numbers, **measured}
        with naming(self._path):
            if not self._names:
                self._names = ["iteration", *numbers, *(name for name in self._measured if name not in numbers)]
                table.writerow(self._names)
            table.writerow([iteration, *(repr(known[name]) if name in known else "" for name in self._names[1:])])
            self._file.flush()
        with naming(self._folder):
            for kind, values in (("training", numbers), ("validation", measured)):
                for name, number in values.items():
                    self._curves.add_scalar(f"{kind}/{name}", number, iteration)

    def close(self) -> None:
        """Write what is still buffered, and close the files."""
        with naming(self._path):
            self._file.close()
        with naming(self._folder):
            self._curves.close()


def rows_up_to(path: Path, iteration: int, measured: Sequence[str]) -> tuple[list[str], list[str]]:
    """The column names, and the lines (with the header) that are complete and belong to saved iterations.

    A value that is measured for the first time gets an empty column in the earlier lines.
    """
    if not path.exists():
        return [], []
    try:
        lines = path.read_bytes().decode().splitlines(keepends=True)
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: cannot be read as the log of a run: {error}") from error
    if not lines or not lines[0].endswith("\n") or iteration == 0:
        return [], []
    names = next(csv.reader(io.StringIO(lines[0])))
    new = [name for name in measured if name not in names]
    whole = [line for line in lines[1:] if line.endswith("\n")]
    wrong = [number for number, line in enumerate(whole, start=2) if not line.partition(",")[0].isdecimal()]
    if wrong:
        raise RunError(
            f"{path}: line {wrong[0]}: expected an iteration number in the first column; it is not the log of a run"
        )
    kept = [line for line in whole if int(line.partition(",")[0]) <= iteration]
    heading = ",".join([lines[0].removesuffix("\n"), *new])
    return [*names, *new], [f"{heading}\n", *(f"{line.removesuffix(chr(10))}{',' * len(new)}\n" for line in kept)]
