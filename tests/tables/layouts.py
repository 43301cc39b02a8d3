"""Memory layouts: the same values behind other strides, always with a guard of NaN on both sides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Shape = tuple[int, ...]

#: Elements before and after the array in its buffer.
GUARD = 67


@dataclass(frozen=True)
class Layout:
    """How an ``[N, C, H, W]`` array lies in a buffer of its own."""

    name: str
    base_shape: Callable[[Shape], Shape]
    """The shape of the block of memory that the array is a view of."""
    view: Callable[[Array], Array]
    """From that block to the array."""
    packed: bool = True
    """False: every element is a field of a record of one byte more, so that it lies off its alignment."""

    def buffer(self, shape: Shape, dtype: Any) -> tuple[Array, Array]:
        """A buffer full of NaN and, inside it, an uninitialised view of `shape`."""
        block = self.base_shape(shape)
        count = int(np.prod(block)) + 2 * GUARD
        record = np.dtype(dtype) if self.packed else np.dtype([("padding", "u1"), ("value", dtype)])
        storage = np.zeros(count, dtype=record)
        values = storage if self.packed else storage["value"]
        values[...] = np.nan if np.dtype(dtype) != np.bool_ else False
        view = self.view(values[GUARD:-GUARD].reshape(block))
        assert view.shape == shape
        assert view.size == 0 or np.shares_memory(view, storage)
        return values, view

    def of(self, array: Array, dtype: Any) -> Array:
        """The values of `array` in this layout."""
        _, view = self.buffer(array.shape, dtype)
        view[...] = array
        return view

    def outside(self, shape: Shape) -> Array:
        """Which elements of a buffer do not belong to the view of `shape`."""
        inside, view = self.buffer(shape, np.bool_)
        view[...] = True
        return ~inside


def _same(shape: Shape) -> Shape:
    return shape


LAYOUTS = [
    Layout("nchw", _same, lambda block: block),
    Layout("nhwc", lambda s: (s[0], s[2], s[3], s[1]), lambda block: block.transpose(0, 3, 1, 2)),
    Layout("columns first", lambda s: (s[0], s[1], s[3], s[2]), lambda block: block.transpose(0, 1, 3, 2)),
    Layout("images last", lambda s: (s[2], s[1], s[3], s[0]), lambda block: block.transpose(3, 1, 0, 2)),
    Layout("negative", _same, lambda block: block[::-1, ::-1, ::-1, ::-1]),
    Layout(
        "sliced",
        lambda s: (2 * s[0], s[1] + 3, 2 * s[2], 3 * s[3]),
        lambda block: block[1::2, 2:-1, ::2, 1::3],
    ),
    Layout(
        "nhwc, sliced channels",
        lambda s: (s[0], s[2], s[3], 2 * s[1] + 1),
        lambda block: block[..., 1::2].transpose(0, 3, 1, 2),
    ),
    Layout(
        "nhwc, padded pixels",
        lambda s: (s[0], s[2], s[3] + 2, s[1] + 5),
        lambda b: b[:, :, 1:-1, 2:-3].transpose(0, 3, 1, 2),
    ),
    Layout("record", _same, lambda block: block, packed=False),
]

BY_NAME = {layout.name: layout for layout in LAYOUTS}
