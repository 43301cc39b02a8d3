"""The checkpoint of a training run: one file, replaced atomically."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..._text import encodable
from ...files.problems import FileError
from ...files.weights import read_checkpoint
from ...files.writing import atomic_write
from ..coco import CocoDataset
from .settings import RunError

#: The name of the checkpoint file in the folder of a run.
CHECKPOINT_FILE = "checkpoint.pt"
#: The parts of a checkpoint. Random seeds and the learning rate follow from the iteration and are not stored.
PARTS = ("iteration", "model", "optimiser", "scaler")
#: The annotations that were trained on last, or None. Checkpoints of earlier versions do not have them.
ANNOTATIONS = "annotations"


def save_checkpoint(run: Path, parts: dict[str, Any]) -> None:
    """Replace the checkpoint atomically. After a crash, the file is either the old or the new checkpoint."""
    assert set(parts) == {*PARTS, ANNOTATIONS}
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
    if not isinstance(parts, dict) or set(parts) - {ANNOTATIONS} != set(PARTS):
        raise RunError(f"{path}: expected a checkpoint with {', '.join(PARTS)}")
    return parts


def annotations_of(dataset: CocoDataset) -> dict[str, str] | None:
    """The path and the SHA-256 of the annotations of a dataset, for its checkpoints. None if it has no hash."""
    sha256: str | None = getattr(dataset, "annotations_hash", None)  # the user's own datasets need none
    return None if sha256 is None else {"path": encodable(str(dataset.annotations)), "sha256": sha256}


def remark_other_annotations(
    dataset: CocoDataset, before: Any, own: Mapping[str, str] | None, *, goes_on: bool
) -> None:
    """Add a remark if a run is started again with other annotations than those of its checkpoint.

    `goes_on` says whether training continues with them, or has no step left.
    """
    if own is None or not isinstance(before, Mapping) or before.get("sha256") == own["sha256"]:
        return
    which = "its content has changed" if before.get("path") == own["path"] else f"those were {before.get('path')}"
    more = "; training continues with the new ones" if goes_on else ""
    what = f"not the annotations that this run has been trained on: {which}{more}"
    dataset.problems.remark(dataset.annotations, what, "other annotations")
