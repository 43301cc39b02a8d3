"""Helpers for drawing: colours, lines that are visible on any photograph, and labels that do not overlap."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle
from matplotlib.patheffects import AbstractPathEffect, Normal, Stroke
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox, BboxBase

from .._typing import Array
from .writing import atomic_write

# The palette of Okabe and Ito, which colour-blind readers can distinguish, also in greyscale.
ALIGN = "#0072B2"
POOL = "#D55E00"
POINT = "#F0E442"
INK = "#1b1f24"
QUIET = "#5b636d"
OFF_MAP = "#e9ebee"

TIMES = "\N{MULTIPLICATION SIGN}"

#: The number of characters per line of a caption.
CAPTION_WIDTH = 52


class Window(NamedTuple):
    """A rectangle of a map in feature coordinates."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def side(self) -> float:
        return max(self.right - self.left, self.bottom - self.top)

    def square(self, margin: float) -> Window:
        """Return the smallest square around the window, with a margin."""
        half = self.side / 2 + margin
        x, y = (self.left + self.right) / 2, (self.top + self.bottom) / 2
        return Window(x - half, y - half, x + half, y + half)

    def at_least(self, side: float) -> Window:
        """Widen the window around its centre to sides of at least `side`."""
        x, y = (self.left + self.right) / 2, (self.top + self.bottom) / 2
        half_width = max(self.right - self.left, side) / 2
        half_height = max(self.bottom - self.top, side) / 2
        return Window(x - half_width, y - half_height, x + half_width, y + half_height)

    def over_map(self, size: tuple[int, int], kept: Window, margin: float) -> Window:
        """Move the window to show as much of a map of `size` as possible, while `kept` and a margin stay visible."""
        x = _move_inside(self.left, self.right, size[1], kept.left - margin, kept.right + margin)
        y = _move_inside(self.top, self.bottom, size[0], kept.top - margin, kept.bottom + margin)
        return Window(self.left + x, self.top + y, self.right + x, self.bottom + y)


def _move_inside(low: float, high: float, size: int, kept_low: float, kept_high: float) -> float:
    """Return how far to move ``[low, high]`` towards a map axis of `size` pixels."""
    if low < -0.5 and high < size - 0.5:
        return max(min(min(-0.5, kept_low) - low, size - 0.5 - high), 0.0)
    if high > size - 0.5 and low > -0.5:
        return min(max(max(size - 0.5, kept_high) - high, -0.5 - low), 0.0)
    return 0.0


class ColourScale:
    """Maps features to colours. RGB is shown as it is. Of other features, the mean over the channels is shown."""

    def __init__(self, features: Array, is_rgb: bool) -> None:
        self.is_rgb = is_rgb
        values = self._channels(features)
        finite = values[np.isfinite(values)]
        self.low, self.high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        if is_rgb and self.low >= 0 and 1 < self.high <= 255:
            self.low, self.high = 0.0, 255.0

    def colours(self, features: Array) -> Array:
        """Convert features ``[C, H, W]`` to colours ``[H, W, 3]`` from 0 to 1."""
        shown = np.clip((self._channels(features) - self.low) / max(self.high - self.low, 1e-12), 0.0, 1.0)
        if self.is_rgb:
            return np.asarray(np.nan_to_num(shown.transpose(1, 2, 0)))
        return np.asarray(matplotlib.colormaps["cividis"](shown[0])[..., :3])

    def _channels(self, features: Array) -> Array:
        if self.is_rgb:
            return np.asarray(features, dtype=np.float64)
        with np.errstate(all="ignore"):  # a map may contain infinities
            return np.asarray(features.mean(axis=0, keepdims=True, dtype=np.float64))


def halo(width: float = 2.0, colour: str = "white") -> list[AbstractPathEffect]:
    """Return path effects that draw an outline around lines and text, so that they are visible on any photograph."""
    return [Stroke(linewidth=width, foreground=colour), Normal()]


