"""A call of a public operator with the arrays that a combination of options describes."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import ml_dtypes
import numpy as np

import roialign
from tests.tables.boxes import draw_box
from tests.tables.cases import Array, values
from tests.tables.combinations import Combination
from tests.tables.layouts import BY_NAME as LAYOUT

DTYPES = {"float64": np.float64, "float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
KINDS = {
    "inside": ("inside",),
    "border": ("border", "border along x", "covering", "off the map", "off the map along x"),
    "inverted": ("inverted", "inverted along x"),
    "on pixels": ("integer", "edges", "a point on a pixel"),
    "without area": ("a point", "a line", "tiny"),
}
#: Options that operators take as they are.
PASSED = (
    "sampling_ratio",
    "aligned",
    "mode",
    "sampling",
    "clockwise",
    "num_orientations",
    "gamma",
    "method",
    "extrapolation_value",
    "spatial_scale",
    "layout",
    "backend",
)


class DrawnCall:
    """Arguments of an operator and its twin. `wide` has the arguments for the same call in float64 by the reference."""

    def __init__(self, name: str, options: Combination, seed: int) -> None:
        self.name, self.options, self.rng = name, options, np.random.default_rng(seed)
        size = options["output_size"]
        self.bins: tuple[int, int] = size if isinstance(size, tuple) else (size, size)
        self.is_pyramid, self.is_rotated = name.startswith("multiscale"), "rotated" in name
        self.is_crop = name == "crop_and_resize"
        self.moving = [] if name in ("roi_pool", "ps_roi_pool") else ["boxes" if self.is_crop else "rois"]
        self.maps = self._maps()
        rows, levels = self._rows()
        self.rows = rows
        self.keywords = {key: options[key] for key in PASSED if key in options} | self._regions(rows, levels)
        if self.is_pyramid:
            del self.keywords["spatial_scale"]
        if options.get("sampling") == "random":
            self.keywords["seed"] = seed
        if options["invalid"]:
            self.keywords["invalid"] = "zero"
        if name == "deform_roi_pool":
            self._add_bins(len(rows))
        self.gradient = self._gradient(len(rows))

    # The call

    @property
    def features(self) -> Any:
        return self.maps if self.is_pyramid else self.maps[0]

    @property
    def size(self) -> dict[str, Any]:
        return {"crop_size" if self.is_crop else "output_size": self.options["output_size"]}

    def forward(self, **more: Any) -> Any:
        given = {"features": self.features, **self.keywords, **self.size, **more}
        return getattr(roialign, self.name)(**given)

    def backward(self, **more: Any) -> list[Any]:
        """The gradients by name, as a list: of the features, and of what moves."""
        given = {"grad_output": self.gradient, "features": self.features, **self.keywords, **more}
        found = getattr(roialign, f"{self.name}_backward")(**given)
        return list(found) if isinstance(found, tuple) else [found]

    @property
    def of(self) -> list[str]:
        """What the gradients are of."""
        return ["features", *self.moving]

    def parts(self, given: Any) -> list[Any]:
        """The arrays of a result, or of several: levels and images are in lists, and some gradients do not exist."""
        if isinstance(given, (list, tuple)):
            return [part for item in given for part in self.parts(item)]
        return [] if given is None else [given]

    @property
    def tells_winners(self) -> bool:
        """Whether all dtypes and backends must find the same maxima. Those of whole pixels are exact."""
        if self.options.get("mode") != "max":
            return True
        are_apart = self.options["kinds"] in ("inside", "inverted") and self.options["memory"] != "rows expanded"
        return are_apart and self.options["dtype"] == "float64"

    @cached_property
    def wide(self) -> dict[str, Any]:
        maps = [level.astype(np.float64) for level in self.maps]
        return {"features": maps if self.is_pyramid else maps[0], "backend": "reference"}

    @property
    def largest(self) -> float:
        """A bound of the result."""
        fill = abs(self.options.get("extrapolation_value", 0.0))
        return max(fill, self._largest_of_maps() * self._largest_weight())

    def scales(self) -> list[float]:
        """Bounds of the sums behind the gradients, in the order of :meth:`backward`."""
        whole = float(np.abs(self.gradient.astype(np.float64)).sum())
        numbers = float(np.nan_to_num(np.abs(self.rows[:, 1:])).max(initial=0.0))
        speed = max(self.options["map_size"]) if self.is_crop else self.options["spatial_scale"]
        # A box that turns or that is multiplied by offsets moves its points by its own size.
        moved = 2.0 * whole * self._largest_of_maps() * max(speed, 1.0) * (1.0 + numbers * speed)
        if self.keywords.get("sampling") == "exact" or self.name == "prroi_pool":
            moved *= 1e4  # divided by the lengths of bins
        weighted = moved * max(self._largest_weight(), 1.0)
        return [whole * self._largest_weight(), *[moved if name == "mask" else weighted for name in self.moving]]

    def _largest_of_maps(self) -> float:
        return max(float(np.abs(level.astype(np.float64)).max(initial=0.0)) for level in self.maps)

    def _largest_weight(self) -> float:
        mask = self.keywords.get("mask")
        return 1.0 if mask is None else float(np.abs(mask).max(initial=0.0))

    def buffer(self) -> Array | None:
        """For `out`."""
        if self.options["out"] is None:
            return None
        layout = LAYOUT["nchw" if self.options["out"] == "packed" else "sliced"]
        return layout.of(np.full(self.gradient.shape, 7.0), self.gradient.dtype)

    # Its arrays

    def _maps(self) -> list[Array]:
        height, width = self.options["map_size"]
        sizes = [(max(height >> level, 1), max(width >> level, 1)) for level in range(self.options.get("maps", 1))]
        parts = math.prod(self.bins) if self.name.startswith("ps_") else self.options.get("num_orientations", 1)
        shape = self.options["images"], self.options["blocks"] * parts
        self.channels = self.options["blocks"] * (1 if self.name.startswith("ps_") else parts)
        return [self._placed(values(self.rng, (*shape, *size)), self.options["memory"]) for size in sizes]

    def _placed(self, array: Array, memory: str) -> Array:
        """Values in the dtype, the memory and the layout of the combination. `array` is NCHW."""
        dtype = DTYPES[self.options["dtype"]]
        if memory == "rows expanded":
            placed = np.broadcast_to(array[:, :, :1].astype(dtype), array.shape)
        elif memory == "expanded":
            placed = np.broadcast_to(np.array(0.75, dtype), array.shape)
        else:
            placed = LAYOUT[memory].of(array, dtype)
        return placed if self.options["layout"] == "NCHW" else placed.transpose(0, 2, 3, 1)

    def _gradient(self, count: int) -> Array:
        return self._placed(values(self.rng, (count, self.channels, *self.bins)), self.options["gradient_memory"])

    def _rows(self) -> tuple[Array, Array]:
        """Rows (image, box) and their levels. The first box is an ordinary one, so that no call is of nothing else."""
        options, rows = self.options, []
        levels = self.rng.integers(len(self.maps), size=options["rois"])
        if options.get("levels") == "all last":
            levels[:] = len(self.maps) - 1
        for row, level in enumerate(levels.tolist()):
            kind = str(self.rng.choice(KINDS["inside" if row == 0 else options["kinds"]]))
            rows.append([int(self.rng.integers(options["images"])), *self._box(kind, level)])
        table = np.array(rows, dtype=np.float64).reshape(len(rows), 6 if self.is_rotated else 5)
        table = table.astype(options["rois_dtype"]).astype(np.float64)
        if options["invalid"] == "zero with bad rows" and len(table) > 1:
            table[-1, 0] = options["images"]
        if options.get("structure") == "list":
            table[:, 0] = np.minimum(table[:, 0], options["images"] - 1)
            order = np.argsort(table[:, 0], kind="stable")
            table, levels = table[order], levels[order]
            if options["invalid"] == "zero with bad rows" and len(table) > 1 and options["rois_dtype"] != "int32":
                table[-1, 2] = np.nan
        return table, levels

    def _box(self, kind: str, level: int) -> list[float]:
        shape = self.maps[level].shape
        height, width = shape[2:] if self.options["layout"] == "NCHW" else shape[1:3]
        x1, y1, x2, y2 = draw_box(kind, self.rng, height, width)
        if self.is_crop:
            across, down = max(width - 1, 1), max(height - 1, 1)
            return [x1 / across, y1 / down, x2 / across, y2 / down]
        shift = 0.5 if self.options.get("aligned", self.name in ("deform_roi_pool", "ps_roi_align")) else 0.0
        x1, y1, x2, y2 = ((number + shift) / self._scale(level) for number in (x1, y1, x2, y2))
        if self.is_rotated:
            angle = float(self.rng.choice([0.0, math.pi / 2, *self.rng.uniform(-4, 4, 6)]))
            return [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, angle]
        return [x1, y1, x2, y2]

    def _scale(self, level: int) -> float:
        return float(self.options["spatial_scale"] / 2**level)

    def _regions(self, rows: Array, levels: Array) -> dict[str, Any]:
        """The boxes in their structure, and what says which level they are on."""
        dtype = self.options["rois_dtype"]
        boxes, images = self._strided(rows[:, 1:].astype(dtype)), rows[:, 0].astype(np.int64)
        if self.is_crop:
            return {"boxes": self._strided(boxes[:, [1, 0, 3, 2]]), "box_indices": images}
        given: dict[str, Any] = {"rois": boxes, "batch_indices": images}
        if self.options["structure"] == "rows":
            given = {"rois": self._strided(rows.astype(dtype))}
        elif self.options["structure"] == "list":
            given = {"rois": [boxes[images == image] for image in range(self.options["images"])]}
        if self.is_pyramid:
            given["spatial_scales"] = [self._scale(level) for level in range(len(self.maps))]
            by_size = {"canonical_size": 2.0 / self.options["spatial_scale"], "canonical_level": 1}
            given |= by_size if self.options["levels"] == "by size" else {"levels": levels}
        return given

    def _strided(self, table: Array) -> Array:
        if self.options["rois_memory"] == "packed":
            return table
        wider = np.zeros((2 * len(table), table.shape[1] + 1), table.dtype)
        view = wider[::2, 1:]
        view[...] = table
        return view

    def _add_bins(self, count: int) -> None:
        options, dtype = self.options, self.options["per_bin_dtype"]
        factor = {"some": 1.0, "far": 40.0, "negative": -1.0, "zeros": 0.0}
        offset, mask = self.rng.standard_normal((count, 2, *self.bins)), self.rng.random((count, *self.bins)) + 0.1
        for name, array in (("offset", offset), ("mask", mask)):
            kind = options[name]
            self.keywords[name] = None if kind is None else (factor[kind] * array).astype(dtype)
            self.moving.append(name)
