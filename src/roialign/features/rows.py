"""The rows of a shard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .._typing import Array
from ..files.boxes import Box


@dataclass
class ImageRows:
    """The result for one image: the features of its boxes, or an error."""

    image: Path
    height: int = 0
    width: int = 0
    boxes: Sequence[Box] = ()
    features: list[Array] = field(default_factory=list)
    """For each column, ``[K, ...]`` with one row per box."""
    error: str | None = None