def show_map(
    axes: Axes, features: Array, colour_scale: ColourScale, window: Window, *, only: Window | None = None
) -> None:
    """Show the part of features ``[C, H, W]`` inside `window`, and grey outside the map.

    With `only`, the features are shown inside this window only.
    """
    height, width = features.shape[1:]
    left, right = pixels_within(window.left, window.right, width)
    top, bottom = pixels_within(window.top, window.bottom, height)
    axes.set_facecolor(OFF_MAP)
    if right > left and bottom > top:
        step = max(math.ceil(max(right - left, bottom - top) / 2048), 1)
        part = colour_scale.colours(features[:, top:bottom:step, left:right:step])
        extent = (left - 0.5, right - 0.5, bottom - 0.5, top - 0.5)
        image = axes.imshow(part, extent=extent, interpolation="nearest" if window.side < 200 else "antialiased")
        if only is not None:
            size = (only.right - only.left, only.bottom - only.top)
            image.set_clip_path(Rectangle((only.left, only.top), *size, transform=axes.transData))
    set_window(axes, window)


def set_window(axes: Axes, window: Window) -> None:
    axes.set_xlim(window.left, window.right)
    axes.set_ylim(window.bottom, window.top)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color("#aab1b9")
        spine.set_linewidth(0.8)


def pixels_within(low: float, high: float, size: int) -> tuple[int, int]:
    """Return the range [first, last) of the pixels of an axis that are visible between two coordinates."""
    first = math.floor(min(max(low + 0.5, 0.0), float(size)))
    last = math.ceil(min(max(high + 0.5, 0.0), float(size)))
    return first, last


def show_cells(axes: Axes, size: tuple[int, int], window: Window, *, legible: float = 48) -> bool:
    """Draw the borders and the centres of the pixels if the window is small enough. Return whether it is."""
    if window.side > legible:
        return False
    (left, right), (top, bottom) = (
        pixels_within(window.left, window.right, size[1]),
        pixels_within(window.top, window.bottom, size[0]),
    )
    style: dict[str, Any] = {"colors": "white", "linewidth": 0.7, "alpha": 0.55}
    axes.vlines([x - 0.5 for x in range(left, right + 1)], top - 0.5, bottom - 0.5, **style)
    axes.hlines([y - 0.5 for y in range(top, bottom + 1)], left - 0.5, right - 0.5, **style)
    if window.side <= 14:
        ys, xs = np.mgrid[top:bottom, left:right]
        axes.plot(xs.ravel(), ys.ravel(), ".", color="white", markersize=3.2, markeredgewidth=0, alpha=0.9)
    return True


def outline(axes: Axes, window: Window, colour: str, width: float = 2.2, rim: float = 1.6, **style: Any) -> None:
    """Draw a rectangle with a white rim."""
    x, y = (window.left, window.right), (window.top, window.bottom)
    corners = np.array([(x[0], y[0]), (x[1], y[0]), (x[1], y[1]), (x[0], y[1])])
    outline_polygon(axes, corners, colour, width, rim, **style)


def outline_polygon(
    axes: Axes, corners: Array, colour: str, width: float = 2.2, rim: float = 1.6, **style: Any
) -> None:
    """Draw a closed polygon with corners ``[P, 2]`` and a white rim."""
    axes.add_patch(
        Polygon(
            corners,
            fill=False,
            edgecolor=colour,
            linewidth=width,
            joinstyle="miter",
            path_effects=halo(width + rim),
            **style,
        )
    )


def title(axes: Axes, text: str, caption: str) -> None:
    """Write a title above a panel and a caption below it."""
    axes.set_title(text, loc="left", fontsize=12, fontweight="bold", color=INK, pad=7, parse_math=False)
    axes.text(
        0,
        -0.025,
        textwrap.fill(caption, CAPTION_WIDTH),
        transform=axes.transAxes,
        va="top",
        ha="left",
        fontsize=9.8,
        color=QUIET,
        linespacing=1.4,
        parse_math=False,  # file names and labels may contain dollar signs
    )


