"""Where the RoIs of a call are: the one form that every backend on the host takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ._typing import Array


class Geometry(NamedTuple):
    """The numbers that describe the RoIs; or a direction in which they move."""

    boxes: Array
    """``[K, 4]`` (x1, y1, x2, y2), or ``[K, 5]`` (centre x, centre y, width, height, angle)."""
    offset: Array | None = None
    """``[K, 2, PH, PW]``: (x, y) of every bin, in parts of the RoI's size times gamma."""
    mask: Array | None = None
    """``[K, PH, PW]``: what every bin is multiplied by."""

    def still(self) -> Geometry:
        """The direction in which nothing moves."""
        return Geometry(*(None if part is None else np.zeros(part.shape) for part in self))  # type: ignore[arg-type]


class Regions(NamedTuple):
    """RoIs on the levels of a pyramid, validated."""

    scales: Sequence[float]
    """Feature pixels per image pixel of every level."""
    rows: Array
    """``[K, 5]`` float64 rows (image, x1, y1, x2, y2), or ``[K, 6]`` with the five numbers of a rotated box; image -1
    marks a RoI whose answer is zero."""
    levels: Array
    """int64 ``[K]``: an index into the levels."""
    offset: Array | None = None
    mask: Array | None = None
    """As in :class:`Geometry`."""

    @property
    def images(self) -> Array:
        """int64 ``[K]``."""
        return self.rows[:, 0].astype(np.int64)

    @property
    def geometry(self) -> Geometry:
        return Geometry(np.ascontiguousarray(self.rows[:, 1:]), self.offset, self.mask)
