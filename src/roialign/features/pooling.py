"""Pools features from maps and boxes: the levels, the pooling rule and the output sizes."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from .. import _validate, multiscale_roi_align, roi_align, roi_pool
from .._pooling_rules import RULES
from .._typing import Array
from .backbone import Backbone, Map
from .checks import check_sizes

#: The name of the rule for RoIPool, which is not one of RoIAlign's rules.
ROI_POOL = "pool"
#: The names of all rules.
ALL_RULES = (*RULES, ROI_POOL)
#: The levels that are not strides.
NAMED_LEVELS = ("default", "last", "all", "by-size")
#: The types of features that are written.
DTYPES = ("float32", "float16")


@dataclass(frozen=True, slots=True)
class Pooling:
    """How boxes are pooled. Each size gives one column of features."""

    sizes: tuple[tuple[int, int], ...] = ((7, 7),)
    """The rows and columns of bins. (1, 1) gives a vector."""
    rule: str = "exact"
    """A name in :data:`RULES`, or "pool"."""
    levels: tuple[int, ...] = (0,)
    """The indices of the levels. Their channels are concatenated, unless `by_size`."""
    by_size: bool = False
    """Whether each box is pooled from one level only, assigned by :func:`roialign.fpn_levels`."""
    dtype: str = "float32"

    def check(self) -> None:
        """Check the settings. Raises ValueError for unknown or contradictory values and for repeated sizes."""
        check_rule_and_dtype(self.rule, self.dtype)
        if self.by_size and self.rule == ROI_POOL:
            raise ValueError("levels: expected a stride for the rule pool, got by-size")
        check_sizes(self.sizes)

    def columns(self, backbone: Backbone) -> dict[str, tuple[int, ...]]:
        """Return the names of the feature columns with the shape of a row: ``[C, PH, PW]``, or ``[C]`` for a vector."""
        counts = [backbone.channels[level] for level in self.levels]
        channels = counts[0] if self.by_size else sum(counts)
        maps = [size for size in self.sizes if size != (1, 1)]
        names: dict[str, tuple[int, ...]] = {}
        for size in self.sizes:
            if size == (1, 1):
                names["vector"] = (channels,)
            else:
                name = "features" if len(maps) == 1 else f"features_{size[0]}x{size[1]}"
                names[name] = (channels, *size)
        return names

    def row_bytes(self, backbone: Backbone) -> int:
        """Return the size of the features of a box in bytes."""
        return sum(map(math.prod, self.columns(backbone).values())) * np.dtype(self.dtype).itemsize

    def pool(self, maps: Sequence[Map], strides: Sequence[int], rois: Array) -> list[Array]:
        """Pool the boxes of a batch of images.

        Parameters
        ----------
        maps : sequence of ``[N, C, H, W]``
            The maps of the levels, in order.
        strides : sequence of int
            The strides of these levels.
        rois : float64 ``[K, 5]``
            Rows (index in the batch, x1, y1, x2, y2), in pixels of the resized images.

        Returns
        -------
        list of ``[K, C, PH, PW]``, or ``[K, C]`` for a vector
            One array per size.
        """
        scales = [1 / stride for stride in strides]
        rows = rois if isinstance(maps[0], np.ndarray) else _tensor_beside(maps[0], rois)
        columns = []
        for size in self.sizes:
            if self.by_size:
                pooled = [self._by_size(maps, rows, size, scales)]
            else:
                pooled = [self._one(of_level, rows, size, scale) for of_level, scale in zip(maps, scales, strict=True)]
            arrays = [_array(values, self.dtype) for values in pooled]
            joined = arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=1)
            columns.append(joined[:, :, 0, 0] if size == (1, 1) else joined)
        return columns

    def _one(self, features: Any, rows: Any, size: tuple[int, int], scale: float) -> Any:
        if self.rule == ROI_POOL:
            return roi_pool(features, rows, size, scale)
        return roi_align(features, rows, size, scale, **cast("Any", RULES[self.rule]))

    def _by_size(self, maps: Sequence[Any], rows: Any, size: tuple[int, int], scales: Sequence[float]) -> Any:
        return multiscale_roi_align(maps, rows, size, scales, **cast("Any", RULES[self.rule]))


def check_rule_and_dtype(rule: object, dtype: object) -> None:
    """Check that there is such a pooling rule, and such a type of features. Raises ValueError."""
    _validate.check_choice(rule, "rule", ALL_RULES)
    _validate.check_choice(dtype, "dtype", DTYPES)


def check_levels(text: str) -> None:
    """Check that a text says which levels to pool from, of some backbone; :func:`find_levels` finds them.

    Raises
    ------
    ValueError
        If it is neither one of `NAMED_LEVELS` nor strides.
    """
    words = _words_of(text)
    are_strides = all(re.fullmatch("[1-9][0-9]*", word) for word in words) and len(set(words)) == len(words)
    if text not in NAMED_LEVELS and not are_strides:
        expected = f"{', '.join(NAMED_LEVELS)}, or strides, each once, such as 16 or 8,16"
        raise ValueError(f"levels: expected {expected}, got {text!r}")


def _words_of(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")]


def find_levels(text: str, backbone: Backbone) -> tuple[tuple[int, ...], bool]:
    """Parse the value of `--levels`.

    Parameters
    ----------
    text : str
        ``last``, ``all``, ``by-size``, strides such as ``16`` or ``8,16``, or ``default`` for the backbone's own.

    Returns
    -------
    (tuple of int, bool)
        The indices of the levels, and whether each box is pooled from one of them by its size.

    Raises
    ------
    ValueError
        If the backbone has no such stride, or with ``by-size``, if its levels differ in their number of channels.
    """
    text = backbone.default_levels if text == "default" else text
    every = tuple(range(len(backbone.strides)))
    if text == "by-size":
        if len(set(backbone.channels)) > 1:
            raise ValueError(
                f"levels: expected maps with the same number of channels for by-size, got {list(backbone.channels)}"
            )
        return every, True
    if text in ("last", "all"):
        return (every[-1:] if text == "last" else every), False
    words = _words_of(text)
    strides = [str(stride) for stride in backbone.strides]
    unknown = [word for word in words if word not in strides]
    if unknown or len(set(words)) < len(words):
        expected = f"last, all, by-size, or strides, each once, of {', '.join(strides)}"
        raise ValueError(f"levels: expected {expected}, got {text!r}")
    return tuple(strides.index(word) for word in words), False


def _tensor_beside(features: Any, rois: Array) -> Any:
    import torch

    return torch.from_numpy(rois).to(features.device)


def _array(values: Any, dtype: str) -> Array:
    """Convert features to a NumPy array of the dtype to write."""
    array: Array = values if isinstance(values, np.ndarray) else values.detach().float().cpu().numpy()  # no bfloat16
    with np.errstate(over="ignore"):  # a value that is too large for float16 becomes an error of its row
        return array.astype(dtype, copy=False)