def label_boxes(
    axes: Axes, boxes: Sequence[tuple[Window, str, str]], polygons: Mapping[int, Array] | None = None
) -> None:
    """Write a label at a corner of each (box, text, colour), where it hides the least.

    Concretely, a label lies in a large box, above or below a small one, and away from other labels and lines.
    `polygons` has the corners ``[P, 2]`` of rotated boxes by their index.
    """
    axes.apply_aspect()
    places = [Bbox(axes.transData.transform([(box.left, box.bottom), (box.right, box.top)])) for box, _, _ in boxes]
    taken: list[BboxBase] = []
    for index, (box, text, colour) in enumerate(boxes):
        candidates = []
        upright = product((box.left, box.right), (box.top, box.bottom))
        points = (polygons or {}).get(index, np.array(list(upright))).tolist()
        for corner, (x, y) in enumerate(points):
            right = 3 if 2 * x < box.left + box.right else -3
            down = -3 if 2 * y < box.top + box.bottom else 3
            for up in (down, -down):
                label = _label(axes, text, colour, (x, y), (right, up))
                place = label.get_window_extent()
                # Matplotlib does not draw a label whose corner is outside.
                outside = not (axes.viewLim.contains(x, y) and _contains(axes.bbox, place.padded(3)))
                candidates.append((outside, _hidden(place, taken, places), corner, up != down, label, place))
        best = min(candidates, key=lambda candidate: candidate[:4])
        taken.append(best[5].padded(5))
        for candidate in candidates:
            if candidate is not best:
                candidate[4].remove()


def _hidden(label: BboxBase, labels: Sequence[BboxBase], boxes: Sequence[BboxBase]) -> float:
    """How much a label hides: 10 for a label, 1 for a line, up to 10 for a box of which it covers over a tenth."""
    shares = [_overlap(label, box) / max(_area(box), 1.0) for box in boxes]
    return (
        10 * sum(label.padded(5).overlaps(other) for other in labels)
        + sum(_crosses(label.padded(3), box) for box in boxes)
        + 10 * sum(share for share in shares if share > 0.1)
    )


def _overlap(one: BboxBase, other: BboxBase) -> float:
    common = BboxBase.intersection(one, other)
    return 0.0 if common is None else _area(common)


def _area(box: BboxBase) -> float:
    return float(box.width * box.height)


def _contains(whole: BboxBase, part: BboxBase) -> bool:
    return bool(whole.x0 <= part.x0 and part.x1 <= whole.x1 and whole.y0 <= part.y0 and part.y1 <= whole.y1)


def _label(axes: Axes, text: str, colour: str, corner: tuple[float, float], offset: tuple[int, int]) -> Annotation:
    return axes.annotate(
        text,
        corner,
        offset,
        textcoords="offset points",
        ha="left" if offset[0] > 0 else "right",
        va="top" if offset[1] < 0 else "bottom",
        fontsize=8.5,
        color="white",
        fontweight="bold",
        zorder=6,
        parse_math=False,
        bbox={"boxstyle": "square,pad=0.25", "facecolor": colour, "edgecolor": "none", "alpha": 0.92},
    )


def _crosses(label: BboxBase, box: BboxBase) -> bool:
    """Whether a label covers a part of the outline of a box."""
    inside = box.x0 < label.x0 and label.x1 < box.x1 and box.y0 < label.y0 and label.y1 < box.y1
    return bool(label.overlaps(box)) and not inside


def save_figure(figure: Figure, path: Path) -> None:
    """Write the figure atomically, in the format given by the ending of the file."""
    FigureCanvasAgg(figure)
    with atomic_write(path) as file:
        figure.savefig(file, format=path.suffix[1:].lower(), dpi=figure.dpi, facecolor="white")
