"""Draw detections on their image: masks, boxes, names and scores."""

from __future__ import annotations

import colorsys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .._text import printable
from .._typing import Array
from ..files.drawing import ColourScale, Window, label_boxes, outline, outline_polygon, save_figure, show_map

#: The longer side of a picture in inches, and its pixels per inch. Labels are readable on small images too.
SIDE, DOTS = 8.0, 100
#: Okabe and Ito's colours, as hues on which white text is readable. Further classes rotate the hues.
COLOURS = ("#0072B2", "#D55E00", "#007A5A", "#A6478A", "#5B3FA0", "#8A6D00")
#: The opacity of a mask.
OPACITY = 0.45


@dataclass(frozen=True, slots=True)
class Drawn:
    """One detection to draw."""

    box: tuple[float, float, float, float]
    """(x1, y1, x2, y2) in pixels."""
    name: str
    score: float
    label: int
    """Determines the colour."""
    mask: Array | None = None
    """``[H, W]`` bool: the whole image, or a part of it."""
    corners: Array | None = None
    """``[4, 2]``: the corners of the rotated box, which is drawn in place of `box`."""
    origin: tuple[int, int] = (0, 0)
    """The column and the row of the first pixel of `mask`."""


def colour_of(label: int) -> str:
    """The colour of a class, the same in every picture."""
    turn, place = divmod(label - 1, len(COLOURS))
    red, green, blue = (int(COLOURS[place][at : at + 2], 16) / 255 for at in (1, 3, 5))
    hue, light, saturation = colorsys.rgb_to_hls(red, green, blue)
    mixed = colorsys.hls_to_rgb((hue + 0.07 * turn) % 1.0, light, saturation)
    return "#" + "".join(f"{round(255 * part):02x}" for part in mixed)


def draw_detections(path: Path, image: Array, found: Sequence[Drawn], side: float = SIDE) -> None:
    """Draw detections on an image ``[3, H, W]`` from 0 to 1, and save it in the format of the file extension.

    `side` is the longer side of the picture in inches.
    """
    height, width = image.shape[1:]
    scale = side / max(height, width)
    figure = Figure(figsize=(max(width * scale, 1.0), max(height * scale, 1.0)), dpi=DOTS)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    shown = _tinted(255 * image, found)
    show_map(axes, shown, ColourScale(shown, is_rgb=True), Window(-0.5, -0.5, width - 0.5, height - 0.5))
    labels = []
    for one in found:
        colour = colour_of(one.label)
        if one.mask is not None:
            _outline_mask(axes, one.mask, one.origin, colour)
        left, top, right, bottom = one.box
        box = Window(left - 0.5, top - 0.5, right - 0.5, bottom - 0.5)  # pixel centres have integer coordinates
        if one.corners is None:
            outline(axes, box, colour, width=2.0)
        else:
            outline_polygon(axes, one.corners - 0.5, colour, width=2.0)
        labels.append((box, f"{printable(one.name)} {one.score:.2f}", colour))
    label_boxes(axes, labels, {index: one.corners - 0.5 for index, one in enumerate(found) if one.corners is not None})
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a name in a script that the font does not have
        save_figure(figure, path)


def _tinted(image: Array, found: Sequence[Drawn]) -> Array:
    """The image with the masks in their colours, the best detection on top."""
    tinted: Array = image.copy()
    for one in reversed(found):
        if one.mask is not None:
            colour = [int(colour_of(one.label)[at : at + 2], 16) for at in (1, 3, 5)]
            (x, y), (height, width) = one.origin, one.mask.shape
            part = tinted[:, y : y + height, x : x + width]
            part[:, one.mask] = (1 - OPACITY) * part[:, one.mask] + OPACITY * np.array(colour)[:, None]
    return tinted


def _outline_mask(axes: Axes, mask: Array, origin: tuple[int, int], colour: str) -> None:
    """Draw the border of a mask, closed at the edge of the image."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        return
    top, left = rows[0], columns[0]
    part = np.pad(mask[top : rows[-1] + 1, left : columns[-1] + 1].astype(np.float64), 1)
    y, x = np.arange(part.shape[0]) + top - 1 + origin[1], np.arange(part.shape[1]) + left - 1 + origin[0]
    axes.contour(x, y, part, levels=[0.5], colors=[colour], linewidths=1.4, zorder=3)
