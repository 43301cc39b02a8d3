"""The panels of the figure that explains RoIAlign."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from .._typing import Array
from ..files.drawing import (
    ALIGN,
    INK,
    POINT,
    POOL,
    TIMES,
    ColourScale,
    Window,
    halo,
    label_boxes,
    outline,
    set_window,
    show_cells,
    show_map,
    title,
)
from ..reference import bilinear
from .scene import LONGEST_BIN, Scene

#: The largest number of points to draw. More would hide the map.
MOST_POINTS = 1200
#: The largest number of labels to draw. More would hide the picture.
MOST_LABELS = 30


def boxes_panel(axes: Axes, scene: Scene) -> None:
    """Draw the input with all its boxes, and the chosen box in colour."""
    rows, columns = scene.picture.shape[1:]
    whole = Window(-0.5, -0.5, columns - 0.5, rows - 0.5)
    show_map(axes, scene.picture, scene.colour_scale, whole.square(0))
    labels = []
    for index, box in enumerate(scene.boxes):
        chosen = index == scene.chosen
        colour = ALIGN if chosen else INK
        outline(axes, scene.on_input(box), colour, 2.6 if chosen else 1.2, zorder=4 if chosen else 3)
        labels.append((scene.on_input(box), scene.short_name(box), colour))
    labels.insert(0, labels.pop(scene.chosen))  # it is placed first
    label_boxes(axes, labels if len(labels) <= MOST_LABELS else labels[:1])
    title(
        axes,
        "The boxes",
        f"{scene.input_name()}, {columns} {TIMES} {rows} pixels. Shown step by step: {scene.box_name()}.",
    )


def map_panel(axes: Axes, scene: Scene) -> None:
    """Draw the whole feature map with the mapped box."""
    height, width = scene.size
    whole = Window(-0.5, -0.5, width - 0.5, height - 0.5)
    show_map(axes, scene.features, scene.colour_scale, whole.square(0))
    show_cells(axes, scene.size, whole, legible=80)
    outline(axes, scene.roi, ALIGN, 2.6)
    stride = scene.settings.stride
    channels = "" if scene.colour_scale.is_rgb else f", {scene.features.shape[0]} channels (their mean is shown)"
    pixels = "the pixels themselves" if scene.colour_scale.is_rgb else "as they were read"
    made = f"each the mean of {stride} {TIMES} {stride} pixels" if stride > 1 else pixels
    box = scene.roi
    spans = f"The box spans {box.right - box.left:.2f} {TIMES} {box.bottom - box.top:.2f} cells."
    title(axes, "The feature map", f"{width} {TIMES} {height} cells, {made}{channels}. {spans}")


def crop_panel(axes: Axes, scene: Scene) -> None:
    """Draw the input inside the box, for comparison with the outputs."""
    box = scene.on_input(scene.box)
    show_map(axes, scene.picture, scene.colour_scale, box.square(0), only=box)
    _without_frame(axes)
    title(axes, "The box, cropped", "What the output should look like, bin by bin.")


def bins_panel(axes: Axes, scene: Scene) -> None:
    """Draw RoIAlign's box, bins and sample points on the feature map."""
    x, y, roi = scene.steps.x, scene.steps.y, scene.roi
    show_map(axes, scene.features, scene.colour_scale, scene.around_roi)
    show_cells(axes, scene.size, scene.around_roi)
    style: dict[str, Any] = {"colors": ALIGN, "linewidth": 1.1, "path_effects": halo(2.0)}
    axes.vlines(x.bin_edges, roi.top, roi.bottom, **style)
    axes.hlines(y.bin_edges, roi.left, roi.right, **style)
    count = sum(map(len, x.points)) * sum(map(len, y.points))
    if count <= MOST_POINTS:
        for bin_row in y.points:
            for bin_column in x.points:
                _points(axes, bin_column, bin_row, 11.0)
    outline(axes, roi, ALIGN)
    outline(axes, scene.bin, INK, 2.0)
    bins = f"{len(y.points)} {TIMES} {len(x.points)} bins, each {x.bin_length:.2f} wide and {y.bin_length:.2f} high"
    caption = (
        f"Box x {x.ends[0]:.2f} to {x.ends[1]:.2f}, y {y.ends[0]:.2f} to {y.ends[1]:.2f}: nothing is rounded. {bins}."
    )
    title(axes, "Box, bins" + (", sample points" if count <= MOST_POINTS else " (too many points to show)"), caption)


