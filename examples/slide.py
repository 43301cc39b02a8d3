"""Draw a picture of a box that slides in tenths of a pixel: RoIPool's output jumps, RoIAlign's changes smoothly."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import roialign
from roialign.extract.inputs import average_pool
from roialign.files.drawing import (
    ALIGN,
    INK,
    POOL,
    QUIET,
    TIMES,
    ColourScale,
    Window,
    outline,
    save_figure,
    set_window,
    show_map,
    title,
)
from roialign.files.images import read_picture
from roialign.reference import roi_pool

Array = np.ndarray[Any, np.dtype[Any]]

BINS = 7
STEP = 0.1
FRAMES = 6
# In inches.
WIDTH, HEIGHT, LEFT, SIDE, TOP = 12.2, 13.7, 0.45, 3.6, 1.75


@dataclass(frozen=True, slots=True)
class Slide:
    """A box at every step of its path, and the outputs of both operators."""

    photograph: Array
    """``[C, H, W]``."""
    stride: int
    """Photograph pixels per feature map pixel."""
    shifts: Array
    """In photograph pixels."""
    corners: Array
    """``[K, 4]`` boxes."""
    align: Array
    """``[K, C, PH, PW]``."""
    pool: Array
    """``[K, C, PH, PW]``."""

    @property
    def jump(self) -> int:
        """Return the step after which RoIPool's output changes most, with room for frames on either side."""
        half = FRAMES // 2
        return int(np.argmax(largest_change(self.pool)[half:-half])) + half

    @property
    def bin(self) -> tuple[int, int]:
        """Return the bin that changes most at that step."""
        moved = np.abs(self.pool[self.jump + 1] - self.pool[self.jump]).mean(axis=0)
        row, column = np.unravel_index(int(np.argmax(moved)), moved.shape)
        return int(row), int(column)


def largest_change(answers: Array) -> Array:
    """Return the largest change of any bin at every step, in grey levels."""
    return np.asarray(np.abs(np.diff(answers.mean(axis=1), axis=0)).max(axis=(1, 2)))


def slide_box(photograph: Path, box: tuple[float, float, float, float], stride: int) -> Slide:
    """Slide a box to the right over two pixels of a feature map of the given stride."""
    pixels = read_picture(photograph).pixels.transpose(2, 0, 1)
    features = average_pool(pixels[None], stride)
    shifts = np.arange(0, round(2 * stride / STEP) + 1) * STEP
    corners = np.array(box) + shifts[:, None] * np.array([1.0, 0.0, 1.0, 0.0])
    align = roialign.roi_align(features, [corners], BINS, 1 / stride, sampling="exact")
    rois = np.column_stack([np.zeros(len(corners)), corners])
    return Slide(pixels, stride, shifts, corners, align, roi_pool(features, rois, (BINS, BINS), 1 / stride))


def plot_slide(path: Path, slide: Slide) -> None:
    """Draw the path of the box, the two curves, and both outputs around the largest jump."""
    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=110)
    figure.text(
        LEFT / WIDTH,
        1 - 0.45 / HEIGHT,
        "A box slides by tenths of a pixel",
        fontsize=22,
        fontweight="bold",
        color=INK,
        va="center",
    )
    map_and_bins = f"{BINS} {TIMES} {BINS} bins on a map of stride {slide.stride}"
    subject = f"{map_and_bins}: RoIPool's answer holds still and then jumps, RoIAlign's glides"
    figure.text(LEFT / WIDTH, 1 - 0.9 / HEIGHT, subject, fontsize=12.5, color=QUIET, va="center")
    colour_scale = ColourScale(slide.photograph, is_rgb=True)
    _way(_panel(figure, LEFT, HEIGHT - TOP - SIDE, SIDE, SIDE), slide, colour_scale)
    curves_left = LEFT + SIDE + 1.1
    curves_width = WIDTH - curves_left - LEFT
    _brightness(_panel(figure, curves_left, HEIGHT - TOP - 1.9, curves_width, 1.9), slide)
    _changes(_panel(figure, curves_left, HEIGHT - TOP - SIDE - 0.2, curves_width, 1.2), slide)
    _strips(figure, slide, colour_scale)
    save_figure(figure, path)


