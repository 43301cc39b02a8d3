"""The rows of a shard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .._text import counted
from .._typing import Array
from ..files.boxes import Box

#: The number of boxes that an error names.
MOST_ROWS = 10


@dataclass
class ImageRows:
    """The result for one image: the features of its boxes, an error, or both if some of its features cannot be used."""

    image: Path
    height: int = 0
    width: int = 0
    boxes: Sequence[Box] = ()
    features: list[Array] = field(default_factory=list)
    """For each column, ``[K, ...]`` with one row per box."""
    error: str | None = None

    def keep_finite(self, features: Sequence[Array]) -> None:
        """Set the features. Boxes with a feature that is not finite are removed, and become an error.

        A backbone that diverges, or overflows in half precision, gives NaN or infinity, which no later step could use.
        """
        finite = np.ones(len(self.boxes), dtype=bool)
        for values in features:
            finite &= np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
        if finite.all():
            self.features = list(features)
            return
        bad = [str(box.row) for box, is_finite in zip(self.boxes, finite, strict=True) if not is_finite]
        named = ", ".join(bad[:MOST_ROWS]) + (f" and {len(bad) - MOST_ROWS} more" if len(bad) > MOST_ROWS else "")
        where = f"row{'s' if len(bad) > 1 else ''} {named}"
        self.error = f"features that are not finite: {where} of {counted(len(finite), 'box', 'boxes')}"
        self.boxes = [box for box, is_finite in zip(self.boxes, finite, strict=True) if is_finite]
        self.features = [values[finite] for values in features]