def bin_panel(axes: Axes, scene: Scene) -> None:
    """Draw one bin close up: its sample points, and the four neighbours of one of them."""
    row, column = scene.close_bin
    window = scene.close_up
    show_map(axes, scene.features, scene.colour_scale, window)
    show_cells(axes, scene.size, window)
    outline(axes, scene.bin, ALIGN, 2.6)
    columns, rows = scene.steps.x.points[column], scene.steps.y.points[row]
    if scene.settings.sampling == "exact":
        _cuts(axes, scene.bin)
    _points(axes, columns, rows, 46.0)
    _neighbours(axes, scene, columns, rows)
    set_window(axes, window)
    count = len(columns) * len(rows)
    if scene.settings.sampling == "exact":
        pieces = f"{count} piece{'s' * (count != 1)}"
        how = f"Exact: the bin is cut at the pixel centres into {pieces}, weighted by area."
        how += " The weights of one point are shown."
    else:
        points = f"{count} point{'s' * (count != 1)}"
        how = f"The mean of {points}. Each is interpolated from four pixels; the weights of one point are shown."
    part = "One bin" if scene.bin.side <= LONGEST_BIN else "A bin's corner"
    title(axes, f"{part} close up: row {row}, column {column}", how)


def rounded_bins_panel(axes: Axes, scene: Scene) -> None:
    """Draw RoIPool's box and bins on the feature map, over RoIAlign's box."""
    x, y = scene.steps.x, scene.steps.y
    show_map(axes, scene.features, scene.colour_scale, scene.around_roi)
    show_cells(axes, scene.size, scene.around_roi)
    for top, bottom in y.rounded:
        for left, right in x.rounded:
            if right > left and bottom > top:
                inset = 0.36  # drawn smaller, so that overlapping bins can be distinguished
                outline(axes, Window(left - inset, top - inset, right - 1 + inset, bottom - 1 + inset), POOL, 1.0, 0.6)
    outline(axes, scene.roi, ALIGN, 1.6, linestyle=(0, (4, 2)))
    outline(axes, scene.rounded_roi, POOL)
    left, top, right, bottom = scene.rounded_bin
    outline(axes, Window(left - 0.5, top - 0.5, right - 0.5, bottom - 0.5), INK, 2.0)
    (low_x, high_x), (low_y, high_y) = x.rounded_ends, y.rounded_ends
    farthest = max(abs(a - b) for a, b in zip(scene.roi, scene.rounded_roi, strict=True))
    in_pixels = farthest / scene.settings.map_scale
    caption = (
        f"Box x {low_x:.1f} to {high_x:.1f}, y {low_y:.1f} to {high_y:.1f}. An edge lies up to "
        f"{farthest:.2f} cells off the dashed true one, {in_pixels:.1f} pixels of the input."
    )
    title(axes, "Box and bins, rounded to whole cells", caption)


def rounded_bin_panel(axes: Axes, scene: Scene) -> None:
    """Draw the same bin of RoIPool: whole cells, and the largest value of each channel."""
    row, column = scene.close_bin
    left, top, right, bottom = scene.rounded_bin
    show_map(axes, scene.features, scene.colour_scale, scene.close_up)
    show_cells(axes, scene.size, scene.close_up)
    outline(axes, scene.bin, ALIGN, 1.6, linestyle=(0, (4, 2)))
    outline(axes, Window(left - 0.5, top - 0.5, right - 0.5, bottom - 0.5), POOL, 2.6)
    cells = max(right - left, 0) * max(bottom - top, 0)
    if cells and scene.colour_scale.is_rgb:
        _largest(axes, scene)
    set_window(axes, scene.close_up)
    part = "" if scene.bin.side <= LONGEST_BIN else "'s corner"
    largest = (
        "largest red, green and blue, marked R, G and B,"
        if scene.colour_scale.is_rgb
        else "largest value of each channel"
    )
    caption = f"{cells} whole cell{'s' * (cells != 1)}. Only the {largest} counts; the dashed bin is RoIAlign's."
    title(axes, f"The same bin{part}: row {row}, column {column}", caption)


