"""Where the RoIs of the pointwise family are: the one form that every backend takes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ._typing import Array


class Geometry(NamedTuple):
    """Where the RoIs are; or a direction in which they move."""

    boxes: Array
    """``[K, 4]`` (x1, y1, x2, y2), or ``[K, 5]`` (centre x, centre y, width, height, angle)."""
    offset: Array | None = None
    """``[K, 2, PH, PW]``: (x, y) of every bin, in parts of the RoI's size times gamma."""
    mask: Array | None = None
    """``[K, PH, PW]``: what every bin is multiplied by."""

    def still(self) -> Geometry:
        """The direction in which nothing moves."""
        return Geometry(*(None if part is None else np.zeros(part.shape) for part in self))  # type: ignore[arg-type]
