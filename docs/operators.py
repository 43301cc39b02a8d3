"""Draw docs/operators.png: the sample points of each operator, for one map and one box."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from roialign._regions import Geometry
from roialign._spec import PointwiseSpec
from roialign.reference.map_boxes import Frame, shift_frame
from roialign.reference.points import bin_points, map_frame

mpl.use("Agg")
from matplotlib import pyplot as plt

SIZE = (9, 12)
BINS = (2, 3)
#: In image pixels. The stride is 1, so the map and the box share the same axes.
BOX = [2.3, 1.6, 9.1, 6.4]
TURNED = [6.2, 4.4, 6.8, 3.6, 0.5]
OFFSET = np.random.default_rng(4).standard_normal((1, 2, *BINS)) * 0.9
ALIGNED: Any = {"offset": 0.5, "sampling_ratio": (2, 2), "seed": 7}

#: Every panel: its title, its operator, the parameters of its box, and the offsets of its bins.
PICTURES: list[tuple[str, PointwiseSpec, list[float], Any]] = [
    ("roi_align, grid", PointwiseSpec(**ALIGNED), BOX, None),
    ("roi_align, random", PointwiseSpec(rule="random", **ALIGNED), BOX, None),
    ("roi_align, exact maximum", PointwiseSpec(rule="lattice", **ALIGNED), BOX, None),
    ("roi_align_rotated", PointwiseSpec(mapping="rotated", **ALIGNED), TURNED, None),
    ("deform_roi_pool", PointwiseSpec(gamma=0.1, **ALIGNED), BOX, OFFSET),
    ("roi_pool", PointwiseSpec(mapping="rounded", rule="pixels", extra_pixels=1), BOX, None),
]


def outline(frame: Frame, index: tuple[int, int]) -> np.ndarray[Any, Any]:
    """Return the corners of a bin on the map as a closed polygon of (x, y)."""
    (start_y, height), (start_x, width) = frame.y, frame.x
    corners = [(0, 0), (0, 1), (1, 1), (1, 0), (0, 0)]
    places = [
        frame.place(start_y + (index[0] + i) * height / BINS[0], start_x + (index[1] + j) * width / BINS[1])
        for i, j in corners
    ]
    return np.array([(x, y) for y, x in places])


def draw(axes: Any, title: str, spec: PointwiseSpec, box: list[float], offset: Any) -> None:
    axes.imshow(np.zeros(SIZE), cmap="Greys", extent=(-0.5, SIZE[1] - 0.5, SIZE[0] - 0.5, -0.5))
    axes.set_xticks(np.arange(SIZE[1] + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(SIZE[0] + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="0.85", linewidth=0.6)
    axes.tick_params(which="both", length=0, labelsize=6)
    frame = map_frame(spec, box, 1.0)
    geometry = Geometry(np.array([box]), offset)
    for index in np.ndindex(*BINS):
        shift = (0.0, 0.0) if geometry.offset is None else geometry.offset[(0, slice(None), *index)].tolist()
        cut = shift_frame(frame, spec.gamma, shift)
        edge = outline(cut, index)  # type: ignore[arg-type]
        if spec.rule == "pixels":  # a pixel covers half a pixel on either side of its centre
            edge = edge - 0.5
        axes.plot(*edge.T, color="tab:blue", linewidth=0.9)
        points, _ = bin_points(spec, cut, SIZE, BINS, index, 0)  # type: ignore[arg-type]
        axes.scatter([point.x for point in points], [point.y for point in points], s=7, color="tab:red", zorder=3)
    axes.set_title(title, fontsize=9)
    axes.set_xlim(-0.5, SIZE[1] - 0.5)
    axes.set_ylim(SIZE[0] - 0.5, -0.5)


def main(path: Path) -> None:
    columns = 3
    rows = math.ceil(len(PICTURES) / columns)
    figure, grid = plt.subplots(rows, columns, figsize=(3.4 * columns, 2.8 * rows), layout="constrained")
    for axes, picture in zip(grid.flat, PICTURES, strict=True):
        draw(axes, *picture)
    figure.savefig(path, dpi=130, metadata={"Software": None})
    plt.close(figure)


if __name__ == "__main__":
    main(Path(__file__).with_suffix(".png"))