def output_panel(axes: Axes, scene: Scene, output: Array, name: str, colour: str, caption: str) -> None:
    """Draw a pooled output with the aspect ratio of the box."""
    box = scene.on_input(scene.box)
    colour_scale = scene.colour_scale
    if not colour_scale.is_rgb:  # the mean of the maxima of many channels is far above the means of the map
        colour_scale, caption = (
            ColourScale(output, is_rgb=False),
            f"{caption} The colours span the range of the output.",
        )
    axes.imshow(
        colour_scale.colours(output), extent=(box.left, box.right, box.bottom, box.top), interpolation="nearest"
    )
    set_window(axes, box.square(0))
    _without_frame(axes)
    outline(axes, box, colour, 1.8, rim=0)
    row, column = scene.close_bin
    width, height = (box.right - box.left) / output.shape[2], (box.bottom - box.top) / output.shape[1]
    left, top = box.left + column * width, box.top + row * height
    outline(axes, Window(left, top, left + width, top + height), INK, 1.6)
    title(axes, f"{name}, {output.shape[1]} {TIMES} {output.shape[2]}", caption)


def _without_frame(axes: Axes) -> None:
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_facecolor("white")


def _points(axes: Axes, columns: list[tuple[float, float]], rows: list[tuple[float, float]], area: float) -> None:
    """Draw the points of a bin. The area of a dot is proportional to the weight of the point."""
    if not columns or not rows:
        return
    x, y = np.meshgrid([point for point, _ in columns], [point for point, _ in rows])
    share = np.outer([share for _, share in rows], [share for _, share in columns])
    sizes = area * np.clip(share / share.max(), 0.15, 1.0)
    axes.scatter(x, y, s=sizes, c=POINT, edgecolors=INK, linewidths=0.6, zorder=5)


def _cuts(axes: Axes, near: Window) -> None:
    """Draw where exact sampling cuts a bin: at the pixel centres, between which the map is smooth."""
    style: dict[str, Any] = {"colors": ALIGN, "linewidth": 1.0, "linestyles": (0, (3, 2)), "path_effects": halo(1.8)}
    axes.vlines(range(math.ceil(near.left), math.floor(near.right) + 1), near.top, near.bottom, **style)
    axes.hlines(range(math.ceil(near.top), math.floor(near.bottom) + 1), near.left, near.right, **style)


def _neighbours(axes: Axes, scene: Scene, columns: list[tuple[float, float]], rows: list[tuple[float, float]]) -> None:
    """Draw lines from one point to the pixels from which it is interpolated, with their weights."""
    window = scene.close_up
    middle_x, middle_y = (window.left + window.right) / 2, (window.top + window.bottom) / 2
    largest = max((y_share * x_share for _, y_share in rows for _, x_share in columns), default=0.0)
    heaviest = [
        (math.hypot(x - middle_x, y - middle_y), x, y)
        for y, y_share in rows
        for x, x_share in columns
        if y_share * x_share >= 0.99 * largest
    ]
    if not heaviest:
        return
    _, x, y = min(heaviest)  # near the centre, where its neighbours are visible
    for pixel_y, weight_y in bilinear(y, scene.size[0], "replicate"):
        for pixel_x, weight_x in bilinear(x, scene.size[1], "replicate"):
            axes.plot([x, pixel_x], [y, pixel_y], color=INK, linewidth=1.3, path_effects=halo(2.4), zorder=4)
            axes.plot(pixel_x, pixel_y, "o", color="white", markeredgecolor=INK, markersize=6, zorder=5)
            right, below = pixel_x > x, pixel_y > y
            # Avoid the other points of the bin. With exact sampling, they lie between the pixel centres.
            aside = 0 if scene.settings.sampling == "exact" else 6 if right else -6
            axes.annotate(
                f"{weight_y * weight_x:.2f}",
                (pixel_x, pixel_y),
                (aside, -6 if below else 6),
                textcoords="offset points",
                ha="center" if aside == 0 else "left" if right else "right",
                va="top" if below else "bottom",
                fontsize=10,
                fontweight="bold",
                color=INK,
                path_effects=halo(3.0),
                zorder=6,
            )
    axes.plot(x, y, "o", color=POINT, markeredgecolor=INK, markersize=9, zorder=6)


def _largest(axes: Axes, scene: Scene) -> None:
    """Write R, G and B into the cells with the largest red, green and blue values."""
    left, top, right, bottom = scene.rounded_bin
    letters: dict[tuple[int, int], str] = {}
    for channel, letter in zip(scene.features[:, top:bottom, left:right], "RGB", strict=True):
        row, column = np.unravel_index(int(np.argmax(channel)), channel.shape)
        place = (int(column) + left, int(row) + top)
        letters[place] = letters.get(place, "") + letter
    for (x, y), text in letters.items():
        axes.text(
            x,
            y,
            text,
            ha="center",
            va="center",
            fontsize=13,
            fontweight="bold",
            color=POOL,
            path_effects=halo(3.5),
            clip_on=True,
        )
