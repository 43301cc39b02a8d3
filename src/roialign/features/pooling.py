"""From maps and boxes to features: which levels, which rule, which sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from .. import multiscale_roi_align, roi_align, roi_pool
from .._pooling_rules import RULES
from .._typing import Array
from .backbone import Backbone, Map

#: The name of the rule that is RoIPool: it has no argument, and is not among those of RoIAlign.
ROI_POOL = "pool"
#: The types of features that are written.
DTYPES = ("float32", "float16")


@dataclass(frozen=True, slots=True)
class Pooling:
    """What is made of every box: one column of features for each size."""

    sizes: tuple[tuple[int, int], ...] = ((7, 7),)
    """Rows and columns of bins; (1, 1) is a vector."""
    rule: str = "exact"
    """A name of :data:`RULES`, or "pool"."""
    levels: tuple[int, ...] = (0,)
    """Indices of the levels, whose channels come one after the other."""
    by_size: bool = False
    """Each box is pooled from one of the levels, as :func:`roialign.fpn_levels` assigns it."""
    dtype: str = "float32"

    def check(self) -> None:
        """Raises ValueError for what does not exist or does not go together, or twice the same size."""
        rules = (*RULES, ROI_POOL)
        if self.rule not in rules:
            raise ValueError(f"pool: expected one of {', '.join(rules)}, found {self.rule!r}")
        if self.by_size and self.rule == ROI_POOL:
            raise ValueError("levels: by-size is RoIAlign's; with pool give a stride")
        if not self.sizes or len(set(self.sizes)) < len(self.sizes):
            raise ValueError(f"sizes: expected sizes, each once, found {list(self.sizes)}")
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype: expected one of {', '.join(DTYPES)}, found {self.dtype!r}")

    def columns(self, backbone: Backbone) -> dict[str, tuple[int, ...]]:
        """The columns of features, and the shape ``[C, PH, PW]``, or ``[C]`` of a vector, that a row of each has."""
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

    def pool(self, maps: Sequence[Map], strides: Sequence[int], rois: Array) -> list[Array]:
        """Features of boxes in the pixels of a batch of images.

        Parameters
        ----------
        maps : sequence of ``[N, C, H, W]``
            Of the levels, in their order.
        strides : sequence of int
            Of the same levels.
        rois : float64 ``[K, 5]``
            Rows (index in the batch, x1, y1, x2, y2).

        Returns
        -------
        list of ``[K, C, PH, PW]``, of a vector ``[K, C]``
            For every size.
        """
        scales = [1 / stride for stride in strides]
        rows = rois if isinstance(maps[0], np.ndarray) else _tensor_beside(maps[0], rois)
        answers = []
        for size in self.sizes:
            if self.by_size:
                pooled = [self._by_size(maps, rows, size, scales)]
            else:
                pooled = [self._one(of_level, rows, size, scale) for of_level, scale in zip(maps, scales, strict=True)]
            arrays = [_array(values, self.dtype) for values in pooled]
            joined = arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=1)
            answers.append(joined[:, :, 0, 0] if size == (1, 1) else joined)
        return answers

    def _one(self, features: Any, rows: Any, size: tuple[int, int], scale: float) -> Any:
        if self.rule == ROI_POOL:
            return roi_pool(features, rows, size, scale)
        return roi_align(features, rows, size, scale, **cast("Any", RULES[self.rule]))

    def _by_size(self, maps: Sequence[Any], rows: Any, size: tuple[int, int], scales: Sequence[float]) -> Any:
        return multiscale_roi_align(maps, rows, size, scales, **cast("Any", RULES[self.rule]))


def find_levels(text: str, backbone: Backbone) -> tuple[tuple[int, ...], bool]:
    """Which levels a user means, and whether each box is pooled from one of them by its size.

    Parameters
    ----------
    text : str
        ``last``, ``all``, ``by-size``, strides such as ``16`` or ``8,16``, or ``default``, the backbone's own.

    Raises
    ------
    ValueError
        Where the backbone has no such stride, or levels of different channels are to be chosen by size.
    """
    text = backbone.default_levels if text == "default" else text
    every = tuple(range(len(backbone.strides)))
    if text == "by-size":
        if len(set(backbone.channels)) > 1:
            raise ValueError(f"levels: by-size needs maps of one number of channels, found {list(backbone.channels)}")
        return every, True
    if text in ("last", "all"):
        return (every[-1:] if text == "last" else every), False
    words = [word.strip() for word in text.split(",")]
    strides = [str(stride) for stride in backbone.strides]
    unknown = [word for word in words if word not in strides]
    if unknown or len(set(words)) < len(words):
        expected = f"last, all, by-size, or strides, each once, of {', '.join(strides)}"
        raise ValueError(f"levels: expected {expected}, found {text!r}")
    return tuple(strides.index(word) for word in words), False


def _tensor_beside(features: Any, rois: Array) -> Any:
    import torch

    return torch.from_numpy(rois).to(features.device)


def _array(values: Any, dtype: str) -> Array:
    """Features as NumPy has them, of the type that is written."""
    if isinstance(values, np.ndarray):
        return values.astype(dtype, copy=False)
    array: Array = values.detach().float().cpu().numpy()  # NumPy has no bfloat16
    return array.astype(dtype, copy=False)