def _panel(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    return figure.add_axes((left / WIDTH, bottom / HEIGHT, width / WIDTH, height / HEIGHT))


def _window(corners: Array) -> Window:
    x1, y1, x2, y2 = (float(value) - 0.5 for value in corners)
    return Window(x1, y1, x2, y2)


def _way(axes: Axes, slide: Slide, colour_scale: ColourScale) -> None:
    height, width = slide.photograph.shape[1:]
    show_map(axes, slide.photograph, colour_scale, Window(-0.5, -0.5, width - 0.5, height - 0.5))
    first, last = _window(slide.corners[0]), _window(slide.corners[-1])
    outline(axes, last, INK, 1.6, linestyle=(0, (4, 2)))
    outline(axes, first, INK, 2.4)
    middle = (first.top + first.bottom) / 2
    axes.annotate(
        "", (last.right + 42, middle), (last.right + 6, middle), arrowprops={"arrowstyle": "-|>", "color": INK, "lw": 2}
    )
    way = f"{slide.shifts[-1]:.0f} pixels to the right, in {len(slide.shifts) - 1} steps of {STEP}"
    caption = f"From the box to the dashed one: {way}."
    title(axes, "The way of the box", caption)


def _frame(axes: Axes) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(labelsize=9, colors=QUIET)
    axes.grid(axis="y", color="#e3e6ea", linewidth=0.8)
    axes.set_axisbelow(True)


def _brightness(axes: Axes, slide: Slide) -> None:
    row, column = slide.bin
    for colour, answers, name in ((POOL, slide.pool, "RoIPool"), (ALIGN, slide.align, "RoIAlign")):
        values = answers[:, :, row, column].mean(axis=1)
        axes.plot(slide.shifts, values, color=colour, linewidth=2.2)
        near = int(0.8 * (len(values) - 1))
        axes.annotate(
            name,
            (slide.shifts[near], values[near]),
            (0, -9),
            textcoords="offset points",
            color=colour,
            fontsize=12,
            fontweight="bold",
            va="top",
        )
    axes.axvspan(*_seen(slide), color="#f1e9c9", zorder=0)
    _frame(axes)
    axes.set_xlim(0, slide.shifts[-1])
    axes.tick_params(labelbottom=False)
    axes.set_title(
        f"The answer of one bin (row {row}, column {column}): its mean grey level",
        loc="left",
        fontsize=12,
        fontweight="bold",
        color=INK,
    )


def _changes(axes: Axes, slide: Slide) -> None:
    largest = {}
    for colour, answers, name in ((POOL, slide.pool, "RoIPool"), (ALIGN, slide.align, "RoIAlign")):
        change = largest_change(answers)
        largest[name] = change.max()
        axes.fill_between(
            slide.shifts[1:], change, step="pre", color=colour, linewidth=0, zorder=3 if name == "RoIAlign" else 2
        )
    axes.axvspan(*_seen(slide), color="#f1e9c9", zorder=0)
    _frame(axes)
    axes.set_xlim(0, slide.shifts[-1])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("how far the box has slid, pixels of the photograph", fontsize=10, color=QUIET)
    heading = (
        f"Largest change in one step: RoIPool {largest['RoIPool']:.0f} grey levels, RoIAlign {largest['RoIAlign']:.1f}"
    )
    axes.set_title(heading, loc="left", fontsize=12, fontweight="bold", color=INK)


def _seen(slide: Slide) -> tuple[float, float]:
    """The part of the path that the strips show."""
    first = slide.jump - FRAMES // 2 + 1
    return float(slide.shifts[first]), float(slide.shifts[first + FRAMES - 1])


def _strips(figure: Figure, slide: Slide, colour_scale: ColourScale) -> None:
    names = ((INK, "The photograph"), (ALIGN, "RoIAlign"), (POOL, "RoIPool"))
    name_width, gap = 1.72, 0.12
    box = _window(slide.corners[0])
    width = (WIDTH - 2 * LEFT - name_width - gap * (FRAMES - 1)) / FRAMES
    height = min(width * (box.bottom - box.top) / (box.right - box.left), 1.95)
    top = HEIGHT - TOP - SIDE - 1.85
    figure.text(
        LEFT / WIDTH,
        (top + 0.42) / HEIGHT,
        f"What the box shows, and the two answers, around RoIPool's largest jump: frames {STEP} pixel apart",
        fontsize=12,
        fontweight="bold",
        color=INK,
    )
    for line, (colour, name) in enumerate(names):
        bottom = top - (line + 1) * height - line * 0.12
        figure.text(
            LEFT / WIDTH,
            (bottom + height / 2) / HEIGHT,
            name,
            fontsize=12.5,
            fontweight="bold",
            color=colour,
            va="center",
        )
        for frame in range(FRAMES):
            index = slide.jump - FRAMES // 2 + 1 + frame
            axes = _panel(figure, LEFT + name_width + frame * (width + gap), bottom, width, height)
            _frame_of(axes, slide, colour_scale, index, line, colour)
            if line == 0:
                axes.set_title(f"{slide.shifts[index]:.1f} px", fontsize=10, color=QUIET, pad=4)


def _frame_of(axes: Axes, slide: Slide, colour_scale: ColourScale, index: int, line: int, colour: str) -> None:
    window = _window(slide.corners[index])
    if line == 0:
        show_map(axes, slide.photograph, colour_scale, window)
    else:
        answer = (slide.align, slide.pool)[line - 1][index]
        axes.imshow(
            colour_scale.colours(answer),
            extent=(window.left, window.right, window.bottom, window.top),
            interpolation="nearest",
        )
    set_window(axes, window)
    axes.set_aspect("auto")
    for spine in axes.spines.values():
        spine.set_color(colour)
        spine.set_linewidth(1.6)
    if line > 0:
        row, column = slide.bin
        width, height = (window.right - window.left) / BINS, (window.bottom - window.top) / BINS
        left, top = window.left + column * width, window.top + row * height
        outline(axes, Window(left, top, left + width, top + height), INK, 1.4)
