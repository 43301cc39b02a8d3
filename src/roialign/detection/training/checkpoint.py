"""Everything that a run has learnt, in one file that is whole at any moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ...extract.output import atomic_write
from ...files.problems import FileError
from ...files.weights import read_checkpoint
from .settings import RunError

#: The name of the checkpoint in the folder of a run.
CHECKPOINT_FILE = "checkpoint.pt"
#: What it holds; the seeds of all random draws follow from the iteration, and so does the learning rate.
PARTS = ("iteration", "model", "optimiser", "scaler")


def save_checkpoint(run: Path, parts: dict[str, Any]) -> None:
    """Replace the checkpoint in one step: after a crash there is the old one or the new one."""
    assert set(parts) == set(PARTS)
    with atomic_write(run / CHECKPOINT_FILE) as file:
        torch.save(parts, file)


def load_checkpoint(run: Path) -> dict[str, Any] | None:
    """The checkpoint of a run; None before the first.

    Raises
    ------
    RunError
        Naming the file, where it cannot be read.
    """
    path = run / CHECKPOINT_FILE
    if not path.exists():
        return None
    try:
        parts = read_checkpoint(path)
    except FileError as error:
        raise RunError(f"{path}: cannot be read as a checkpoint: {error}") from error
    if not isinstance(parts, dict) or set(parts) != set(PARTS):
        raise RunError(f"{path}: expected a checkpoint with {', '.join(PARTS)}")
    return parts
