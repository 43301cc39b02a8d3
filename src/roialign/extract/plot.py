"""Draws the figure that explains RoIAlign: the steps for one box of one input, with RoIPool below."""

from __future__ import annotations

import warnings
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from ..files.boxes import Box
from ..files.drawing import ALIGN, INK, POOL, QUIET, save_figure
from . import panels
from .pipeline import Settings
from .scene import Scene, make_scene

# Sizes in inches: a panel, the gap between panels, the distance between rows, the margin, and the figure.
SIDE, GAP, ROW, LEFT = 3.6, 0.45, 5.05, 0.45
WIDTH = 2 * LEFT + 3 * SIDE + 2 * GAP
HEIGHT = 3 * ROW + 0.85


def plot_roi_align(path: Path, input_path: Path, boxes: list[Box], chosen: int, settings: Settings) -> None:
    """Draw the input with its boxes, and the steps for ``boxes[chosen]``, into the file `path`."""
    scene = make_scene(input_path, boxes, chosen, settings)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # labels in scripts that the font does not have
        save_figure(draw(scene), path)


def draw(scene: Scene) -> Figure:
    """Draw three rows of three panels: the input, RoIAlign and RoIPool."""
    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=110)
    figure.text(
        LEFT / WIDTH,
        1 - 0.42 / HEIGHT,
        "RoIAlign, step by step",
        fontsize=22,
        fontweight="bold",
        color=INK,
        va="center",
    )
    sampling = {"grid": "a grid of points", "random": "random points", "exact": "exact sampling"}[
        scene.settings.sampling
    ]
    subject = f"{scene.box_name()} of {scene.input_name()}, {sampling}"
    figure.text(
        1 - LEFT / WIDTH,
        1 - 0.42 / HEIGHT,
        subject,
        fontsize=12.5,
        parse_math=False,
        color=QUIET,
        va="center",
        ha="right",
    )
    given = (
        "a picture, the features computed from it, and a box"
        if scene.colour_scale.is_rgb
        else "a feature map and a box"
    )
    headings = (
        (INK, "The input", given),
        (ALIGN, "RoIAlign", "does not round coordinates, and interpolates"),
        (POOL, "RoIPool", "the older operator: rounds the box and its bins to whole cells"),
    )
    axes = []
    for index, (colour, name, what) in enumerate(headings):
        top = HEIGHT - 1.5 - index * ROW
        axes.append([_square(figure, LEFT + column * (SIDE + GAP), top - SIDE) for column in range(3)])
        _heading(figure, top + 0.4, colour, name, what)
    _fill(axes, scene)
    return figure


def _fill(axes: list[list[Axes]], scene: Scene) -> None:
    """Draw all panels."""
    panels.boxes_panel(axes[0][0], scene)
    panels.map_panel(axes[0][1], scene)
    panels.crop_panel(axes[0][2], scene)
    panels.bins_panel(axes[1][0], scene)
    panels.bin_panel(axes[1][1], scene)
    align, pool = scene.steps.aligned, scene.steps.rounded
    panels.output_panel(
        axes[1][2], scene, align, "RoIAlign's output", ALIGN, "Each bin shows exactly its own part of the box."
    )
    panels.rounded_bins_panel(axes[2][0], scene)
    panels.rounded_bin_panel(axes[2][1], scene)
    panels.output_panel(
        axes[2][2],
        scene,
        pool,
        "RoIPool's output",
        POOL,
        "The largest values: brighter than the picture, and shifted by the rounding.",
    )


def _square(figure: Figure, left: float, bottom: float) -> Axes:
    return figure.add_axes((left / WIDTH, bottom / HEIGHT, SIDE / WIDTH, SIDE / HEIGHT))


def _heading(figure: Figure, height: float, colour: str, name: str, what: str) -> None:
    """Write the name of a row, and a short description beside it."""
    heading = figure.text(
        LEFT / WIDTH, height / HEIGHT, name, fontsize=15.5, fontweight="bold", color=colour, va="baseline"
    )
    figure.add_artist(
        Annotation(
            what,
            xy=(1, 0),
            xycoords=heading,
            xytext=(9, 0),
            textcoords="offset points",
            fontsize=12.5,
            color=QUIET,
            va="bottom",
        )
    )
