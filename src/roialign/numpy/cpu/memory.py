"""Conversion of arrays to the form that the compiled core takes."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from ... import _core
from ..._regions import Geometry
from ..._typing import Array


@lru_cache
def scalar_type(dtype: np.dtype[Any]) -> _core.ScalarType:
    return _core.ScalarType[dtype.name]


def elementwise(array: Array) -> Array:
    """Return the array, or a copy if its strides are not multiples of the item size, as in a field of a record."""
    item = array.itemsize
    for stride in array.strides:
        if stride % item:
            return np.ascontiguousarray(array)
    return array if array.flags.aligned else np.ascontiguousarray(array)


def contiguous(geometry: Geometry) -> Geometry:
    parts = [None if part is None else np.ascontiguousarray(part, dtype=np.float64) for part in geometry]
    return Geometry(*parts)  # type: ignore[arg-type]
