"""The RoIs of a call, in the form that every CPU backend takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ._typing import Array


class Geometry(NamedTuple):
    """The numbers that describe the RoIs, or a direction (tangent) in which they move."""

    boxes: Array
    """``[K, 4]`` (x1, y1, x2, y2), or ``[K, 5]`` (centre x, centre y, width, height, angle)."""
    offset: Array | None = None
    """``[K, 2, PH, PW]``: the (x, y) offset of every bin, in units of gamma times the RoI's size."""
    mask: Array | None = None
    """``[K, PH, PW]``: the factor of every bin."""

    def still(self) -> Geometry:
        """The zero direction."""
        return Geometry(*(None if part is None else np.zeros(part.shape) for part in self))  # type: ignore[arg-type]


class Regions(NamedTuple):
    """Validated RoIs on the levels of a pyramid."""

    scales: Sequence[float]
    """Feature pixels per image pixel of each level."""
    rows: Array
    """``[K, 5]`` float64 rows (image, x1, y1, x2, y2), or ``[K, 6]`` with the five numbers of a rotated box. Image -1
    marks a RoI whose result is zero."""
    levels: Array
    """int64 ``[K]``: the index of the level of each RoI."""
    offset: Array | None = None
    mask: Array | None = None
    """As in :class:`Geometry`."""

    @property
    def images(self) -> Array:
        """int64 ``[K]``: the image of each RoI."""
        return self.rows[:, 0].astype(np.int64)

    @property
    def geometry(self) -> Geometry:
        return Geometry(np.ascontiguousarray(self.rows[:, 1:]), self.offset, self.mask)
