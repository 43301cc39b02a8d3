"""The rows of one shard, as they are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .._typing import Array
from ..files.boxes import Box


@dataclass
class ImageRows:
    """What became of one image: features of its boxes, or an error."""

    image: Path
    height: int = 0
    width: int = 0
    boxes: Sequence[Box] = ()
    features: list[Array] = field(default_factory=list)
    """By column: ``[K, ...]``, a row for each box."""
    error: str | None = None
