"""Draw the pictures of the page: curves over the overlap, sliding boxes, and detections side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from roialign.files.drawing import QUIET, save_figure

from .plan import POOLERS
from .statistics import OVERLAPS, Result, chosen, difference_of, mean_of, metric, paired

# Okabe and Ito's colours, and markers for readers who cannot distinguish them.
COLOURS = ("#D55E00", "#E69F00", "#0072B2", "#56B4E9", "#009E73", "#CC79A7", "#1b1f24")
MARKS = ("o", "v", "s", "^", "D", "P", "X")
#: Compared with RoIPool.
ALIGNED = "RoIAlign, 2 x 2"
BASE = "RoIPool"


def styles(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return a colour and a marker for each name, the same in every panel."""
    looks = list(zip(COLOURS, MARKS, strict=True))
    return {
        name: {"color": colour, "marker": mark, "markersize": 4, "linewidth": 1.4}
        for name, (colour, mark) in zip(names, looks, strict=False)
    }


def draw_curves(path: Path, results: Sequence[Result]) -> None:
    """Draw average precision over the overlap (top), and the gain of each pooler over RoIPool (bottom)."""
    strides = sorted({result["stride"] for result in results}, reverse=True)
    panels = [(stride, kind) for stride in strides for kind in ("box", "mask")]
    figure = Figure(figsize=(3.2 * len(panels), 6.4), layout="constrained")
    rows = figure.subplots(2, len(panels), sharex=True, squeeze=False)
    look, overlaps = styles(list(POOLERS)), [float(overlap) for overlap in OVERLAPS]
    for column, (stride, kind) in enumerate(panels):
        own = chosen(results, stride=stride)
        above, below = rows[0][column], rows[1][column]
        for name in POOLERS:
            of_pooler = chosen(own, pooler=name)
            values = [mean_of(of_pooler, metric(kind, f"AP{overlap[2:]}")) for overlap in OVERLAPS]
            above.plot(overlaps, values, label=name, **look[name])
            if name != BASE:
                _draw_gain(below, own, kind, name, look[name], has_band=name == ALIGNED)
        above.set_title(f"stride {stride}, {kind}", fontsize=10)
        below.axhline(0, color=QUIET, linewidth=0.8)
        below.set_xlabel("overlap (IoU)")
    rows[0][0].set_ylabel("average precision, %")
    rows[1][0].set_ylabel("gain over RoIPool, points")
    _finish(figure, rows[0][0], path)


def _draw_gain(
    axes: Axes, results: Sequence[Result], kind: str, name: str, look: dict[str, Any], *, has_band: bool
) -> None:
    gains = [difference_of(paired(results, name, BASE, metric(kind, f"AP{overlap[2:]}"))) for overlap in OVERLAPS]
    overlaps = [float(overlap) for overlap in OVERLAPS]
    axes.plot(overlaps, [gain.mean for gain in gains], **look)
    low, high = [gain.low for gain in gains], [gain.high for gain in gains]
    if has_band and all(map(math.isfinite, low)):
        axes.fill_between(overlaps, low, high, color=look["color"], alpha=0.15, linewidth=0)


def draw_sliding(path: Path, measured: Sequence[dict[str, Any]]) -> None:
    """Draw the error over the distance that a box has moved, for every stride and output size."""
    strides, sizes = (sorted({each[name] for each in measured}) for name in ("stride", "output_size"))
    figure = Figure(figsize=(3.2 * len(strides), 3.1 * len(sizes)), layout="constrained")
    rows = figure.subplots(len(sizes), len(strides), sharey=True, squeeze=False)
    for each in measured:
        axes = rows[sizes.index(each["output_size"])][strides.index(each["stride"])]
        look = styles(list(each["sliding"]))
        for name, errors in each["sliding"].items():
            axes.plot(each["steps"], errors, label=name, **look[name])
        axes.set_title(f"stride {each['stride']}, {each['output_size']} x {each['output_size']} bins", fontsize=10)
        axes.set_xlabel("slid, pixels of the map")
    for row in rows:
        row[0].set_ylabel("error, standard deviations")
        row[0].set_ylim(bottom=0)  # after all lines are drawn, because it fixes the upper limit
    _finish(figure, rows[0][0], path)


def draw_sampling(path: Path, measured: Sequence[dict[str, Any]]) -> None:
    """Draw the error of the sampled mean over the stride."""
    sizes = sorted({each["output_size"] for each in measured})
    figure = Figure(figsize=(4.6 * len(sizes), 3.6), layout="constrained")
    row = figure.subplots(1, len(sizes), sharey=True, squeeze=False)[0]
    for axes, size in zip(row, sizes, strict=True):
        own = [each for each in measured if each["output_size"] == size]
        look = styles(list(own[0]["sampling"]))
        for name in own[0]["sampling"]:
            axes.plot(
                [each["stride"] for each in own], [each["sampling"][name] for each in own], label=name, **look[name]
            )
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_title(f"{size} x {size} bins", fontsize=10)
        axes.set_xlabel("stride")
    row[0].set_ylabel("error, standard deviations")
    _finish(figure, row[0], path)


def draw_side_by_side(path: Path, pairs: Sequence[tuple[np.ndarray[Any, Any], ...]], titles: Sequence[str]) -> None:
    """Draw a row per image: the detections of every pooler's heads on the same scene."""
    figure = Figure(figsize=(3.2 * len(titles), 3.2 * len(pairs) + 0.3), dpi=90, layout="constrained")
    rows = figure.subplots(len(pairs), len(titles), squeeze=False)
    for row, images in zip(rows, pairs, strict=True):
        for axes, image in zip(row, images, strict=True):
            axes.imshow(image)
            axes.set_axis_off()
    for axes, title in zip(rows[0], titles, strict=True):
        axes.set_title(title, fontsize=11)
    save_figure(figure, path)


def _finish(figure: Figure, axes: Axes, path: Path) -> None:
    for each in figure.axes:
        each.grid(color="#e3e6ea", linewidth=0.6)
        each.tick_params(labelsize=8)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=9, frameon=False)
    save_figure(figure, path)
