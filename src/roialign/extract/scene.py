"""The content of a figure that explains RoIAlign: an input, its feature map, its boxes, and the steps for one box."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .._text import cut, printable
from .._typing import Array
from ..files.boxes import Box
from ..files.drawing import ColourScale, Window, pixels_within
from .inputs import FeatureMap, InputError, average_pool
from .pipeline import Settings
from .steps import RoiSteps, roi_steps

#: Of a longer bin, only a corner is shown close up, so that the pixels stay legible.
LONGEST_BIN = 8.0
#: The side of the window that shows such a corner.
CORNER_SIDE = 9.0
#: The largest coordinate to draw, in pixels.
LARGEST_DRAWN = 1e7


@dataclass(frozen=True, slots=True)
class Scene:
    """The content that all panels draw."""

    name: str
    picture: Array
    """The input, ``[C, H, W]``."""
    features: Array
    """The feature map, ``[C, H, W]``."""
    colour_scale: ColourScale
    boxes: list[Box]
    chosen: int
    settings: Settings
    steps: RoiSteps
    close_bin: tuple[int, int]
    """The row and column of the bin to show close up."""

    @property
    def box(self) -> Box:
        return self.boxes[self.chosen]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the feature map."""
        return self.features.shape[1], self.features.shape[2]

    @property
    def roi(self) -> Window:
        """The mapped box in feature coordinates."""
        (left, right), (top, bottom) = self.steps.x.ends, self.steps.y.ends
        return Window(left, top, right, bottom)

    @property
    def rounded_roi(self) -> Window:
        """The outline of RoIPool's pixels."""
        (left, right), (top, bottom) = self.steps.x.rounded_ends, self.steps.y.rounded_ends
        return Window(left, top, right, bottom)

    @property
    def around_roi(self) -> Window:
        """A window that shows RoIAlign's box and RoIPool's."""
        a, b = self.roi, self.rounded_roi
        both = Window(min(a.left, b.left), min(a.top, b.top), max(a.right, b.right), max(a.bottom, b.bottom))
        margin = max(0.7, 0.06 * both.side)
        return both.square(margin).over_map(self.size, both, margin)

    @property
    def bin(self) -> Window:
        """The bin shown close up, in feature coordinates."""
        return self.steps.bin_window(*self.close_bin)

    @property
    def rounded_bin(self) -> tuple[int, int, int, int]:
        """RoIPool's pixels of that bin: first column and row, and one past the last column and row."""
        (top, bottom), (left, right) = self.steps.y.rounded[self.close_bin[0]], self.steps.x.rounded[self.close_bin[1]]
        return left, top, right, bottom

    @property
    def close_up(self) -> Window:
        """The window around that bin, or around its upper left corner if it is large."""
        if self.bin.side > LONGEST_BIN:
            return corner_window(self.steps, *self.close_bin)
        left, top, right, bottom = (edge - 0.5 for edge in self.rounded_bin)
        both = Window(
            min(self.bin.left, left), min(self.bin.top, top), max(self.bin.right, right), max(self.bin.bottom, bottom)
        )
        elsewhere = both.side > 2 * LONGEST_BIN  # RoIPool clips to the map, and the bin may be far outside it
        return (self.bin if elsewhere else both).square(0.8)

    def on_input(self, box: Box) -> Window:
        """Convert a box to pixels of the input, with pixel centres at integers."""
        corners = (value * self.settings.spatial_scale - 0.5 for value in box.corners)
        x1, y1, x2, y2 = (min(max(value, -LARGEST_DRAWN), LARGEST_DRAWN) for value in corners)
        return Window(min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)).at_least(0.1)

    def short_name(self, box: Box) -> str:
        """Return the name of a box for a label."""
        return cut(printable(box.label), 24) or f"row {box.row}"

    def box_name(self) -> str:
        """Return the name of the chosen box for a text."""
        row = f"row {self.box.row}"
        return f'"{self.short_name(self.box)}", {row}' if self.box.label.strip() else row

    def input_name(self) -> str:
        """Return the name of the input for a text."""
        return cut(printable(self.name), 40)


def corner_window(steps: RoiSteps, row: int, column: int) -> Window:
    """Return a window around the upper left corner of a bin and the sample point nearest to it."""
    corner = steps.bin_window(row, column)
    near_x = min((abs(x - corner.left) for x, _ in steps.x.points[column]), default=0.0)
    near_y = min((abs(y - corner.top) for y, _ in steps.y.points[row]), default=0.0)
    half = CORNER_SIDE / 2
    # Centre the window between the two. If they are too far apart, the point is just inside the window.
    x = corner.left + max(near_x / 2, near_x - half + 1.5)
    y = corner.top + max(near_y / 2, near_y - half + 1.5)
    return Window(x, y, x, y).square(half)


def bin_to_show(steps: RoiSteps, features: Array) -> tuple[int, int]:
    """Choose the bin to show close up: that of the largest difference, or for large bins, of the most contrast."""
    rows, columns = len(steps.y.points), len(steps.x.points)
    if steps.bin_window(0, 0).side <= LONGEST_BIN:
        return steps.bin_of_largest_difference()
    contrast = np.zeros((rows, columns))
    for row in range(rows):
        for column in range(columns):
            window = corner_window(steps, row, column)
            left, right = pixels_within(window.left, window.right, features.shape[2])
            top, bottom = pixels_within(window.top, window.bottom, features.shape[1])
            if right > left and bottom > top:
                with np.errstate(all="ignore"):  # a map may contain infinities
                    contrast[row, column] = features[:, top:bottom, left:right].std(dtype=np.float64)
    best_row, best_column = np.unravel_index(int(np.argmax(np.nan_to_num(contrast))), contrast.shape)
    return int(best_row), int(best_column)


def make_scene(input_path: Path, boxes: list[Box], chosen: int, settings: Settings) -> Scene:
    """Read the input again, and compute the steps for ``boxes[chosen]``.

    Raises
    ------
    InputError
        If the input cannot be read, or if the box is too large to draw.
    """
    farthest = max(abs(value) for value in boxes[chosen].corners) * max(settings.spatial_scale, settings.map_scale)
    if farthest > LARGEST_DRAWN:
        raise InputError(f"{boxes[chosen].where}: expected a box within {LARGEST_DRAWN:g} pixels to draw")
    picture = settings.read(input_path, boxes, stride=1)
    feature_map = FeatureMap(average_pool(picture.features, settings.stride), picture.is_image)
    steps = roi_steps(feature_map, boxes, chosen, settings)
    return Scene(
        name=input_path.name,
        picture=picture.features[0],
        features=feature_map.features[0],
        colour_scale=ColourScale(picture.features[0], picture.is_image),
        boxes=boxes,
        chosen=chosen,
        settings=settings,
        steps=steps,
        close_bin=bin_to_show(steps, feature_map.features[0]),
    )
