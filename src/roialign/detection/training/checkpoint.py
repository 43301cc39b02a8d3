"""The checkpoint of a training run: one file, replaced atomically."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ...extract.output import atomic_write
from ...files.problems import FileError
from ...files.weights import read_checkpoint
from .settings import RunError

#: The name of the checkpoint file in the folder of a run.
CHECKPOINT_FILE = "checkpoint.pt"
#: The parts of a checkpoint. Random seeds and the learning rate follow from the iteration and are not stored.
PARTS = ("iteration", "model", "optimiser", "scaler")


def save_checkpoint(run: Path, parts: dict[str, Any]) -> None:
    """Replace the checkpoint atomically. After a crash, the file is either the old or the new checkpoint."""
    assert set(parts) == set(PARTS)
    with atomic_write(run / CHECKPOINT_FILE) as file:
        torch.save(parts, file)


def load_checkpoint(run: Path) -> dict[str, Any] | None:
    """Load the checkpoint of a run, or return None if there is none yet.

    Raises
    ------
    RunError
        If the file cannot be read. The message names it.
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
