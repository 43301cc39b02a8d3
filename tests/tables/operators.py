"""Every public operator on arrays, in one table: for what must hold of all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import roialign

Array = np.ndarray[Any, np.dtype[Any]]
Pair = tuple[int, int]


def upright(rows: Array, size: Pair, map_size: Pair) -> dict[str, Any]:
    del size, map_size
    return {"rois": rows}


def turned(rows: Array, size: Pair, map_size: Pair) -> dict[str, Any]:
    """Rotated boxes with the same centre and sides, by an angle of their own."""
    del size, map_size
    image, x1, y1, x2, y2 = rows.T
    angle = np.sin(7.0 * (x2 - x1) + 3.0 * (y2 - y1)) * 3.0
    return {"rois": np.column_stack([image, (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, angle])}


def moving(rows: Array, size: Pair, map_size: Pair) -> dict[str, Any]:
    """Boxes whose bins move and have weights."""
    del map_size
    shape = (len(rows), 2, *size)
    phase = ((rows[:, 3] - rows[:, 1]) * 5.0 + rows[:, 4] - rows[:, 2])[:, None, None, None]
    offset = np.sin(phase + np.arange(np.prod(shape[1:])).reshape(shape[1:]))
    return {"rois": rows, "offset": offset, "mask": 0.5 + 0.5 * np.abs(offset[:, 0])}


def cropped(rows: Array, size: Pair, map_size: Pair) -> dict[str, Any]:
    """Boxes as fractions of the map."""
    del size
    last = np.array([map_size[0] - 1.0, map_size[1] - 1.0])
    corners = rows[:, [2, 1, 4, 3]] / np.maximum(np.tile(last, 2), 1.0)
    return {"boxes": corners, "box_indices": rows[:, 0].astype(np.int64)}


@dataclass(frozen=True)
class Operator:
    """A function and its twin, from rows (image, x1, y1, x2, y2) in pixels of the map."""

    name: str
    where: Callable[[Array, Pair, Pair], dict[str, Any]] = upright
    options: dict[str, Any] = field(default_factory=dict)
    channels: int = 1
    """The channels of the features are a multiple of this times, where `by_bin`, the bins."""
    by_bin: bool = False
    counts_rows: bool = False
    """Whether a RoI's answer depends on its row."""

    def input_channels(self, blocks: int, size: Pair) -> int:
        return blocks * self.channels * (size[0] * size[1] if self.by_bin else 1)

    def forward(self, features: Array, rows: Array, size: Pair, layout: str = "NCHW", **more: Any) -> Array:
        place = self._place(features, rows, size, layout)
        bins = {"crop_size" if "boxes" in place else "output_size": size}
        answer: Array = getattr(roialign, self.name)(features, **place, **bins, layout=layout, **self.options, **more)
        return answer

    def backward(self, gradient: Array, features: Array, rows: Array, layout: str = "NCHW", **more: Any) -> list[Array]:
        """All its gradients, that of the features first."""
        size = gradient.shape[2:] if layout == "NCHW" else gradient.shape[1:3]
        place = self._place(features, rows, (size[0], size[1]), layout)
        twin = getattr(roialign, f"{self.name}_backward")
        found = twin(gradient, features, **place, layout=layout, **self.options, **more)
        return [part for part in found if part is not None] if isinstance(found, tuple) else [found]

    def _place(self, features: Array, rows: Array, size: Pair, layout: str) -> dict[str, Any]:
        shape = features.shape[2:] if layout == "NCHW" else features.shape[1:3]
        return self.where(rows, size, (shape[0], shape[1]))


TWO: dict[str, Any] = {"sampling_ratio": 2}
RANDOM: dict[str, Any] = {"sampling_ratio": 2, "sampling": "random", "seed": 5}
OPERATORS = {
    "mean": Operator("roi_align", options=TWO),
    "mean, adaptive": Operator("roi_align"),
    "mean, random": Operator("roi_align", options=RANDOM, counts_rows=True),
    "mean, exact": Operator("roi_align", options={"sampling": "exact"}),
    "prroi": Operator("prroi_pool"),
    "crop": Operator("crop_and_resize", cropped),
    "crop, nearest": Operator("crop_and_resize", cropped, {"method": "nearest"}),
    "max": Operator("roi_align", options={"mode": "max", **TWO}),
    "max, adaptive": Operator("roi_align", options={"mode": "max"}),
    "max, random": Operator("roi_align", options={"mode": "max", **RANDOM}, counts_rows=True),
    "max, exact": Operator("roi_align", options={"mode": "max", "sampling": "exact"}),
    "rotated": Operator("roi_align_rotated", turned, TWO),
    "rotated, adaptive": Operator("roi_align_rotated", turned),
    "rotated, max": Operator("roi_align_rotated", turned, {"mode": "max", **TWO}),
    "rotation-invariant": Operator("riroi_align_rotated", turned, {"num_orientations": 2, **TWO}, channels=2),
    "deformable": Operator("deform_roi_pool", moving, TWO),
    "position-sensitive": Operator("ps_roi_align", options=TWO, by_bin=True),
    "position-sensitive pool": Operator("ps_roi_pool", by_bin=True),
    "RoIPool": Operator("roi_pool"),
}
