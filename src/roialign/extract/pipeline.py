"""Pools the boxes of all inputs, one input at a time, and writes them to one file."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import RoIWarning, __version__, roi_align
from .._text import counted
from .._typing import Array, Backend, Layout, Sampling
from ..files.boxes import Box, annotated_by
from ..files.doubts import Doubts
from ..files.problems import Problems
from ..files.writing import atomic_write, json_array, text_array
from .inputs import FeatureMap, InputError, read_input
from .output import FeatureStore, write_npz


@dataclass(frozen=True, slots=True)
class Settings:
    """The arguments of :func:`roialign.roi_align`, and how an input is converted to a feature map."""

    output_size: tuple[int, int] = (7, 7)
    spatial_scale: float = 1.0
    """Pixels of the input per pixel of the boxes."""
    stride: int = 1
    """The side in pixels of the squares over which the input is averaged first."""
    sampling: Sampling = "exact"
    sampling_ratio: tuple[int, int] = (0, 0)
    aligned: bool = True
    seed: int | None = None
    layout: Layout = "NCHW"
    backend: Backend | None = None
    array_name: str | None = None

    @property
    def map_scale(self) -> float:
        """Pixels of the feature map per pixel of the boxes."""
        return self.spatial_scale / self.stride

    def read(self, path: Path, boxes: Sequence[Box] = (), *, stride: int | None = None) -> FeatureMap:
        """Read an input, turned as its boxes require; see :mod:`roialign.files.orientation`."""
        chosen = self.stride if stride is None else stride
        # With a scale, the boxes were not made on this image.
        annotated = annotated_by(boxes) if self.spatial_scale == 1 else None
        return read_input(path, layout=self.layout, array_name=self.array_name, stride=chosen, annotated=annotated)


@dataclass(frozen=True, slots=True)
class PooledRow:
    """One row of the result, for printing."""

    box: Box
    input: Path
    mean: float


def pool(feature_map: FeatureMap, boxes: Sequence[Box], settings: Settings) -> Array:
    """Apply RoIAlign to the boxes of one input. Returns ``[K, C, PH, PW]``, or ``[K, PH, PW, C]`` in layout NHWC."""
    corners = np.array([box.corners for box in boxes], dtype=np.float64).reshape(-1, 4)
    features = feature_map.features
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RoIWarning)  # Doubts reports the file and the row
        return roi_align(
            features if settings.layout == "NCHW" else features.transpose(0, 2, 3, 1),
            [corners],
            settings.output_size,
            settings.map_scale,
            settings.sampling_ratio,
            aligned=settings.aligned,
            sampling=settings.sampling,
            layout=settings.layout,
            seed=settings.seed,
            backend=settings.backend,
        )


def extract(
    groups: Mapping[Path, Sequence[Box]],
    settings: Settings,
    out: Path,
    problems: Problems,
    done: Callable[[], None] = lambda: None,
    doubts: Doubts | None = None,
) -> list[PooledRow]:
    """Pool the boxes of every input, and write the result to `out`. Returns its rows in the order of the box file.

    The result has one row per box in ``features``, ``boxes`` ``[K, 4]`` (x1, y1, x2, y2), ``images`` (the path of the
    input), ``labels`` and ``rows`` (the index of the box in its file). ``settings`` has the settings as JSON.

    An input that cannot be read, or whose number of channels or dtype differs from the first, is added to `problems`.
    The other inputs are pooled. Nothing is written if there were problems and no row is left. Suspicious boxes are
    pooled as they are and counted in `doubts`.
    """
    rows: list[PooledRow] = []
    first: tuple[Path, tuple[int, ...], np.dtype[Any]] | None = None
    store = FeatureStore(out.parent)
    try:
        for path, boxes in groups.items():
            try:
                feature_map = settings.read(path, boxes)
                pooled = pool(feature_map, boxes, settings)
                first = first or (path, pooled.shape[1:], pooled.dtype)
                _check_like_first(pooled, *first)
            except Exception as error:  # an error in one input must not stop the others
                lost = f"; {counted(len(boxes), 'box', 'boxes')} skipped" if boxes else ""
                problems.add(path, f"{str(error) or type(error).__name__}{lost}")
            else:
                for remark in feature_map.remarks:
                    problems.remark(path, remark.what, remark.kind)
                store.append(pooled)
                if doubts is not None:
                    height, width = feature_map.features.shape[2:]
                    scale = settings.map_scale
                    rounding = 1 / scale if feature_map.is_image else math.inf  # networks round the sizes of maps
                    doubts.look(boxes, width / scale, height / scale, rounding)
                    doubts.turnings.look(path, feature_map.turning)
                with np.errstate(all="ignore"):  # a map may hold infinities
                    means = pooled.mean(axis=(1, 2, 3), dtype=np.float64).tolist()
                rows += [PooledRow(box, path, mean) for box, mean in zip(boxes, means, strict=True)]
            done()
        if first is not None and (rows or not problems):
            _write(out, rows, store, first[1], first[2], settings)
    finally:
        store.close()
    return sorted(rows, key=lambda row: row.box.row)


def _check_like_first(pooled: Array, path: Path, row_shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Check that all rows of the result have the same shape and dtype."""
    if pooled.shape[1:] != row_shape or pooled.dtype != dtype:
        expected = f"expected features {list(row_shape)} of {dtype}, as for {path}"
        raise InputError(f"{expected}, got {list(pooled.shape[1:])} of {pooled.dtype}")


def _write(
    out: Path,
    rows: Sequence[PooledRow],
    store: FeatureStore,
    row_shape: tuple[int, ...],
    dtype: np.dtype[Any],
    settings: Settings,
) -> None:
    order = np.argsort([row.box.row for row in rows], kind="stable").astype(np.int64)
    ordered = [rows[index] for index in order.tolist()]
    arrays = {
        "images": text_array([str(row.input) for row in ordered]),
        "boxes": np.array([row.box.corners for row in ordered], dtype=np.float64).reshape(-1, 4),
        "labels": text_array([row.box.label for row in ordered]),
        "rows": np.array([row.box.row for row in ordered], dtype=np.int64),
        "settings": json_array({"roialign": __version__, **asdict(settings)}),
    }
    with atomic_write(out) as file:
        write_npz(file, arrays, store, order, row_shape, dtype)
